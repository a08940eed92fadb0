package cache

import (
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
)

// Selector chooses items of one kind. Zero values choose all.
type Selector struct {
	Namespace string
	Labels    labels.Selector
	Fields    fields.Selector
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

// everything tells whether the selector chooses all of the collection.
func (s Selector) everything() bool {
	return s.Namespace == "" && (s.Labels == nil || s.Labels.Empty()) && (s.Fields == nil || s.Fields.Empty())
}

// exact returns the one value that a field must have, if the selector asks so.
func (s Selector) exact(field string) (string, bool) {
	if s.Fields == nil {
		return "", false
	}
	return s.Fields.RequiresExactMatch(field)
}
