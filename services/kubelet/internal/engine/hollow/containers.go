package hollow

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/distribution/reference"
	"k8s.io/utils/clock"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/podspec"
)

// Exit codes of processes that a signal ended.
const (
	killed     = 137
	terminated = 143
)

// errHollow is the answer to whoever wants to reach into a container.
var errHollow = errors.New("a hollow node runs no processes")

// CreateContainer makes a container on paper.
func (e *Engine) CreateContainer(_ context.Context, sandboxID string, spec engine.ContainerSpec) (string, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, ok := e.pods[e.owner[sandboxID]]
	if !ok {
		return "", fmt.Errorf("sandbox %s: %w", sandboxID, engine.ErrNotFound)
	}
	for _, c := range slices.Clone(p.Containers) {
		if c.Name != spec.Name || c.Attempt != spec.Attempt {
			continue
		}
		if c.State != engine.Created {
			return "", fmt.Errorf("container %s, attempt %d, is %s", c.Name, c.Attempt, c.State)
		}
		e.removeContainer(p, c.ID)
	}
	id := e.id("container", p.UID)
	p.Containers = append([]engine.Container{{
		ID: id, SandboxID: sandboxID, Name: spec.Name, Attempt: spec.Attempt, Image: spec.ImageName, ImageID: spec.Image,
		State: engine.Created, CreatedAt: e.cfg.Clock.Now(), SpecHash: spec.SpecHash,
		Labels: spec.Labels, Annotations: spec.Annotations, LogPath: spec.LogPath,
	}}, p.Containers...)
	return id, nil
}

// find returns a container's pod and place. The engine is locked.
func (e *Engine) find(id string) (*pod, int, error) {
	if p, ok := e.pods[e.owner[id]]; ok {
		for i := range p.Containers {
			if p.Containers[i].ID == id {
				return p, i, nil
			}
		}
	}
	return nil, 0, fmt.Errorf("container %s: %w", id, engine.ErrNotFound)
}

// StartContainer lets a container run, and end when its time has come.
func (e *Engine) StartContainer(_ context.Context, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, i, err := e.find(id)
	if err != nil {
		return err
	}
	c := &p.Containers[i]
	if c.State == engine.Running {
		return nil
	}
	c.State, c.StartedAt, c.FinishedAt, c.ExitCode, c.Reason = engine.Running, e.cfg.Clock.Now(), time.Time{}, 0, ""
	after, code, ends := p.fate()
	if c.Annotations[podspec.KindAnnotation] == podspec.KindInit {
		after, code, ends = 0, 0, true
	}
	switch {
	case ends && after <= 0:
		e.end(p, i, code)
	case ends:
		if p.timers == nil {
			p.timers = map[string]clock.Timer{}
		}
		p.timers[id] = e.cfg.Clock.AfterFunc(after, func() { e.expire(id, code) })
	}
	e.tell(p.UID)
	return nil
}

func (e *Engine) expire(id string, code int) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p, i, err := e.find(id); err == nil {
		e.end(p, i, code)
		e.tell(p.UID)
	}
}

// Exit ends a container as if its process had ended with a code.
func (e *Engine) Exit(id string, code int) { e.expire(id, code) }

// end records a container's end.
func (e *Engine) end(p *pod, i, code int) {
	c := &p.Containers[i]
	if t, ok := p.timers[c.ID]; ok {
		t.Stop()
		delete(p.timers, c.ID)
	}
	if c.State != engine.Running {
		return
	}
	c.State, c.FinishedAt, c.ExitCode, c.Reason = engine.Exited, e.cfg.Clock.Now(), code, engine.ReasonError
	if code == 0 {
		c.Reason = engine.ReasonCompleted
	}
}

// StopContainer ends a container; it obeys its stop signal at once.
func (e *Engine) StopContainer(_ context.Context, id string, _ time.Duration) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p, i, err := e.find(id); err == nil {
		e.end(p, i, terminated)
		e.tell(p.UID)
	}
	return nil
}

// RemoveContainer removes a container, running or not.
func (e *Engine) RemoveContainer(_ context.Context, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p, _, err := e.find(id); err == nil {
		e.removeContainer(p, id)
		e.tell(p.UID)
	}
	return nil
}

