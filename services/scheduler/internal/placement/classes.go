package placement

import (
	"container/list"

	"coracle.local/services/scheduler/internal/cluster"
)

// maxClasses bounds the memory of classes. Templates that come round less often
// are evaluated anew.
const maxClasses = 256

// Classes keeps the classes of pods seen lately, and repairs them.
type Classes struct {
	state *cluster.State
	bySig map[string]*list.Element
	// recent has the class used last in front.
	recent *list.List
	keys   uint64

	// Built, Repaired and Reused count how classes were come by.
	Built, Repaired, Reused uint64
}

type entry struct {
	signature string
	class     *Class
	epoch     uint64
	sequence  uint64
}

// NewClasses keeps classes for one state.
func NewClasses(s *cluster.State) *Classes {
	return &Classes{state: s, bySig: map[string]*list.Element{}, recent: list.New()}
}

// Of returns the pod's class, as of now.
func (cs *Classes) Of(p *cluster.Pod) *Class {
	if v := cs.state.KeysVersion(); v != cs.keys {
		// Labels count that did not before: equal signatures may differ now.
		cs.Clear()
		cs.keys = v
	}
	signature, shared := Signature(p, cs.state)
	if !shared {
		cs.Built++
		return New(p, &cs.state.View)
	}
	if element, ok := cs.bySig[signature]; ok {
		cs.recent.MoveToFront(element)
		e := element.Value.(*entry)
		if !cs.refresh(e) {
			cs.rebuild(e, p)
		}
		return e.class
	}
	e := &entry{signature: signature}
	cs.rebuild(e, p)
	cs.bySig[signature] = cs.recent.PushFront(e)
	if cs.recent.Len() > maxClasses {
		cs.drop(cs.recent.Back())
	}
	return e.class
}

// refresh brings a class up to date; false if it must be made anew.
func (cs *Classes) refresh(e *entry) bool {
	if e.epoch != cs.state.Epoch {
		return false
	}
	changes, known := cs.state.Since(e.sequence)
	switch {
	case !known:
		return false
	case len(changes) == 0:
		cs.Reused++
		return true
	case len(changes) > 2*len(cs.state.Nodes)+64:
		// Evaluating every node is no more work.
		return false
	}
	if !e.class.Apply(changes) {
		return false
	}
	e.sequence = cs.state.Sequence()
	cs.Repaired++
	return true
}

func (cs *Classes) rebuild(e *entry, p *cluster.Pod) {
	cs.Built++
	e.class = New(p, &cs.state.View)
	e.epoch, e.sequence = cs.state.Epoch, cs.state.Sequence()
}

func (cs *Classes) drop(element *list.Element) {
	cs.recent.Remove(element)
	delete(cs.bySig, element.Value.(*entry).signature)
}

// Clear forgets all classes, for memory's sake when nothing is to be placed.
func (cs *Classes) Clear() {
	clear(cs.bySig)
	cs.recent.Init()
}

// Len is the number of classes kept.
func (cs *Classes) Len() int { return cs.recent.Len() }
