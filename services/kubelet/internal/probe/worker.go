package probe

import (
	"context"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/services/kubelet/internal/lifecycle"
)

// worker puts one probe to one container instance until it is told to stop or
// has its last answer.
type worker struct {
	m      *Manager
	key    workerKey
	spec   *corev1.Probe
	target target
	uid    types.UID

	inARow int              // equal answers in a row
	answer lifecycle.Result // the last one
}

// retries of a probe that could not be put.
const retries = 3

func (w *worker) period() time.Duration {
	return time.Duration(max(w.spec.PeriodSeconds, 1)) * time.Second
}

func (w *worker) run(ctx context.Context, delay time.Duration) {
	if delay > 0 {
		select {
		case <-ctx.Done():
			return
		case <-w.m.cfg.Clock.After(delay):
		}
	}
	tick := w.m.cfg.Clock.NewTicker(w.period())
	defer tick.Stop()
	for !w.once(ctx) {
		select {
		case <-ctx.Done():
			return
		case <-tick.C():
		}
	}
}

// once asks once and reports whether the last answer is found.
func (w *worker) once(ctx context.Context) bool {
	var v verdict
	var err error
	for range retries {
		if v, err = ask(ctx, w.m.cfg.Engine, w.m.client, w.spec, w.target); err == nil || ctx.Err() != nil {
			break
		}
	}
	if ctx.Err() != nil {
		return false
	}
	w.tell(v, err)
	if err != nil {
		return false // no answer is not an answer
	}
	answer := lifecycle.Failure
	if v.ok {
		answer = lifecycle.Success
	}
	if w.answer != answer {
		w.answer, w.inARow = answer, 0
	}
	w.inARow++
	threshold := w.spec.FailureThreshold
	if v.ok {
		threshold = w.spec.SuccessThreshold
	}
	if w.inARow < int(max(threshold, 1)) {
		return false
	}
	// A container that failed to start or live is killed, and one that has
	// started is not asked again: until there is another instance.
	last := w.key.kind == startup || w.key.kind == liveness && !v.ok
	w.m.set(w.uid, w.key, answer, last)
	return last
}

// tell records an answer that is not good, in upstream's words.
func (w *worker) tell(v verdict, err error) {
	result := "successful"
	event := func(reason, format string, args ...any) {
		w.m.cfg.Events.Container(w.target.pod, w.target.container.Name, "", corev1.EventTypeWarning, reason, format, args...)
	}
	switch {
	case err != nil:
		result = "unknown"
		event("Unhealthy", "%s probe errored and resulted in %s state: %s", w.key.kind, result, err)
	case !v.ok:
		result = "failed"
		event("Unhealthy", "%s probe failed: %s", w.key.kind, v.output)
		w.m.cfg.Log.Debug("probe failed", zap.String("pod", lifecycle.Format(w.target.pod)), zap.String("container", w.target.container.Name),
			zap.String("probe", string(w.key.kind)), zap.String("output", v.output))
	case v.warning:
		event("ProbeWarning", "%s probe warning: %s", w.key.kind, v.output)
	}
	if w.m.cfg.Observe != nil {
		w.m.cfg.Observe(string(w.key.kind), result)
	}
}
