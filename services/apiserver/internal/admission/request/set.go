package request

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Set is what was made of some objects, in the order of their names. The zero
// value is empty; reads take no lock.
type Set[T any] struct {
	mu     sync.Mutex // of writers
	byName map[string]T
	sorted atomic.Pointer[[]T]
}

// Put sets what was made of a named object.
func (s *Set[T]) Put(name string, value T) {
	s.change(func() { s.byName[name] = value })
}

// Delete forgets a named object.
func (s *Set[T]) Delete(name string) {
	s.change(func() { delete(s.byName, name) })
}

func (s *Set[T]) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.byName == nil {
		s.byName = map[string]T{}
	}
	f()
	if len(s.byName) == 0 {
		s.sorted.Store(nil)
		return
	}
	sorted := make([]T, 0, len(s.byName))
	for _, name := range slices.Sorted(maps.Keys(s.byName)) {
		sorted = append(sorted, s.byName[name])
	}
	s.sorted.Store(&sorted)
}

// Now is the present content. It is shared: do not modify it.
func (s *Set[T]) Now() []T {
	if p := s.sorted.Load(); p != nil {
		return *p
	}
	return nil
}

// ParseSelector parses a selector; nil selects nothing.
func ParseSelector(s *metav1.LabelSelector) Selector {
	parsed, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		parsed = labels.Nothing()
	}
	return Selector{parsed, err}
}
