package placement

import (
	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/score"
)

// Choice is a node for a pod.
type Choice struct {
	Slot int
	Node string
	// Score is the weighted sum of all scores.
	Score int64
	// Feasible is the number of nodes that were to choose from.
	Feasible int
}

// fieldOfGroups has the groups that pass every filter, with room to compute
// their scores. It is kept to be used again.
type fieldOfGroups struct {
	score.Field
	groups []*group
	// totals are the weighted scores that all nodes of a group have in common.
	totals []int64
	values []int64
	nodes  int
}

// Err is why the pod cannot be understood.
func (c *Class) Err() error { return c.err }

// Promised lists the pods that count as being on a node though they are not:
// room there was promised to them, and the pod in question has to respect that.
type Promised func(node string) []*cluster.Pod

// Refusals are nodes that would do, were they not promised to other pods, with
// the verdicts for it.
type Refusals map[int]*verdict

// ChooseUnpromised is Choose with respect for promises.
func (c *Class) ChooseUnpromised(promised Promised) (Choice, Refusals, bool) {
	var refusals Refusals
	choice, ok := c.Choose(func(slot int) bool {
		v := c.RefusedFor(slot, promised)
		if v != nil {
			if refusals == nil {
				refusals = Refusals{}
			}
			refusals[slot] = v
		}
		return v == nil
	})
	return choice, refusals, ok
}

// RefusedFor is the verdict about a node that would take the pod, with the pods
// on it that were promised room there.
func (c *Class) RefusedFor(slot int, promised Promised) *verdict {
	pods := promised(c.view.Nodes[slot].Name())
	if len(pods) == 0 {
		return nil
	}
	trial := c.Try(slot)
	defer trial.Undo()
	for _, p := range pods {
		trial.Add(p)
	}
	return trial.Verdict()
}

// Choose returns the best node for a pod of the class; false if there is none.
// accept may refuse a node, and the next best is tried.
func (c *Class) Choose(accept func(slot int) bool) (Choice, bool) {
	f := c.gather()
	if len(f.groups) == 0 {
		return Choice{}, false
	}
	c.total(f)
	var refused []refusal
	defer func() {
		for _, r := range refused {
			c.enter(c.slots, r.slot, r.values)
		}
	}()
	for {
		at, best := c.top(f)
		if at < 0 {
			return Choice{}, false
		}
		if accept == nil || accept(best) {
			return Choice{
				Slot: best, Node: c.view.Nodes[best].Name(), Feasible: f.nodes,
				Score: f.totals[at] + c.slots[best].static,
			}, true
		}
		g := f.groups[at]
		refused = append(refused, refusal{best, append([]int64(nil), g.values...)})
		c.leave(c.slots, best)
	}
}

// refusal remembers where a refused node belongs.
type refusal struct {
	slot   int
	values []int64
}

// gather finds the groups that topological filters let pass.
func (c *Class) gather() *fieldOfGroups {
	f := &c.field
	f.groups, f.Spots, f.Sizes, f.nodes = f.groups[:0], f.Spots[:0], f.Sizes[:0], 0
	for _, g := range c.list {
		if len(g.heap) == 0 {
			continue
		}
		spot := c.spots.Spot(g.values)
		if g.verdict = c.place(spot); g.verdict != nil {
			continue
		}
		f.groups = append(f.groups, g)
		f.Spots = append(f.Spots, spot)
		f.Sizes = append(f.Sizes, len(g.heap))
		f.nodes += len(g.heap)
	}
	return f
}

// total sums for each group the scores that its nodes have in common.
func (c *Class) total(f *fieldOfGroups) {
	f.totals = append(f.totals[:0], make([]int64, len(f.groups))...)
	c.eachCommon(f, func(s score.Scorer, values []int64) {
		for i, v := range values {
			f.totals[i] += s.Weight() * v
		}
	})
}

// eachCommon calls f with the normalized scores of each relative and
// topological scorer, by group.
func (c *Class) eachCommon(f *fieldOfGroups, report func(s score.Scorer, values []int64)) {
	f.values = append(f.values[:0], make([]int64, len(f.groups))...)
	for k := range c.relative {
		for i, g := range f.groups {
			f.values[i] = g.values[c.spots.Width()+k]
		}
		c.relative[k].node.Normalize(f.values)
		report(c.relative[k].Scorer, f.values)
	}
	for k := range c.placed {
		c.placed[k].place.Begin(f.Field)
		for i := range f.groups {
			f.values[i] = c.placed[k].place.Place(f.Spots[i])
		}
		c.placed[k].place.Normalize(f.values)
		report(c.placed[k].Scorer, f.values)
	}
}

// top finds the group whose first node is best; -1 if all are empty.
func (c *Class) top(f *fieldOfGroups) (at, best int) {
	at = -1
	var bestScore int64
	for i, g := range f.groups {
		if len(g.heap) == 0 {
			continue
		}
		first := int(g.heap[0])
		s := f.totals[i] + c.slots[first].static
		if at < 0 || s > bestScore || (s == bestScore && c.slots[first].stamp < c.slots[best].stamp) {
			at, best, bestScore = i, first, s
		}
	}
	return at, best
}

// verdictOf is the verdict about a node, the topological filters' included as
// of the last gathering.
func (c *Class) verdictOf(i int) *verdict {
	if v := c.slots[i].verdict; v != nil {
		return v
	}
	return c.list[c.slots[i].group].verdict
}

// spotOf describes a node afresh.
func (c *Class) spotOf(i int) cluster.Spot {
	return c.spots.At(i, make([]int64, c.spots.Width()))
}

// Fits tells whether a node passes every filter at present.
func (c *Class) Fits(slot int) bool {
	if c.slots == nil || c.slots[slot].verdict != nil {
		return false
	}
	return c.place(c.spotOf(slot)) == nil
}
