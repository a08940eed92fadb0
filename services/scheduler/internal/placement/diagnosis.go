package placement

import (
	"fmt"
	"slices"
	"strings"

	"coracle.local/services/scheduler/internal/filter"
)

// NoNodes is the message when a cluster has no nodes at all.
const NoNodes = "no nodes available to schedule pods"

// Diagnosis tells why no node can take a pod.
type Diagnosis struct {
	// Nodes is the number of nodes in the cluster.
	Nodes int
	// General is set if filters rejected the pod without looking at nodes.
	General *filter.Verdict
	// Reasons counts nodes by reason.
	Reasons map[string]int
	// Filters are those that rejected a node, sorted: what must change before
	// another attempt has a chance.
	Filters []string
	// Preemption is what came of making room, if it was tried.
	Preemption string
}

// Message is upstream's sentence for events and conditions.
func (d *Diagnosis) Message() string {
	if d.Nodes == 0 {
		return NoNodes
	}
	var b strings.Builder
	fmt.Fprintf(&b, "0/%d nodes are available:", d.Nodes)
	if d.General != nil {
		fmt.Fprintf(&b, " %s.", strings.Join(d.General.Reasons, ", "))
	} else if len(d.Reasons) > 0 {
		fmt.Fprintf(&b, " %s.", Histogram(d.Reasons))
	}
	if d.Preemption != "" {
		b.WriteString(" " + d.Preemption)
	}
	return b.String()
}

// Histogram lists reasons with their counts, sorted as text.
func Histogram(reasons map[string]int) string {
	list := make([]string, 0, len(reasons))
	for reason, n := range reasons {
		list = append(list, fmt.Sprintf("%d %s", n, reason))
	}
	slices.Sort(list)
	return strings.Join(list, ", ")
}

// Diagnose sums up why the class has no node. It follows a Choose that found
// none.
func (c *Class) Diagnose(refused Refusals) *Diagnosis {
	d := &Diagnosis{Nodes: len(c.view.Nodes), Reasons: map[string]int{}}
	if c.all != nil {
		d.General = c.all
		d.Filters = []string{c.all.Filter}
		return d
	}
	filters := map[string]bool{}
	count := func(v *filter.Verdict, n int) {
		if v == nil {
			return
		}
		filters[v.Filter] = true
		for _, reason := range v.Reasons {
			d.Reasons[reason] += n
		}
	}
	for i := range c.slots {
		if c.slots[i].group == none {
			count(c.slots[i].verdict, 1)
		}
	}
	for _, g := range c.list {
		count(g.verdict, len(g.heap))
	}
	for _, v := range refused {
		count(v, 1)
	}
	for name := range filters {
		d.Filters = append(d.Filters, name)
	}
	slices.Sort(d.Filters)
	return d
}

// Preemptable lists the slots of nodes that might take the pod if other pods
// left. It follows a Choose that found none.
func (c *Class) Preemptable(refused Refusals) []int {
	var slots []int
	for i := range c.slots {
		v := c.verdictOf(i)
		if v == nil {
			v = refused[i]
		}
		if v != nil && !v.Unresolvable {
			slots = append(slots, i)
		}
	}
	return slots
}

// VerdictAt is the verdict about one node as of the last Choose; nil also if
// the node is refused for nominated pods only.
func (c *Class) VerdictAt(slot int) *filter.Verdict {
	if c.all != nil {
		return c.all
	}
	if slot >= len(c.slots) {
		return nil
	}
	return c.verdictOf(slot)
}
