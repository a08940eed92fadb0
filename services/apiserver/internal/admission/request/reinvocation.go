package request

import (
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime"
)

// Reinvocations is what one mutator keeps of a request between two rounds: who
// wants to see the object again once others have changed it.
type Reinvocations struct {
	r     *Request
	left  runtime.Object // as the mutator left it
	asked map[string]bool
	again map[string]bool
}

// Reinvocations is the state of the mutator with a name. It is the same in each
// round.
func (r *Request) Reinvocations(name string) *Reinvocations {
	s, ok := r.Reinvocation.State[name].(*Reinvocations)
	if !ok {
		s = &Reinvocations{}
		if r.Reinvocation.State == nil {
			r.Reinvocation.State = map[string]any{}
		}
		r.Reinvocation.State[name] = s
	}
	s.r = r
	if r.Reinvocation.Round > 0 && !equality.Semantic.DeepEqual(s.left, s.object()) {
		s.require() // plugins have changed it since
	}
	return s
}

func (s *Reinvocations) object() runtime.Object {
	if s.r.Object == nil {
		return nil
	}
	return s.r.Object
}

// Wants tells whether somebody is to be asked: everybody in the first round, and
// then those whose work others have touched.
func (s *Reinvocations) Wants(id string) bool { return s.r.Reinvocation.Round == 0 || s.again[id] }

// Invoked says that somebody was asked who wants to be asked again if needed.
func (s *Reinvocations) Invoked(id string) {
	if s.asked == nil {
		s.asked = map[string]bool{}
	}
	s.asked[id] = true
}

// Changed says that the object has changed: all who were asked before want to
// see it, plugins too.
func (s *Reinvocations) Changed() {
	s.require()
	s.r.Reinvocation.Again = true
}

func (s *Reinvocations) require() {
	if s.again == nil {
		s.again = map[string]bool{}
	}
	for id := range s.asked {
		s.again[id] = true
	}
	clear(s.asked)
}

// Leave remembers how the mutator left the object. It must be called at the end.
func (s *Reinvocations) Leave() {
	s.left = nil
	// Only a round that will be repeated needs to know.
	if o := s.object(); o != nil && s.r.Reinvocation.Round == 0 {
		s.left = o.DeepCopyObject()
	}
}
