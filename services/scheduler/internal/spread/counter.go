package spread

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"coracle.local/services/scheduler/internal/cluster"
)

// Counter counts the pods that a constraint selects, in each domain of its
// key, on the nodes that count for it.
type Counter struct {
	Constraint
	Tally *cluster.Tally

	namespace string
	// eligible tells for each slot whether its pods count.
	eligible []bool
	// tracked are the domains with an eligible node, domains their number.
	tracked []bool
	domains int
	// have is the number of tracked domains by their count, least the smallest
	// count: counts move by one, so both are kept in step cheaply.
	have  map[int64]int
	least int64
}

// Count makes a counter for each constraint. With all, nodes count only if
// they have a label for every one of the constraints.
func Count(p *cluster.Pod, v *cluster.View, constraints []Constraint, all bool) []*Counter {
	keys := Keys(constraints)
	counters := make([]*Counter, len(constraints))
	for i, c := range constraints {
		counters[i] = newCounter(p, v, c)
	}
	required := nodeaffinity.GetRequiredNodeAffinity(p.Object)
	for slot, n := range v.Nodes {
		if all && !hasAll(n.Object, keys) {
			continue
		}
		matches, err := required.Match(n.Object)
		matches = matches && err == nil
		for _, c := range counters {
			if (c.HonorAffinity && !matches) || (c.HonorTaints && tainted(n.Object, p.Object)) {
				continue
			}
			c.admit(slot)
		}
	}
	for slot, n := range v.Nodes {
		for _, other := range n.Pods {
			for _, c := range counters {
				c.Account(slot, other, 1)
			}
		}
	}
	return counters
}

func newCounter(p *cluster.Pod, v *cluster.View, c Constraint) *Counter {
	t := cluster.NewTally(v.Domains(c.Key))
	return &Counter{
		Constraint: c, Tally: t, namespace: p.Object.Namespace,
		eligible: make([]bool, len(v.Nodes)), tracked: make([]bool, t.Domains.Size), have: map[int64]int{},
	}
}

func tainted(node *corev1.Node, pod *corev1.Pod) bool {
	for i := range node.Spec.Taints {
		taint := &node.Spec.Taints[i]
		if taint.Effect == corev1.TaintEffectPreferNoSchedule {
			continue
		}
		if !corev1helpers.TolerationsTolerateTaint(klog.Logger{}, pod.Spec.Tolerations, taint, false) {
			return true
		}
	}
	return false
}

func (c *Counter) admit(slot int) {
	c.eligible[slot] = true
	if id := c.Tally.Domains.Of[slot]; id != cluster.NoDomain && !c.tracked[id] {
		c.tracked[id] = true
		c.domains++
		c.have[0]++
	}
}

// Account notes that a pod came to a node or left it.
func (c *Counter) Account(slot int, p *cluster.Pod, delta int64) {
	if !c.eligible[slot] || !c.Selects(p) {
		return
	}
	id := c.Tally.Domains.Of[slot]
	if id == cluster.NoDomain {
		return
	}
	before := c.Tally.Domain(id)
	c.Tally.Add(slot, delta)
	if !c.tracked[id] {
		return
	}
	now := before + delta
	if c.have[before]--; c.have[before] == 0 {
		delete(c.have, before)
	}
	c.have[now]++
	if now < c.least {
		c.least = now
	}
	for c.have[c.least] == 0 {
		c.least++
	}
}

// Selects tells whether a pod counts. Pods on their way out do not.
func (c *Counter) Selects(p *cluster.Pod) bool {
	return p.Object.Namespace == c.namespace && !p.Terminating() && !c.Selector.Empty() &&
		c.Selector.Matches(labels.Set(p.Object.Labels))
}

// Least is the smallest count of any domain: what skew is measured from. With
// fewer domains than the constraint wants, it is zero.
func (c *Counter) Least() int64 {
	if c.domains < c.MinDomains || c.domains == 0 {
		return 0
	}
	return c.least
}
