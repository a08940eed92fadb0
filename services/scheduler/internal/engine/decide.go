package engine

import (
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/placement"
	"coracle.local/services/scheduler/internal/queue"
	"coracle.local/services/scheduler/internal/storage"
)

const (
	reasonScheduled = "Scheduled"
	reasonFailed    = "FailedScheduling"
)

// attempt is one try to find a node for a pod.
type attempt struct {
	entry *queue.Entry
	pod   *cluster.Pod
	class *placement.Class
	start time.Time
	// refused are nodes that are promised to other pods.
	refused placement.Refusals
}

// decide finds a node for the pod, or finds out why there is none.
func (e *Engine) decide(entry *queue.Entry, now time.Time) {
	p := entry.Pod
	if p.Terminating() {
		e.cfg.Recorder.Event(p.Object, corev1.EventTypeWarning, reasonFailed,
			fmt.Sprintf("skip schedule deleting pod: %v/%v", p.Object.Namespace, p.Object.Name))
		e.queue.Remove(p.UID())
		return
	}
	e.attempts++
	a := &attempt{entry: entry, pod: p, start: now, class: e.classes.Of(p)}
	if err := a.class.Err(); err != nil {
		e.broken(a, err)
		return
	}
	choice, ok := e.choose(a)
	took := e.cfg.Clock.Since(now)
	e.cfg.Metrics.algorithm.Observe(took.Seconds())
	e.cfg.Tracer.Record(p.UID(), "queue", entry.Queued, now, attribute.Int("attempt", entry.Attempts))
	if !ok {
		e.cfg.Tracer.Record(p.UID(), "schedule", now, now.Add(took), attribute.Bool("placed", false))
		e.unplaced(a, a.class.Diagnose(a.refused))
		return
	}
	e.cfg.Tracer.Record(p.UID(), "schedule", now, now.Add(took), attribute.Bool("placed", true),
		attribute.String("node", choice.Node), attribute.Int("feasible", choice.Feasible), attribute.Int64("score", choice.Score))
	e.place(a, choice, took)
}

// choose prefers the node that was promised to the pod, and else takes the
// best.
func (e *Engine) choose(a *attempt) (placement.Choice, bool) {
	promised := e.promises.before(a.pod)
	if name := e.promises.nodeOf(a.pod.UID()); name != "" {
		if slot, ok := e.state.Slot(name); ok && a.class.Fits(slot) && a.class.RefusedFor(slot, promised) == nil {
			return placement.Choice{Slot: slot, Node: name, Feasible: 1}, true
		}
	}
	choice, refused, ok := a.class.ChooseUnpromised(promised)
	a.refused = refused
	return choice, ok
}

// place puts the pod on its node and has it bound.
func (e *Engine) place(a *attempt, choice placement.Choice, took time.Duration) {
	p := a.pod
	plan := storage.Plan{}
	if claims, err := storage.ClaimsOf(p.Object, e.state.Volumes); err == nil && len(claims.Waiting) > 0 {
		plan, _ = claims.On(e.state.Nodes[choice.Slot].Object, e.state.Volumes, e.state.Promised)
	}
	e.state.Assume(p, choice.Node)
	e.promises.withdraw(p.UID())
	b := &binding{entry: a.entry, node: choice.Node, start: a.start, plan: plan}
	e.binding[p.UID()] = b
	e.cfg.Log.Debug("pod placed", podField(p.Object), zap.String("node", choice.Node),
		zap.Int("feasible", choice.Feasible), zap.Int64("score", choice.Score))
	e.feed.publish(Decision{
		Time: e.cfg.Clock.Now(), Pod: p.Object, Outcome: Placed, Node: choice.Node,
		Attempt: a.entry.Attempts, Feasible: choice.Feasible, Score: choice.Score, Took: took,
	})
	e.wake(cluster.Event{Kind: cluster.PodAssigned, Pod: p})
	if plan.Empty() {
		e.bind(b)
	} else {
		e.bindVolumes(b)
	}
}
