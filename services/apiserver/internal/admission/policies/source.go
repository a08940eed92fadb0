// Package policies enforces admission policies: CEL expressions that judge or
// change what is written, where bindings say so.
package policies

import (
	"cmp"
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission/request"
	"coracle.local/services/apiserver/internal/auth"
)

// policy is what both kinds of policies have, and what was compiled of them: E.
type policy[E any] struct {
	name       string
	ignore     bool // failures
	paramKind  *admissionv1.ParamKind
	rules      *request.Rules // nil without constraints, which validation asks for
	evaluators func() E       // compiles when first asked
}

// binding is what both kinds of bindings have.
type binding struct {
	name, policy string
	param        *admissionv1.ParamRef
	rules        *request.Rules // nil for all that the policy is about
	actions      []admissionv1.ValidationAction
}

// hook is a policy that is bound. It is immutable.
type hook[E any] struct {
	*policy[E]
	bindings []*binding
}

// source is all policies of one kind with their bindings. It implements
// auth.Observer, and costs who asks nothing but a load while no policy is bound.
type source[P, B kinds.Object, E any] struct {
	ofPolicy  func(P) *policy[E]
	ofBinding func(B) *binding

	mu       sync.Mutex // of changes
	policies map[string]*policy[E]
	bindings map[string]*binding
	bound    atomic.Pointer[[]hook[E]]
}

func newSource[P, B kinds.Object, E any](ofPolicy func(P) *policy[E], ofBinding func(B) *binding) *source[P, B, E] {
	return &source[P, B, E]{
		ofPolicy: ofPolicy, ofBinding: ofBinding,
		policies: map[string]*policy[E]{}, bindings: map[string]*binding{},
	}
}

// Watches implements auth.Observer.
func (s *source[P, B, E]) Watches() []*kinds.Kind {
	return []*kinds.Kind{kinds.For[P](), kinds.For[B]()}
}

// Observe implements auth.Observer.
func (s *source[P, B, E]) Observe(c auth.Change) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case c.Object != nil:
		switch o := any(c.Object()).(type) {
		case P:
			s.policies[c.Name] = s.ofPolicy(o)
		case B:
			s.bindings[c.Name] = s.ofBinding(o)
		}
	case c.Kind == kinds.For[P]():
		delete(s.policies, c.Name)
	default:
		delete(s.bindings, c.Name)
	}
	s.join()
}

// join puts policies and bindings together, both in the order of their names.
func (s *source[P, B, E]) join() {
	of := map[string][]*binding{}
	for _, name := range slices.Sorted(maps.Keys(s.bindings)) {
		b := s.bindings[name]
		of[b.policy] = append(of[b.policy], b)
	}
	var bound []hook[E]
	for name, p := range s.policies {
		if len(of[name]) > 0 {
			bound = append(bound, hook[E]{p, of[name]})
		}
	}
	if len(bound) == 0 {
		s.bound.Store(nil)
		return
	}
	slices.SortFunc(bound, func(a, b hook[E]) int { return cmp.Compare(a.name, b.name) })
	s.bound.Store(&bound)
}

func (s *source[P, B, E]) now() []hook[E] {
	if p := s.bound.Load(); p != nil {
		return *p
	}
	return nil
}

func rulesOf(m *admissionv1.MatchResources) *request.Rules {
	if m == nil {
		return nil
	}
	return &request.Rules{
		Include: m.ResourceRules, Exclude: m.ExcludeResourceRules, All: len(m.ResourceRules) == 0,
		Equivalent: m.MatchPolicy != nil && *m.MatchPolicy == admissionv1.Equivalent,
		Namespaces: request.ParseSelector(m.NamespaceSelector), Labels: request.ParseSelector(m.ObjectSelector),
	}
}

func ignores(p *admissionv1.FailurePolicyType) bool { return p != nil && *p == admissionv1.Ignore }
