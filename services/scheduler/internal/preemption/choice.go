package preemption

import (
	"math"
	"slices"
	"time"

	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"coracle.local/services/scheduler/internal/cluster"
)

// started is when a pod began to run. A pod that has not yet is the youngest.
func started(p *cluster.Pod) metav1.Time {
	if t := p.Object.Status.StartTime; t != nil {
		return *t
	}
	return metav1.NewTime(time.Unix(math.MaxInt32, 0))
}

// split tells the pods apart whose disruption budgets do not allow them to go,
// supposing that those before them go too.
func split(pods []*cluster.Pod, budgets []*policyv1.PodDisruptionBudget) (violating, rest []*cluster.Pod) {
	allowed := make([]int32, len(budgets))
	selectors := make([]labels.Selector, len(budgets))
	for i, b := range budgets {
		allowed[i] = b.Status.DisruptionsAllowed
		if s, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil && !s.Empty() {
			selectors[i] = s
		}
	}
	for _, p := range pods {
		if violates(p, budgets, selectors, allowed) {
			violating = append(violating, p)
		} else {
			rest = append(rest, p)
		}
	}
	return violating, rest
}

func violates(p *cluster.Pod, budgets []*policyv1.PodDisruptionBudget, selectors []labels.Selector, allowed []int32) bool {
	if len(p.Object.Labels) == 0 {
		return false
	}
	for i, b := range budgets {
		if b.Namespace != p.Object.Namespace || selectors[i] == nil || !selectors[i].Matches(labels.Set(p.Object.Labels)) {
			continue
		}
		if _, counted := b.Status.DisruptedPods[p.Object.Name]; counted {
			continue
		}
		if allowed[i]--; allowed[i] < 0 {
			return true
		}
	}
	return false
}

// best compares candidates by upstream's criteria, one after the other: fewest
// budgets violated, lowest priority of the most important victim, lowest sum of
// priorities, fewest victims, shortest running.
func best(candidates []*Candidate) *Candidate {
	criteria := []func(*Candidate) int64{
		func(c *Candidate) int64 { return -int64(c.Violations) },
		func(c *Candidate) int64 { return -int64(c.Victims[0].Priority) },
		func(c *Candidate) int64 {
			var sum int64
			for _, p := range c.Victims {
				// Shifted to be positive: many victims of negative priority are
				// still worse than few.
				sum += int64(p.Priority) + math.MaxInt32 + 1
			}
			return -sum
		},
		func(c *Candidate) int64 { return -int64(len(c.Victims)) },
		func(c *Candidate) int64 { return earliest(c.Victims).UnixNano() },
	}
	for _, criterion := range criteria {
		top := int64(math.MinInt64)
		for _, c := range candidates {
			top = max(top, criterion(c))
		}
		candidates = slices.DeleteFunc(candidates, func(c *Candidate) bool { return criterion(c) < top })
		if len(candidates) == 1 {
			break
		}
	}
	return candidates[0]
}

// earliest is when the first of the most important victims started.
func earliest(victims []*cluster.Pod) metav1.Time {
	first := started(victims[0])
	for _, p := range victims[1:] {
		if p.Priority != victims[0].Priority {
			break
		}
		if t := started(p); t.Before(&first) {
			first = t
		}
	}
	return first
}
