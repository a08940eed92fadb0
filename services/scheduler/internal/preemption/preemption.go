// Package preemption finds pods whose removal makes room for one of higher
// priority, and of all such sets the one that hurts least.
package preemption

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/filter"
	"coracle.local/services/scheduler/internal/placement"
)

// How many nodes are tried before the best of those found is taken: a tenth of
// them, and a hundred at least.
const (
	minPercentage = 10
	minAbsolute   = 100
)

const (
	reasonNoVictims = "No preemption victims found for incoming pod"
	reasonNoHelp    = "Preemption is not helpful for scheduling"
)

// Request is a pod without a node, and what is needed to make room for it.
type Request struct {
	Pod   *cluster.Pod
	Class *placement.Class
	View  *cluster.View
	// Slots are the nodes that leaving pods might help.
	Slots    []int
	Budgets  []*policyv1.PodDisruptionBudget
	Promised placement.Promised
	// Offset is where the search begins, so that nodes take turns.
	Offset int
}

// Candidate is a node and the pods that must leave it.
type Candidate struct {
	Slot int
	Node string
	// Victims are sorted by importance, the most important first.
	Victims []*cluster.Pod
	// Violations counts victims whose disruption budget does not allow it.
	Violations int
}

// Message describes a candidate that was chosen.
func (c *Candidate) Message() string {
	return fmt.Sprintf("found a potential placement for pod on node %v, preempting %d victims", c.Node, len(c.Victims))
}

// Ineligible tells why a pod may not preempt others at all; empty if it may.
// nominated is the verdict about the node that it was promised before, if any.
func Ineligible(p *cluster.Pod, v *cluster.View, nominated *filter.Verdict) string {
	if policy := p.Object.Spec.PreemptionPolicy; policy != nil && *policy == corev1.PreemptNever {
		return "not eligible due to preemptionPolicy=Never."
	}
	name := p.Object.Status.NominatedNodeName
	if name == "" || (nominated != nil && nominated.Unresolvable) {
		return ""
	}
	n := v.Node(name)
	if n == nil {
		return ""
	}
	for _, other := range n.Pods {
		if other.Priority < p.Priority && leaving(other.Object) {
			return "not eligible due to a terminating pod on the nominated node."
		}
	}
	return ""
}

// leaving tells whether a pod terminates because it was preempted.
func leaving(pod *corev1.Pod) bool {
	if pod.DeletionTimestamp == nil {
		return false
	}
	return slices.ContainsFunc(pod.Status.Conditions, func(c corev1.PodCondition) bool {
		return c.Type == corev1.DisruptionTarget && c.Status == corev1.ConditionTrue && c.Reason == corev1.PodReasonPreemptionByScheduler
	})
}

// Find returns the best candidate, or none and a sentence that says why.
func Find(r Request) (*Candidate, string) {
	var harmless, harmful []*Candidate
	reasons := map[string]int{}
	enough := min(max(len(r.Slots)*minPercentage/100, minAbsolute), len(r.Slots))
	for i := range r.Slots {
		slot := r.Slots[(r.Offset+i)%len(r.Slots)]
		c, verdict := r.on(slot)
		switch {
		case c == nil:
			for _, reason := range verdict.Reasons {
				reasons[reason]++
			}
			continue
		case c.Violations == 0:
			harmless = append(harmless, c)
		default:
			harmful = append(harmful, c)
		}
		if len(harmless) > 0 && len(harmless)+len(harmful) >= enough {
			break
		}
	}
	if all := append(harmless, harmful...); len(all) > 0 {
		return best(all), ""
	}
	// A reason stands for each node that was not tried.
	if rest := len(r.View.Nodes) - len(r.Slots); rest > 0 {
		reasons[reasonNoHelp] += rest
	}
	return nil, fmt.Sprintf("0/%d nodes are available: %s.", len(r.View.Nodes), placement.Histogram(reasons))
}

// on finds the smallest set of victims on one node.
func (r *Request) on(slot int) (*Candidate, *filter.Verdict) {
	n := r.View.Nodes[slot]
	var lower []*cluster.Pod
	for _, p := range n.Pods {
		if p.Priority < r.Pod.Priority {
			lower = append(lower, p)
		}
	}
	if len(lower) == 0 {
		return nil, &filter.Verdict{Reasons: []string{reasonNoVictims}, Unresolvable: true}
	}
	trial := r.Class.Try(slot)
	defer trial.Undo()
	for _, p := range lower {
		trial.Remove(p)
	}
	if v := r.fits(trial, slot); v != nil {
		return nil, v
	}
	slices.SortStableFunc(lower, moreImportant)
	c := &Candidate{Slot: slot, Node: n.Name()}
	violating, rest := split(lower, r.Budgets)
	// Those protected by a budget are spared first, and of each kind the most
	// important.
	for i, list := range [][]*cluster.Pod{violating, rest} {
		for _, p := range list {
			trial.Add(p)
			if r.fits(trial, slot) == nil {
				continue
			}
			trial.Remove(p)
			c.Victims = append(c.Victims, p)
			if i == 0 {
				c.Violations++
			}
		}
	}
	if len(c.Victims) == 0 {
		return nil, &filter.Verdict{Reasons: []string{fmt.Sprintf("expected at least one victim pod on node %q", n.Name())}}
	}
	slices.SortStableFunc(c.Victims, moreImportant)
	return c, nil
}

// fits judges the supposed node with the pods that were promised room there,
// and without them, since they may never come.
func (r *Request) fits(trial *placement.Trial, slot int) *filter.Verdict {
	if promised := r.Promised(r.View.Nodes[slot].Name()); len(promised) > 0 {
		for _, p := range promised {
			trial.Add(p)
		}
		v := trial.Verdict()
		for _, p := range slices.Backward(promised) {
			trial.Remove(p)
		}
		if v != nil {
			return v
		}
	}
	return trial.Verdict()
}

// moreImportant orders pods: higher priority first, then longer running.
func moreImportant(a, b *cluster.Pod) int {
	if a.Priority != b.Priority {
		return cmp.Compare(b.Priority, a.Priority)
	}
	return started(a).Compare(started(b).Time)
}
