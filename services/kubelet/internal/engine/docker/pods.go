package docker

import (
	"cmp"
	"context"
	"errors"
	"slices"

	"github.com/docker/docker/api/types/container"
	"golang.org/x/sync/errgroup"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/services/kubelet/internal/engine"
)

// inspections bounds how many containers are inspected at a time.
const inspections = 8

// Pods returns all our sandboxes and containers.
func (r *Runtime) Pods(ctx context.Context) ([]engine.Pod, error) {
	found, err := r.calls.list(ctx, r.selector())
	if err != nil {
		return nil, err
	}
	pods, err := r.group(ctx, found)
	if err != nil {
		return nil, err
	}
	r.prune(found)
	out := make([]engine.Pod, 0, len(pods))
	for _, pod := range pods {
		out = append(out, *pod)
	}
	return out, nil
}

// Pod returns one pod's.
func (r *Runtime) Pod(ctx context.Context, uid types.UID) (engine.Pod, error) {
	found, err := r.calls.list(ctx, r.selector(labelUID, string(uid)))
	if err != nil {
		return engine.Pod{}, err
	}
	pods, err := r.group(ctx, found)
	if err != nil {
		return engine.Pod{}, err
	}
	if pod := pods[uid]; pod != nil {
		return *pod, nil
	}
	return engine.Pod{UID: uid}, nil
}

func (r *Runtime) group(ctx context.Context, found []container.Summary) (map[types.UID]*engine.Pod, error) {
	containers, err := r.inspectAll(ctx, found)
	if err != nil {
		return nil, err
	}
	pods := map[types.UID]*engine.Pod{}
	for i, c := range found {
		id := identify(c.Labels)
		pod := pods[id.uid]
		if pod == nil {
			pod = &engine.Pod{UID: id.uid, Namespace: id.namespace, Name: id.pod}
			pods[id.uid] = pod
		}
		switch {
		case id.kind == typeSandbox:
			pod.Sandboxes = append(pod.Sandboxes, translateSandbox(c, r.cfg.Network.IPs(c.ID)))
		case containers[i] != nil:
			pod.Containers = append(pod.Containers, *containers[i])
		}
	}
	for _, pod := range pods {
		slices.SortFunc(pod.Sandboxes, func(a, b engine.Sandbox) int {
			return cmp.Or(cmp.Compare(b.Attempt, a.Attempt), b.CreatedAt.Compare(a.CreatedAt))
		})
		slices.SortFunc(pod.Containers, func(a, b engine.Container) int {
			return cmp.Or(b.CreatedAt.Compare(a.CreatedAt), cmp.Compare(b.Attempt, a.Attempt))
		})
	}
	return pods, nil
}

// inspectAll returns a container for each listed one, nil for sandboxes and
// for what has gone since. Lists lack times and exit codes.
func (r *Runtime) inspectAll(ctx context.Context, found []container.Summary) ([]*engine.Container, error) {
	out := make([]*engine.Container, len(found))
	group, ctx := errgroup.WithContext(ctx)
	group.SetLimit(inspections)
	for i, c := range found {
		if c.Labels[labelType] != typeContainer {
			continue
		}
		r.mu.Lock()
		ended, ok := r.ended[c.ID]
		r.mu.Unlock()
		if ok && c.State == container.StateExited {
			out[i] = &ended
			continue
		}
		group.Go(func() error {
			inspected, err := r.inspectContainer(ctx, c.ID)
			if errors.Is(err, engine.ErrNotFound) {
				return nil
			}
			out[i] = inspected
			return err
		})
	}
	return out, group.Wait()
}

func (r *Runtime) inspectContainer(ctx context.Context, id string) (*engine.Container, error) {
	inspected, err := r.calls.inspect(ctx, id)
	if err != nil {
		return nil, err
	}
	c := translateContainer(inspected)
	if c.ImageID, err = r.imageID(ctx, inspected.Image); err != nil {
		return nil, err
	}
	if inspected.State.Status == container.StateExited {
		r.mu.Lock()
		r.ended[id] = c
		r.mu.Unlock()
	}
	return &c, nil
}

// prune forgets exited containers that are not there any more, having been
// removed by somebody else.
func (r *Runtime) prune(found []container.Summary) {
	present := make(map[string]bool, len(found))
	for _, c := range found {
		present[c.ID] = true
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for id := range r.ended {
		if !present[id] {
			delete(r.ended, id)
		}
	}
}

// imageID is what Kubernetes shows of the image that runs: a digest by which
// others can pull the same, or the bare ID of an image that was never in a
// registry. It is remembered, since it changes only by pushing.
func (r *Runtime) imageID(ctx context.Context, id string) (string, error) {
	r.mu.Lock()
	shown, ok := r.images[id]
	r.mu.Unlock()
	if ok {
		return shown, nil
	}
	found, err := r.calls.image(ctx, id)
	if errors.Is(err, engine.ErrNotFound) {
		return id, nil // removed by force; what runs still has this ID
	}
	if err != nil {
		return "", err
	}
	shown = id
	if len(found.RepoDigests) > 0 {
		shown = found.RepoDigests[0]
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.images[id] = shown
	return shown, nil
}
