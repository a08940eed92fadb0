package agent

import (
	"cmp"
	"context"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/lifecycle"
)

// Run works until ctx is done. listed blocks until Update has been called for
// every pod there is. Containers run on afterwards.
func (a *Agent) Run(ctx context.Context, listed func(context.Context) error) error {
	if err := listed(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if err := a.adopt(ctx); err != nil {
		return nil // ctx is done
	}
	a.mu.Lock()
	a.ctx, a.synced = ctx, true
	all := make([]*record, 0, len(a.records))
	for _, r := range a.records {
		all = append(all, r)
	}
	a.mu.Unlock()
	slices.SortFunc(all, func(x, y *record) int {
		return cmp.Or(x.pod.CreationTimestamp.Compare(y.pod.CreationTimestamp.Time), cmp.Compare(x.uid, y.uid))
	})
	for _, r := range all {
		a.wake(r)
	}
	a.watch(ctx)
	a.mu.Lock()
	for _, r := range a.records {
		r.mu.Lock()
		if r.timer != nil {
			r.timer.Stop()
		}
		r.mu.Unlock()
	}
	a.mu.Unlock()
	a.group.Wait()
	return nil
}

// adopt takes over what runs: pods whose containers are here were admitted
// once, and count before any new one does.
func (a *Agent) adopt(ctx context.Context) error {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		pods, err := a.cfg.Engine.Pods(ctx)
		if err == nil {
			a.takeOver(pods)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a.cfg.Log.Warn("engine does not answer", zap.Error(err))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.cfg.Clock.After(wait):
		}
	}
}

func (a *Agent) takeOver(pods []engine.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.admission.Lock()
	defer a.admission.Unlock()
	for _, seen := range pods {
		r, ok := a.records[seen.UID]
		if !ok {
			continue
		}
		r.mu.Lock()
		r.memory.Admitted = true
		if p := r.pod.Status.Phase; p != corev1.PodSucceeded && p != corev1.PodFailed {
			a.admitted[r.uid] = r.pod
		}
		r.mu.Unlock()
	}
}

// wake has a worker look at the pod.
func (a *Agent) wake(r *record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx == nil || a.ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy {
		r.again = true
		return
	}
	r.busy = true
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	ctx := a.ctx
	a.group.Go(func() { a.work(ctx, r) })
}

// Steps a pod may need in a row: for itself, and for each container.
const (
	podSteps       = 30
	containerSteps = 6
	// pauseFor is how long a pod rests that has used them up.
	pauseFor = 5 * time.Second
)

// work takes steps until there is nothing to do.
func (a *Agent) work(ctx context.Context, r *record) {
	for taken := 1; ; taken++ {
		action := a.do(ctx, r)
		idle := action.Verb == lifecycle.Wait || action.Verb == lifecycle.Done || ctx.Err() != nil
		if !idle && a.tooMany(r, taken, action) {
			// Steps succeed and change nothing: an engine that says one thing
			// and does another must not keep a processor busy.
			a.hold(r, "", reasonNoProgress, "the last steps brought no progress", a.cfg.Clock.Now().Add(pauseFor))
			taken = 0
		}
		if idle && a.rest(ctx, r, action) {
			return
		}
	}
}

func (a *Agent) tooMany(r *record, taken int, action lifecycle.Action) bool {
	r.mu.Lock()
	pod := r.pod
	r.mu.Unlock()
	if taken < podSteps+containerSteps*(len(pod.Spec.InitContainers)+len(pod.Spec.Containers)+len(pod.Spec.EphemeralContainers)) {
		return false
	}
	a.cfg.Log.Warn("pod makes no progress", zap.String("pod", lifecycle.Format(pod)), zap.Stringer("step", action), zap.String("why", action.Why))
	return true
}

// rest ends a worker, unless there was news meanwhile.
func (a *Agent) rest(ctx context.Context, r *record, action lifecycle.Action) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.again && ctx.Err() == nil {
		r.again = false
		return false
	}
	r.busy = false
	if action.Verb == lifecycle.Done && r.orphan {
		delete(a.records, r.uid)
		a.cfg.Reporter.Forget(r.uid)
		return true
	}
	if action.Verb == lifecycle.Wait && !action.Until.IsZero() && ctx.Err() == nil {
		r.timer = a.cfg.Clock.AfterFunc(max(action.Until.Sub(a.cfg.Clock.Now()), 0), func() { a.wake(r) })
	}
	return true
}