func (e *Engine) removeContainer(p *pod, id string) {
	if t, ok := p.timers[id]; ok {
		t.Stop()
		delete(p.timers, id)
	}
	p.Containers = slices.DeleteFunc(p.Containers, func(c engine.Container) bool { return c.ID == id })
	delete(e.owner, id)
	if len(p.Sandboxes)+len(p.Containers) == 0 {
		delete(e.pods, p.UID)
	}
}

// Image tells whether an image was pulled.
func (e *Engine) Image(_ context.Context, ref string) (engine.Image, bool, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if image, ok := e.images[ref]; ok {
		return image, true, nil
	}
	for _, image := range e.images {
		if image.ID == ref {
			return image, true, nil
		}
	}
	return engine.Image{}, false, nil
}

// Pull has any image there is a name for.
func (e *Engine) Pull(_ context.Context, ref string, _ *engine.Auth) (engine.Image, error) {
	if _, err := reference.ParseNormalizedNamed(ref); err != nil {
		return engine.Image{}, fmt.Errorf("%w: %w", engine.ErrInvalidImageName, err)
	}
	h := fnv.New64a()
	_, _ = io.WriteString(h, ref) // never fails
	name, _, _ := strings.Cut(ref, "@")
	digest := fmt.Sprintf("sha256:%064x", h.Sum64())
	image := engine.Image{ID: digest, RepoTags: []string{ref}, RepoDigests: []string{name + "@" + digest}, Size: 1 << 20, User: "65532"}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.images[ref] = image
	return image, nil
}

// Images lists what was pulled.
func (e *Engine) Images(context.Context) ([]engine.Image, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]engine.Image, 0, len(e.images))
	for _, image := range e.images {
		out = append(out, image)
	}
	return out, nil
}

// RemoveImage forgets an image.
func (e *Engine) RemoveImage(_ context.Context, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	for ref, image := range e.images {
		if ref == id || image.ID == id {
			delete(e.images, ref)
		}
	}
	return nil
}

// Logs are empty; with Follow they are so for as long as the container runs.
func (e *Engine) Logs(ctx context.Context, id string, o engine.LogOptions, _, _ io.Writer) error {
	if !o.Follow {
		return e.exists(id)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	events, err := e.Events(ctx)
	if err != nil {
		return err
	}
	for {
		e.mu.Lock()
		p, i, err := e.find(id)
		running := err == nil && p.Containers[i].State != engine.Exited
		e.mu.Unlock()
		if err != nil || !running {
			return err
		}
		if _, open := <-events; !open {
			return nil
		}
	}
}

func (e *Engine) exists(id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	_, _, err := e.find(id)
	return err
}

// reach fails, with the reason that fits.
func (e *Engine) reach(id string) error {
	if err := e.exists(id); err != nil {
		return err
	}
	return fmt.Errorf("%w: %w", engine.ErrNotRunning, errHollow)
}

// Exec has nothing to run a command in.
func (e *Engine) Exec(_ context.Context, id string, _ engine.ExecSpec, _ engine.Streams) (int, error) {
	return 0, e.reach(id)
}

// Attach has nothing to connect with.
func (e *Engine) Attach(_ context.Context, id string, _ bool, _ engine.Streams) error {
	return e.reach(id)
}

// PortForward has nothing to connect with.
func (e *Engine) PortForward(_ context.Context, sandboxID string, _ int32, _ io.ReadWriter) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if _, ok := e.pods[e.owner[sandboxID]]; !ok {
		return fmt.Errorf("sandbox %s: %w", sandboxID, engine.ErrNotFound)
	}
	return fmt.Errorf("%w: %w", engine.ErrNotRunning, errHollow)
}

// Stats of what runs are all zero but for their time.
func (e *Engine) Stats(_ context.Context, ids ...string) (map[string]engine.Stats, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := map[string]engine.Stats{}
	for _, id := range ids {
		if p, i, err := e.find(id); err == nil && p.Containers[i].State == engine.Running {
			out[id] = engine.Stats{Time: e.cfg.Clock.Now()}
		}
	}
	return out, nil
}
