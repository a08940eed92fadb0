package agent_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/engine/hollow"
)

// faulty is an engine that can be slow and can fail, before or after it has
// done what it was asked for.
type faulty struct {
	*hollow.Engine

	mu      sync.Mutex
	random  *rand.Rand // nil: never fails
	rate    float64
	failing map[string]error         // by call
	slow    map[string]time.Duration // stops, by container name
	graces  map[string]time.Duration // last grace, by container name
	stopped []string                 // names, as they ended
	twice   []string                 // containers that ran beside another instance

	forgetful bool // sandboxes do not stay
	made      int  // sandboxes
}

func newFaulty(e *hollow.Engine) *faulty {
	return &faulty{Engine: e, failing: map[string]error{}, slow: map[string]time.Duration{}, graces: map[string]time.Duration{}}
}

var errFault = errors.New("the engine hiccups")

// fault decides whether a call fails, and whether after its effect.
func (f *faulty) fault(call string) (before, after error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if err := f.failing[call]; err != nil {
		return err, nil
	}
	if f.random == nil || f.random.Float64() >= f.rate {
		return nil, nil
	}
	if f.random.Intn(2) == 0 {
		return errFault, nil
	}
	return nil, errFault
}

func (f *faulty) fail(call string, err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.failing[call] = err
}

func (f *faulty) call(name string, do func() error) error {
	before, after := f.fault(name)
	if before != nil {
		return before
	}
	if err := do(); err != nil {
		return err
	}
	return after
}

func (f *faulty) Pod(ctx context.Context, uid types.UID) (p engine.Pod, err error) {
	err = f.call("Pod", func() (err error) { p, err = f.Engine.Pod(ctx, uid); return err })
	return p, err
}

func (f *faulty) RunSandbox(ctx context.Context, spec engine.SandboxSpec) (s engine.Sandbox, err error) {
	err = f.call("RunSandbox", func() (err error) { s, err = f.Engine.RunSandbox(ctx, spec); return err })
	f.mu.Lock()
	f.made++
	forgetful := f.forgetful
	f.mu.Unlock()
	if forgetful && err == nil {
		err = f.Engine.RemoveSandbox(ctx, s.ID)
	}
	return s, err
}

func (f *faulty) Pull(ctx context.Context, ref string, auth *engine.Auth) (i engine.Image, err error) {
	err = f.call("Pull", func() (err error) { i, err = f.Engine.Pull(ctx, ref, auth); return err })
	return i, err
}

func (f *faulty) CreateContainer(ctx context.Context, sandbox string, spec engine.ContainerSpec) (id string, err error) {
	err = f.call("CreateContainer", func() (err error) { id, err = f.Engine.CreateContainer(ctx, sandbox, spec); return err })
	return id, err
}

func (f *faulty) StartContainer(ctx context.Context, id string) error {
	return f.call("StartContainer", func() error {
		if err := f.Engine.StartContainer(ctx, id); err != nil {
			return err
		}
		f.count(ctx, id)
		return nil
	})
}

// count notes containers of which two instances run at once.
func (f *faulty) count(ctx context.Context, id string) {
	pods, err := f.Engine.Pods(ctx)
	if err != nil {
		return
	}
	for _, p := range pods {
		names := map[string]int{}
		for _, c := range p.Containers {
			if c.State == engine.Running {
				names[c.Name]++
			}
		}
		for name, n := range names {
			if n > 1 {
				f.mu.Lock()
				f.twice = append(f.twice, fmt.Sprintf("%s of %s, seen starting %s", name, p.Name, id))
				f.mu.Unlock()
			}
		}
	}
}

func (f *faulty) StopContainer(ctx context.Context, id string, grace time.Duration) error {
	return f.call("StopContainer", func() error {
		name := f.name(ctx, id)
		f.mu.Lock()
		f.graces[name] = grace
		need := min(f.slow[name], grace)
		f.mu.Unlock()
		select {
		case <-time.After(need):
		case <-ctx.Done():
			return ctx.Err()
		}
		f.mu.Lock()
		f.stopped = append(f.stopped, name)
		f.mu.Unlock()
		return f.Engine.StopContainer(ctx, id, grace)
	})
}

func (f *faulty) name(ctx context.Context, id string) string {
	pods, err := f.Engine.Pods(ctx)
	if err != nil {
		return ""
	}
	for _, p := range pods {
		for _, c := range p.Containers {
			if c.ID == id {
				return c.Name
			}
		}
	}
	return ""
}

func (f *faulty) StopSandbox(ctx context.Context, id string) error {
	return f.call("StopSandbox", func() error { return f.Engine.StopSandbox(ctx, id) })
}

func (f *faulty) RemoveSandbox(ctx context.Context, id string) error {
	return f.call("RemoveSandbox", func() error { return f.Engine.RemoveSandbox(ctx, id) })
}

func (f *faulty) RemoveContainer(ctx context.Context, id string) error {
	return f.call("RemoveContainer", func() error { return f.Engine.RemoveContainer(ctx, id) })
}
