package placement

import (
	"slices"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/filter"
)

type verdict = filter.Verdict

// Trial asks what if pods came to a node or left it. Undo must follow before
// the class is used otherwise.
type Trial struct {
	class *Class
	slot  int
	node  *cluster.Node
	done  []cluster.Change
	// strange says that a pod came for which the class was not prepared.
	strange bool
}

// Try begins a trial with the node as it is.
func (c *Class) Try(slot int) *Trial {
	return &Trial{class: c, slot: slot, node: c.view.Nodes[slot]}
}

// Add supposes that a pod is on the node too.
func (t *Trial) Add(p *cluster.Pod) {
	t.node = t.node.With(p)
	t.account(cluster.Change{Slot: t.slot, Pod: p, Delta: 1})
}

// Remove supposes that a pod has left the node.
func (t *Trial) Remove(p *cluster.Pod) {
	t.node = t.node.Without(p)
	t.account(cluster.Change{Slot: t.slot, Pod: p, Delta: -1})
}

func (t *Trial) account(change cluster.Change) {
	t.done = append(t.done, change)
	t.apply(change)
}

func (t *Trial) apply(change cluster.Change) {
	for i := range t.class.placeChecks {
		if !t.class.placeChecks[i].check.Account(change.Slot, change.Pod, change.Delta) {
			t.strange = true
		}
	}
}

// Verdict judges the node as supposed; nil means that the pod fits.
func (t *Trial) Verdict() *filter.Verdict {
	c := t.class
	if t.strange {
		return t.anew()
	}
	if v := c.judge(t.node); v != nil {
		return v
	}
	return c.place(c.spotOf(t.slot))
}

// anew judges with a class of its own, for pods whose affinity terms bring in
// a topology key that nobody has asked about before.
func (t *Trial) anew() *filter.Verdict {
	v := *t.class.view
	v.Nodes = slices.Clone(v.Nodes)
	v.Nodes[t.slot] = t.node
	c := New(t.class.Pod, &v)
	if c.all != nil || c.slots == nil {
		return c.all
	}
	c.gather()
	return c.verdictOf(t.slot)
}

// Undo takes everything back.
func (t *Trial) Undo() {
	for _, change := range slices.Backward(t.done) {
		change.Delta = -change.Delta
		t.apply(change)
	}
	t.done, t.strange = nil, false
	t.node = t.class.view.Nodes[t.slot]
}
