package cache

import (
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"

	"coracle.local/libs/kinds"
)

// Selector chooses items of one kind. Zero values choose all.
type Selector struct {
	Namespace string
	Labels    labels.Selector
	Fields    fields.Selector

	key string // the one object that can be meant, whatever else is asked
}

// Matches tells whether the item is chosen.
func (s Selector) Matches(i *Item) bool {
	if s.Namespace != "" && s.Namespace != i.Namespace {
		return false
	}
	if s.Labels != nil && !s.Labels.Empty() && !s.Labels.Matches(i.Labels()) {
		return false
	}
	return s.Fields == nil || s.Fields.Empty() || s.Fields.Matches(i.Fields())
}

// Chooses is Matches for items that may fail to decode.
func (s Selector) Chooses(i *Item) (bool, error) {
	if s.looks() {
		if err := i.Prepare(); err != nil {
			return false, err
		}
	}
	return s.Matches(i), nil
}

// looks tells whether the selector looks at more than the namespace.
func (s Selector) looks() bool {
	return (s.Labels != nil && !s.Labels.Empty()) || (s.Fields != nil && !s.Fields.Empty())
}

// before is what chooses stored items of which some may be chosen by s once
// they are shown as another kind, if they are.
func (s Selector) before(k *kinds.Kind, shown bool) Selector {
	if !shown {
		return s
	}
	out := Selector{Namespace: s.Namespace}
	if name, ok := s.exact("metadata.name"); ok && (s.Namespace != "" || !k.Namespaced) {
		out.key = Key(s.Namespace, name)
	}
	return out
}

// everything tells whether the selector chooses all of the collection.
func (s Selector) everything() bool {
	return s.Namespace == "" && !s.looks()
}

// exact returns the one value that a field must have, if the selector asks so.
func (s Selector) exact(field string) (string, bool) {
	if s.Fields == nil {
		return "", false
	}
	return s.Fields.RequiresExactMatch(field)
}
