package agent

import (
	"context"
	"maps"
	"slices"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/services/kubelet/internal/lifecycle"
	"coracle.local/services/kubelet/internal/podstatus"
)

// Agent works on the pods of a node.
type Agent struct {
	cfg Config

	mu      sync.Mutex
	ctx     context.Context // of Run, once work may begin
	records map[types.UID]*record
	group   sync.WaitGroup
	synced  bool // Update has told all pods there are

	// admission is one at a time: each must count the ones before.
	admission sync.Mutex
	admitted  map[types.UID]*corev1.Pod
}

// New makes an agent. It works while Run runs.
func New(cfg Config) *Agent {
	return &Agent{cfg: cfg, records: map[types.UID]*record{}, admitted: map[types.UID]*corev1.Pod{}}
}

// Update tells of a pod of this node as the API server has it. pod must not be
// modified afterwards.
func (a *Agent) Update(pod *corev1.Pod) {
	a.mu.Lock()
	r, known := a.records[pod.UID]
	if !known {
		r = &record{uid: pod.UID, firstSeen: a.cfg.Clock.Now()}
		a.records[pod.UID] = r
	}
	a.mu.Unlock()
	a.cfg.Reporter.Seen(pod)

	r.mu.Lock()
	before := r.pod
	r.pod, r.orphan = pod, false
	if known && before != nil && !matters(before, pod) {
		r.mu.Unlock()
		return
	}
	if before != nil {
		a.changedBetween(r, before, pod)
	}
	r.mu.Unlock()
	a.wake(r)
}

// changedBetween adjusts a record, which is locked, to a changed pod.
func (a *Agent) changedBetween(r *record, before, pod *corev1.Pod) {
	if stopsSooner(before, pod) {
		r.memory.Grace = lifecycle.StopGrace(pod, r.memory.Grace)
		delete(r.memory.Holds, "")
		if r.interrupt != nil {
			r.interrupt(errInterrupted)
		}
	}
	if r.memory.Mounted && !(maps.Equal(before.Labels, pod.Labels) && maps.Equal(before.Annotations, pod.Annotations)) {
		r.memory.Remount = a.cfg.Clock.Now() // files may tell of them
	}
	for i := range pod.Spec.Containers {
		was := lifecycle.SpecOf(before, pod.Spec.Containers[i].Name)
		if was != nil && was.Image != pod.Spec.Containers[i].Image {
			delete(r.memory.Images, was.Name)
			delete(r.memory.Holds, was.Name)
		}
	}
}

// stopsSooner tells whether a pod has to stop that did not, or sooner.
func stopsSooner(before, after *corev1.Pod) bool {
	if after.DeletionTimestamp == nil {
		return false
	}
	if before.DeletionTimestamp == nil {
		return true
	}
	b, a := before.DeletionGracePeriodSeconds, after.DeletionGracePeriodSeconds
	return a != nil && (b == nil || *a < *b)
}

// matters tells whether a change is more than the echo of a status that was
// written here.
func matters(before, after *corev1.Pod) bool {
	return before.Generation != after.Generation || before.Generation == 0 && !equality.Semantic.DeepEqual(before.Spec, after.Spec) ||
		!before.DeletionTimestamp.Equal(after.DeletionTimestamp) || stopsSooner(before, after) ||
		!maps.Equal(before.Labels, after.Labels) || !maps.Equal(before.Annotations, after.Annotations) ||
		before.Status.Phase != after.Status.Phase || othersConditions(before, after)
}

func othersConditions(before, after *corev1.Pod) bool {
	of := func(p *corev1.Pod) []corev1.PodCondition {
		return slices.DeleteFunc(slices.Clone(p.Status.Conditions), func(c corev1.PodCondition) bool { return podstatus.Ours(c.Type) })
	}
	return !equality.Semantic.DeepEqual(of(before), of(after))
}

// Remove tells that the API server has the pod no more. pod is its last state.
func (a *Agent) Remove(pod *corev1.Pod) {
	a.mu.Lock()
	r, ok := a.records[pod.UID]
	a.mu.Unlock()
	if !ok {
		return
	}
	r.mu.Lock()
	r.pod, r.orphan = pod, true
	delete(r.memory.Holds, "")
	// Whoever deletes the pod right now has to see that through; any other
	// step has lost its point.
	if r.interrupt != nil && r.action.Verb != lifecycle.Delete {
		r.interrupt(errInterrupted)
	}
	r.mu.Unlock()
	a.wake(r)
}

// Wake says that something about a pod has changed.
func (a *Agent) Wake(uid types.UID) {
	a.mu.Lock()
	r, ok := a.records[uid]
	a.mu.Unlock()
	if !ok {
		return
	}
	r.mu.Lock()
	r.fresh = false
	r.mu.Unlock()
	a.wake(r)
}

// ObjectChanged says that something a pod names has changed: its volumes are to
// be rendered again, and what failed for want of it is tried again.
func (a *Agent) ObjectChanged(uid types.UID) {
	a.mu.Lock()
	r, ok := a.records[uid]
	a.mu.Unlock()
	if !ok {
		return
	}
	r.mu.Lock()
	if r.memory.Mounted {
		r.memory.Remount = a.cfg.Clock.Now()
	}
	for name, h := range r.memory.Holds {
		if h.Reason == reasonMount || h.Reason == reasonConfig {
			h.Until = a.cfg.Clock.Now()
			r.memory.Holds[name] = h
		}
	}
	r.mu.Unlock()
	a.wake(r)
}
