package filter

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/spread"
)

// PodTopologySpread is the filter of constraints on the spread of pods.
const PodTopologySpread = "PodTopologySpread"

const (
	reasonSpread      = "node(s) didn't match pod topology spread constraints"
	reasonSpreadLabel = reasonSpread + " (missing required label)"
)

type podTopologySpread struct{}

func (podTopologySpread) Name() string { return PodTopologySpread }

func (podTopologySpread) Prepare(p *cluster.Pod, v *cluster.View) Prepared {
	constraints, err := spread.Of(p.Object, corev1.DoNotSchedule)
	if err != nil {
		return Prepared{Err: err}
	}
	if len(constraints) == 0 {
		return Prepared{}
	}
	c := &spreadCheck{
		counters: spread.Count(p, v, constraints, true),
		noLabel:  rejectForGood(PodTopologySpread, reasonSpreadLabel),
		noRoom:   reject(PodTopologySpread, reasonSpread),
	}
	for i := range constraints {
		self := int64(0)
		if constraints[i].Selector.Matches(labels.Set(p.Object.Labels)) {
			self = 1
		}
		c.self = append(c.self, self)
	}
	return Prepared{Topology: c}
}

// spreadCheck compares a domain's count with the smallest.
type spreadCheck struct {
	counters []*spread.Counter
	// self is 1 for each constraint that would count the pod itself.
	self            []int64
	noLabel, noRoom *Verdict
}

func (c *spreadCheck) Register(s *cluster.Spots) {
	for _, counter := range c.counters {
		s.Register(counter.Tally)
	}
}

func (c *spreadCheck) Place(s cluster.Spot) *Verdict {
	for i, counter := range c.counters {
		n, ok := s.Count(counter.Tally)
		if !ok {
			return c.noLabel
		}
		if n+c.self[i]-counter.Least() > counter.MaxSkew {
			return c.noRoom
		}
	}
	return nil
}

func (c *spreadCheck) Account(slot int, p *cluster.Pod, delta int64) bool {
	for _, counter := range c.counters {
		counter.Account(slot, p, delta)
	}
	return true
}

func (podTopologySpread) Helps(e cluster.Event, p *cluster.Pod) bool {
	constraints, err := spread.Of(p.Object, corev1.DoNotSchedule)
	if err != nil {
		return true
	}
	switch e.Kind {
	case cluster.PodAssigned:
		return counts(constraints, p, e.Pod)
	case cluster.PodGone:
		return counts(constraints, p, e.OldPod)
	case cluster.PodChanged:
		// A pod that begins to terminate stops counting, as if it had left.
		return counts(constraints, p, e.OldPod) != counts(constraints, p, e.Pod)
	case cluster.NodeAdded, cluster.NodeGone:
		return true
	case cluster.NodeChanged:
		return e.Changed&(cluster.NodeLabels|cluster.NodeTaints) != 0
	case cluster.TargetChanged:
		return !maps.Equal(e.OldPod.Object.Labels, p.Object.Labels) ||
			len(e.OldPod.Object.Spec.Tolerations) != len(p.Object.Spec.Tolerations)
	default:
		return false
	}
}

func counts(constraints []spread.Constraint, p, other *cluster.Pod) bool {
	if other.Object.Namespace != p.Object.Namespace || other.Terminating() {
		return false
	}
	for i := range constraints {
		if constraints[i].Selector.Matches(labels.Set(other.Object.Labels)) {
			return true
		}
	}
	return false
}
