// Package placement finds the best node for a pod. Pods that look alike to
// every filter and scorer form a class: its feasible nodes and their scores are
// computed once and repaired when the cluster changes, so that one more pod of
// a class costs a few nodes' work and not all of them.
package placement

import (
	"math"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/filter"
	"coracle.local/services/scheduler/internal/score"
)

// Class is everything known about placing the pods of one template. It belongs
// to the owner of the cluster's state and has no locks.
type Class struct {
	// Pod stands for all pods of the class.
	Pod  *cluster.Pod
	view *cluster.View

	// err, all and only are what filters found without looking at a node.
	err   error
	all   *filter.Verdict
	only  map[string]bool
	notIn *filter.Verdict

	nodeChecks  []nodeCheck
	placeChecks []placeCheck
	absolute    []absoluteScore
	relative    []relativeScore
	placed      []placeScore

	spots cluster.Spots
	slots []slot
	groups
	// clock stamps slots when they change, for fairness among equals.
	clock int64
	field fieldOfGroups
}

type nodeCheck struct {
	name  string
	check filter.NodeCheck
}

type placeCheck struct {
	name  string
	check filter.TopologyCheck
}

type absoluteScore struct {
	score.Scorer
	node score.NodeScore
}

type relativeScore struct {
	score.Scorer
	node score.RelativeScore
}

type placeScore struct {
	score.Scorer
	place score.TopologyScore
}

// slot is what is known of one node.
type slot struct {
	// verdict is that of the first filter that rejects the node by itself.
	verdict *filter.Verdict
	// static is the sum of the weighted absolute scores.
	static int64
	// stamp grows with every change of the slot.
	stamp int64
	// group and position say where the slot waits to be chosen; group is none
	// for rejected nodes.
	group, position int32
}

// New evaluates every node for a pod.
func New(p *cluster.Pod, v *cluster.View) *Class {
	c := &Class{Pod: p, view: v, groups: newGroups()}
	c.prepareFilters()
	if c.err != nil || c.all != nil {
		return c
	}
	c.prepareScorers()
	if c.err != nil {
		return c
	}
	c.build()
	return c
}

func (c *Class) prepareFilters() {
	var limited []string
	for _, f := range filter.All() {
		ready := f.Prepare(c.Pod, c.view)
		switch {
		case ready.Err != nil:
			c.err = ready.Err
			return
		case ready.All != nil:
			c.all = ready.All
			return
		}
		if ready.Only != nil {
			limited = append(limited, f.Name())
			c.only = ready.Only
		}
		if ready.Node != nil {
			c.nodeChecks = append(c.nodeChecks, nodeCheck{f.Name(), ready.Node})
		}
		if ready.Topology != nil {
			ready.Topology.Register(&c.spots)
			c.placeChecks = append(c.placeChecks, placeCheck{f.Name(), ready.Topology})
		}
	}
	if c.only != nil {
		c.notIn = &filter.Verdict{
			Filter: limited[0], Unresolvable: true,
			Reasons: []string{"node(s) didn't satisfy plugin(s) [" + limited[0] + "]"},
		}
	}
}

func (c *Class) prepareScorers() {
	for _, s := range score.All() {
		ready := s.Prepare(c.Pod, c.view)
		if ready.Err != nil {
			c.err = ready.Err
			return
		}
		if ready.Absolute != nil {
			c.absolute = append(c.absolute, absoluteScore{s, ready.Absolute})
		}
		if ready.Relative != nil {
			c.relative = append(c.relative, relativeScore{s, ready.Relative})
		}
		if ready.Topology != nil {
			ready.Topology.Register(&c.spots)
			c.placed = append(c.placed, placeScore{s, ready.Topology})
		}
	}
}

func (c *Class) build() {
	c.slots = make([]slot, len(c.view.Nodes))
	c.resize(c.spots.Width() + len(c.relative))
	for i, n := range c.view.Nodes {
		c.slots[i] = slot{group: none}
		c.evaluate(i, n)
		// Among equals, nodes with fewer pods come first, and those that have
		// changed since come last.
		c.slots[i].stamp = int64(len(n.Pods)) - math.MaxInt32
		if c.slots[i].verdict == nil {
			c.join(i, c.keyOf(i, n))
		}
	}
	c.heapify(c.slots)
}

// evaluate computes what depends on the node alone.
func (c *Class) evaluate(i int, n *cluster.Node) {
	s := &c.slots[i]
	s.stamp = c.clock
	s.verdict = c.judge(n)
	if s.verdict != nil {
		return
	}
	s.static = 0
	for _, a := range c.absolute {
		s.static += a.Weight() * a.node.Node(n)
	}
}

// judge returns the verdict of the first filter that rejects a node by itself.
func (c *Class) judge(n *cluster.Node) *filter.Verdict {
	if c.only != nil && !c.only[n.Name()] {
		return c.notIn
	}
	for i := range c.nodeChecks {
		if v := c.nodeChecks[i].check.Node(n); v != nil {
			return v
		}
	}
	return nil
}

// place returns the verdict of the first filter that rejects a spot.
func (c *Class) place(s cluster.Spot) *filter.Verdict {
	for i := range c.placeChecks {
		if v := c.placeChecks[i].check.Place(s); v != nil {
			return v
		}
	}
	return nil
}

// keyOf describes a node by what it shares with others of its group: its spot
// and its relative values.
func (c *Class) keyOf(i int, n *cluster.Node) []int64 {
	values := c.scratch
	c.spots.At(i, values)
	for k := range c.relative {
		values[c.spots.Width()+k] = c.relative[k].node.Node(n)
	}
	return values
}

// Apply repairs the class after changes of the cluster. False means that it
// must be made anew.
func (c *Class) Apply(changes []cluster.Change) bool {
	if c.slots == nil {
		// Nothing was evaluated: the pod is rejected everywhere, or wrong.
		return true
	}
	for _, change := range changes {
		if change.Pod == nil {
			continue
		}
		for i := range c.placeChecks {
			if !c.placeChecks[i].check.Account(change.Slot, change.Pod, change.Delta) {
				return false
			}
		}
		for i := range c.placed {
			if !c.placed[i].place.Account(change.Slot, change.Pod, change.Delta) {
				return false
			}
		}
	}
	c.clock++
	for _, change := range changes {
		c.repair(change.Slot)
	}
	return true
}

// repair evaluates a node that changed, once for all its changes.
func (c *Class) repair(i int) {
	s := &c.slots[i]
	if s.stamp == c.clock {
		return
	}
	n := c.view.Nodes[i]
	if s.group != none {
		c.leave(c.slots, i)
	}
	c.evaluate(i, n)
	if s.verdict == nil {
		c.enter(c.slots, i, c.keyOf(i, n))
	}
}
