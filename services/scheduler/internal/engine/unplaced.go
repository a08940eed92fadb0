package engine

import (
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/filter"
	"coracle.local/services/scheduler/internal/placement"
	"coracle.local/services/scheduler/internal/preemption"
)

// unplaced handles a pod for which there is no node: make room if that may be,
// tell the user, and wait for an event that helps.
func (e *Engine) unplaced(a *attempt, d *placement.Diagnosis) {
	decision := Decision{Pod: a.pod.Object, Outcome: Unschedulable, Attempt: a.entry.Attempts}
	var nominated *string
	if d.Nodes > 0 {
		nominated = e.preempt(a, d, &decision)
	} else {
		nominated = new(string)
	}
	message := d.Message()
	now := e.cfg.Clock.Now()
	e.queue.Requeue(a.entry, now, d.Filters, message)
	e.cfg.Log.Debug("pod has no node", podField(a.pod.Object), zap.String("reason", message))
	e.cfg.Metrics.attempted("unschedulable", now.Sub(a.start))
	e.report(a.pod, corev1.PodReasonUnschedulable, message, nominated)
	decision.Time, decision.Message, decision.Took = now, message, now.Sub(a.start)
	e.feed.publish(decision)
}

// broken handles an attempt that failed for reasons that lie elsewhere.
func (e *Engine) broken(a *attempt, err error) {
	now := e.cfg.Clock.Now()
	message := err.Error()
	e.queue.Fail(a.entry, now, message)
	e.cfg.Log.Warn("scheduling attempt failed", podField(a.pod.Object), zap.Error(err))
	e.cfg.Metrics.attempted("error", now.Sub(a.start))
	e.promises.withdraw(a.pod.UID())
	e.report(a.pod, corev1.PodReasonSchedulerError, message, new(string))
	e.feed.publish(Decision{
		Time: now, Pod: a.pod.Object, Outcome: Failed, Attempt: a.entry.Attempts,
		Message: message, Took: now.Sub(a.start),
	})
}

// report writes the event and the condition that tell a user why a pod has no
// node. nominated is the node promised to it; nil leaves that as it is.
func (e *Engine) report(p *cluster.Pod, reason, message string, nominated *string) {
	e.cfg.Recorder.Event(p.Object, corev1.EventTypeWarning, reasonFailed, truncate(message))
	change := StatusChange{}
	if c := e.condition(p.Object, reason, message); c != nil {
		change.Condition = c
	}
	if nominated != nil && *nominated != p.Object.Status.NominatedNodeName {
		change.Nominated = nominated
	}
	if change != (StatusChange{}) {
		e.cfg.Status.WriteStatus(p.Object, change)
	}
}

// condition is the new PodScheduled condition; nil if it says what is there.
func (e *Engine) condition(p *corev1.Pod, reason, message string) *corev1.PodCondition {
	c := &corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: reason, Message: message,
		ObservedGeneration: p.Generation, LastTransitionTime: metav1.NewTime(e.cfg.Clock.Now()),
	}
	for i := range p.Status.Conditions {
		old := &p.Status.Conditions[i]
		if old.Type != c.Type {
			continue
		}
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
			if old.Reason == reason && old.Message == message {
				return nil
			}
		}
	}
	return c
}

// truncate keeps a message within what events may have.
func truncate(message string) string {
	const suffix = " ..."
	if len(message) <= maxNote {
		return message
	}
	return message[:maxNote-len(suffix)] + suffix
}

// preempt tries to make room. It returns the node to promise to the pod, an
// empty one to take an earlier promise back, or nil to leave it.
func (e *Engine) preempt(a *attempt, d *placement.Diagnosis, decision *Decision) *string {
	e.cfg.Metrics.preemptions.Inc()
	var verdict *filter.Verdict
	if slot, ok := e.state.Slot(a.pod.Object.Status.NominatedNodeName); ok {
		verdict = a.class.VerdictAt(slot)
	}
	if why := preemption.Ineligible(a.pod, &e.state.View, verdict); why != "" {
		d.Preemption = "preemption: " + why
		return nil
	}
	candidate, why := preemption.Find(preemption.Request{
		Pod: a.pod, Class: a.class, View: &e.state.View, Slots: a.class.Preemptable(a.refused),
		Budgets: e.cfg.Budgets.Budgets(), Promised: e.promises.before(a.pod), Offset: e.attempts,
	})
	if candidate == nil {
		d.Preemption = "preemption: " + why
		e.promises.withdraw(a.pod.UID())
		return new(string)
	}
	d.Preemption = "preemption: " + candidate.Message()
	e.evict(a.pod, candidate)
	decision.Outcome, decision.Node = Preempting, candidate.Node
	for _, v := range candidate.Victims {
		decision.Victims = append(decision.Victims, v.Name())
	}
	return &candidate.Node
}

// demote takes back the promises on a node that were made to pods of lower
// priority than the one that gets it now, and lets them look elsewhere.
func (e *Engine) demote(p *cluster.Pod, node string) {
	for _, other := range e.promises.below(node, p) {
		e.promises.withdraw(other.UID())
		e.cfg.Status.WriteStatus(other.Object, StatusChange{Nominated: new(string)})
		e.queue.Activate(other.UID())
	}
}

// evict promises the node to the pod and asks the victims to leave.
func (e *Engine) evict(p *cluster.Pod, c *preemption.Candidate) {
	e.cfg.Metrics.victims.Observe(float64(len(c.Victims)))
	e.cfg.Log.Info("pods are preempted", podField(p.Object), zap.String("node", c.Node), zap.Int("victims", len(c.Victims)))
	e.demote(p, c.Node)
	e.promises.give(p, c.Node)
	var victims []*corev1.Pod
	for _, v := range c.Victims {
		if !v.Terminating() {
			victims = append(victims, v.Object)
		}
	}
	if len(victims) == 0 {
		return
	}
	uid := p.UID()
	e.evicting[uid] = false
	start := e.cfg.Clock.Now()
	e.cfg.Evictor.Evict(victims, p.Object, c.Node, func(err error) {
		e.Do(func() { e.evicted(p, start, err) })
	})
}

// evicted notes that the victims were asked. If that failed, or if one has
// left already, the pod need not wait for events.
func (e *Engine) evicted(p *cluster.Pod, start time.Time, err error) {
	missed, known := e.evicting[p.UID()]
	if !known {
		return
	}
	delete(e.evicting, p.UID())
	e.cfg.Metrics.evictions.Observe(e.cfg.Clock.Since(start).Seconds())
	if err != nil {
		e.cfg.Log.Warn("preemption failed", podField(p.Object), zap.Error(err))
	}
	if err != nil || missed {
		e.queue.Activate(p.UID())
	}
}
