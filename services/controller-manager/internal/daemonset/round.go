package daemonset

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"coracle.local/services/controller-manager/internal/plan"
	"coracle.local/services/controller-manager/internal/pods"
)

// burst bounds how many pods one look creates or deletes.
const burst = 250

// round is one look at a DaemonSet.
type round struct {
	state
	now  time.Time
	hash string
	fit  fit
	// on is the pods of each node.
	on     map[string][]*corev1.Pod
	create []string // nodes
	remove []*corev1.Pod
	events []plan.Action
	after  time.Duration
	err    error
}

func (r *round) surges() bool {
	surge, _ := r.limits(1)
	return surge > 0
}

// limits is how many pods may be too many and too few during an update.
func (r *round) limits(desired int) (surge, unavailable int) {
	u := r.Self.Spec.UpdateStrategy.RollingUpdate
	if r.Self.Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType || u == nil {
		return 0, 0
	}
	// Validation keeps out what cannot be scaled.
	surge, _ = intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(u.MaxSurge, intstr.FromInt32(0)), desired, true)
	unavailable, _ = intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(u.MaxUnavailable, intstr.FromInt32(1)), desired, true)
	return surge, unavailable
}

func (r *round) updated(p *corev1.Pod) bool {
	g, ok := generation(r.Self)
	return p.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == r.hash || ok && p.Labels["pod-template-generation"] == g
}

func (r *round) available(p *corev1.Pod) bool {
	return pods.Available(p, r.Self.Spec.MinReadySeconds, r.now)
}

// oldestFirst orders the pods of a node: scheduled ones, then by age.
func oldestFirst(list []*corev1.Pod) {
	slices.SortFunc(list, func(a, b *corev1.Pod) int {
		pending := func(p *corev1.Pod) int {
			if p.Spec.NodeName == "" {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(pending(a), pending(b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
}

// manage sees to it that nodes have a pod, and just one, or none.
func (r *round) manage() {
	known := map[string]bool{}
	for _, n := range r.Nodes {
		known[n.Name] = true
		run, stay := r.fit.on(n)
		list := r.on[n.Name]
		switch {
		case run && len(list) == 0:
			r.create = append(r.create, n.Name)
		case stay:
			r.tidy(n.Name, list, run)
		default:
			for _, p := range list {
				if p.DeletionTimestamp == nil {
					r.remove = append(r.remove, p)
				}
			}
		}
	}
	// No scheduler and no kubelet will ever see to these.
	for _, node := range slices.Sorted(maps.Keys(r.on)) {
		for _, p := range r.on[node] {
			if !known[node] && p.Spec.NodeName == "" && p.DeletionTimestamp == nil {
				r.remove = append(r.remove, p)
			}
		}
	}
}

// tidy deletes what has ended on a node, and pods beyond the first.
func (r *round) tidy(node string, list []*corev1.Pod, run bool) {
	var live []*corev1.Pod
	for _, p := range list {
		switch {
		case p.DeletionTimestamp != nil:
		case p.Status.Phase == corev1.PodFailed:
			// A kubelet that refuses pods would be asked again and again.
			if left := r.Due[node].Sub(r.now); left > 0 {
				if r.after == 0 || left < r.after {
					r.after = left
				}
				continue
			}
			r.tell(corev1.EventTypeWarning, "FailedDaemonPod", "Found failed daemon pod %s/%s on node %s, will try to kill it", p, node)
			r.remove = append(r.remove, p)
		case p.Status.Phase == corev1.PodSucceeded:
			r.tell(corev1.EventTypeNormal, "SucceededDaemonPod", "Found succeeded daemon pod %s/%s on node %s, will try to delete it", p, node)
			r.remove = append(r.remove, p)
		default:
			live = append(live, p)
		}
	}
	oldestFirst(live)
	switch {
	case !r.surges():
		r.remove = append(r.remove, live[min(1, len(live)):]...)
	case len(live) == 0 && run:
		r.create = append(r.create, node)
	case len(live) > 1:
		r.tidySurge(live)
	}
}

// tidySurge leaves one old pod beside a new one until that is available.
func (r *round) tidySurge(live []*corev1.Pod) {
	var fresh, old *corev1.Pod
	for _, p := range live {
		switch {
		case p.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == r.hash && fresh == nil:
			fresh = p
		case p.Labels[appsv1.DefaultDaemonSetUniqueLabelKey] != r.hash && old == nil:
			old = p
		default:
			r.remove = append(r.remove, p)
		}
	}
	if fresh != nil && old != nil && (!pods.Ready(old) || r.available(fresh)) {
		r.remove = append(r.remove, old)
	}
}

func (r *round) tell(kind, reason, format string, p *corev1.Pod, node string) {
	r.events = append(r.events, plan.Event{About: r.Self, Type: kind, Reason: reason, Message: fmt.Sprintf(format, p.Namespace, p.Name, node)})
}

func (r *round) status() appsv1.DaemonSetStatus {
	s := *r.Self.Status.DeepCopy()
	s.DesiredNumberScheduled, s.CurrentNumberScheduled, s.NumberMisscheduled = 0, 0, 0
	s.NumberReady, s.NumberAvailable, s.UpdatedNumberScheduled = 0, 0, 0
	for _, n := range r.Nodes {
		list := slices.Clone(r.on[n.Name])
		run, _ := r.fit.on(n)
		switch {
		case run:
			s.DesiredNumberScheduled++
		case len(list) > 0:
			s.NumberMisscheduled++
		}
		if !run || len(list) == 0 {
			continue
		}
		s.CurrentNumberScheduled++
		oldestFirst(list)
		p := list[0]
		if pods.Ready(p) {
			s.NumberReady++
		}
		if r.available(p) {
			s.NumberAvailable++
		}
		if r.updated(p) {
			s.UpdatedNumberScheduled++
		}
	}
	s.NumberUnavailable = s.DesiredNumberScheduled - s.NumberAvailable
	s.ObservedGeneration = r.Self.Generation
	return s
}
