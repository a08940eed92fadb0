package agent

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/lifecycle"
	"coracle.local/services/kubelet/internal/podstatus"
)

// Delays before a failed step of the pod itself is tried again.
const (
	firstRetry = 500 * time.Millisecond
	lastRetry  = 2*time.Minute + 2*time.Second
	// configRetry is for containers whose configuration cannot be made now.
	configRetry = 10 * time.Second
)

// do takes one pod one step further: it observes, asks what is next, reports
// the status that follows from what was observed, and takes the step. It
// returns the step.
func (a *Agent) do(ctx context.Context, r *record) lifecycle.Action {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	r.mu.Lock()
	r.interrupt = cancel
	r.mu.Unlock()

	v, err := a.observe(ctx, r)
	if err != nil {
		return a.unobserved(ctx, r, err)
	}
	observed := lifecycle.Observed{
		Now: a.cfg.Clock.Now(), Runtime: v.seen, Probes: a.cfg.Probes.Results(r.uid), Memory: v.memory,
		Backoff: a.cfg.Backoff, Orphan: v.orphan,
	}
	stop := lifecycle.Stopping(v.pod, observed)
	action := lifecycle.Next(v.pod, observed)
	a.note(r, v.pod, action)
	v = r.view()
	status := a.report(r, v, observed, stop)
	if !v.memory.CleanedUp {
		a.cfg.Probes.Sync(v.pod, status, stop != nil)
	}
	if action.Verb == lifecycle.Wait || action.Verb == lifecycle.Done {
		return action
	}
	start := a.cfg.Clock.Now()
	s := &step{Agent: a, r: r, pod: v.pod, seen: v.seen, memory: v.memory, status: status, stop: stop, action: action}
	err = s.apply(ctx)
	a.finished(ctx, r, action, a.cfg.Clock.Since(start), err)
	return action
}

// note keeps the step, for those who ask, and the holds that came with it.
func (a *Agent) note(r *record, pod *corev1.Pod, action lifecycle.Action) {
	r.mu.Lock()
	r.action = action
	var fresh []lifecycle.Hold
	for _, h := range action.Holds {
		if old, ok := r.memory.Holds[h.Container]; !ok || !old.Until.Equal(h.Until) || old.Reason != h.Reason {
			put(&r.memory.Holds, h.Container, h)
			fresh = append(fresh, h)
		}
	}
	first := !r.stepped
	r.stepped = true
	r.mu.Unlock()
	if first {
		a.cfg.Tracer.Record(r.uid, "watch", r.firstSeen, a.cfg.Clock.Now())
	}
	for _, h := range fresh {
		a.cfg.Events.Container(pod, h.Container, "", corev1.EventTypeWarning, "BackOff",
			"Back-off restarting failed container %s in pod %s", h.Container, lifecycle.Format(pod))
	}
}

// observe looks at what the engine holds, unless the last look is still good.
func (a *Agent) observe(ctx context.Context, r *record) (view, error) {
	r.mu.Lock()
	fresh := r.fresh
	r.fresh = true // unless something happens from here on
	r.mu.Unlock()
	if !fresh {
		seen, err := a.cfg.Engine.Pod(ctx, r.uid)
		if err != nil {
			return view{}, fmt.Errorf("observe pod %s: %w", r.uid, err)
		}
		a.lastWords(ctx, r, &seen)
		r.mu.Lock()
		r.seen = seen
		r.mu.Unlock()
	}
	return r.view(), nil
}

// unobserved is the step when the engine does not answer.
func (a *Agent) unobserved(ctx context.Context, r *record, err error) lifecycle.Action {
	action := lifecycle.Action{Verb: lifecycle.Wait, Why: err.Error(), Until: a.cfg.Clock.Now().Add(time.Second)}
	r.mu.Lock()
	r.fresh, r.action, r.failure = false, action, err
	r.mu.Unlock()
	if ctx.Err() == nil {
		a.cfg.Log.Warn("pod cannot be observed", zap.String("pod", string(r.uid)), zap.Error(err))
	}
	return action
}

// finished keeps a step's outcome.
func (a *Agent) finished(ctx context.Context, r *record, action lifecycle.Action, took time.Duration, err error) {
	if a.cfg.Observe != nil {
		a.cfg.Observe(action.Verb, took, err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	switch action.Verb {
	case lifecycle.Admit, lifecycle.MountVolumes, lifecycle.Pull, lifecycle.CleanUp, lifecycle.Delete:
	default:
		r.fresh = false // the step was about the engine
	}
	if ctx.Err() != nil {
		r.fresh = false
		return // interrupted: neither done nor failed
	}
	r.failure = err
	if err != nil {
		a.cfg.Log.Info("step failed", zap.String("pod", lifecycle.Format(r.pod)), zap.Stringer("step", action), zap.Error(err))
	}
}

// report computes the pod's status and hands it on.
func (a *Agent) report(r *record, v view, o lifecycle.Observed, stop *lifecycle.Stop) corev1.PodStatus {
	in := podstatus.Input{
		Pod: v.pod, Old: v.pod.Status, Runtime: v.seen, Engine: a.cfg.EngineName, Probes: o.Probes, Memory: v.memory,
		Stopped: stop != nil && quiet(v.seen), HostIPs: a.cfg.HostIPs(), Now: o.Now,
	}
	if v.status != nil {
		in.Old = *v.status
	}
	status := podstatus.Compute(in)
	r.mu.Lock()
	r.status = &status
	r.mu.Unlock()
	if in.Stopped {
		a.release(r)
	}
	a.traceReady(r, &status)
	if !v.orphan && (v.memory.Admitted || v.memory.Rejected != nil || stop != nil) {
		a.cfg.Reporter.Set(v.pod, status)
	}
	return status
}

// quiet tells that nothing of a pod runs.
func quiet(seen engine.Pod) bool {
	for _, c := range seen.Containers {
		if c.State == engine.Running {
			return false
		}
	}
	for _, s := range seen.Sandboxes {
		if s.Ready {
			return false
		}
	}
	return true
}

// traceReady closes the last span of a pod's way: from its last container's
// start until it is ready.
func (a *Agent) traceReady(r *record, s *corev1.PodStatus) {
	ready := false
	for _, c := range s.Conditions {
		ready = ready || c.Type == corev1.PodReady && c.Status == corev1.ConditionTrue
	}
	if ready && !r.ready && !r.started.IsZero() {
		a.cfg.Tracer.Record(r.uid, "ready", r.started, a.cfg.Clock.Now())
	}
	r.ready = ready
}

// hold keeps a container, or the pod for name "", from going on.
func (a *Agent) hold(r *record, name, reason, message string, until time.Time) {
	r.remember(func(m *lifecycle.Memory) {
		put(&m.Holds, name, lifecycle.Hold{Container: name, Reason: reason, Message: message, Until: until})
	})
}

// holdPod keeps the pod from any step for a while that grows with every
// failure in a row.
func (a *Agent) holdPod(r *record, reason string, err error, longest time.Duration) {
	delay := min(firstRetry<<min(r.retries, 16), longest)
	r.retries++
	a.hold(r, "", reason, err.Error(), a.cfg.Clock.Now().Add(delay))
}

// unhold lets the pod go on.
func (a *Agent) unhold(r *record) {
	r.retries = 0
	r.remember(func(m *lifecycle.Memory) { delete(m.Holds, "") })
}

// interrupted tells that a step was ended because the pod needs another one, or
// the kubelet ends: nothing has failed.
func interrupted(ctx context.Context) bool { return ctx.Err() != nil }
