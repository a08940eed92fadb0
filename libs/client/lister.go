package client

import (
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/client-go/tools/cache"

	"coracle.local/libs/kinds"
)

// Lister reads an informer's objects. They are shared: copy before changing.
type Lister[T kinds.Object] struct{ indexer cache.Indexer }

// ListerFor returns the lister of an informer of T.
func ListerFor[T kinds.Object](inf cache.SharedIndexInformer) Lister[T] {
	return Lister[T]{inf.GetIndexer()}
}

// ListerOf returns the lister of an indexer that holds objects of T, for tests.
func ListerOf[T kinds.Object](x cache.Indexer) Lister[T] { return Lister[T]{x} }

// Get finds one object; namespace is empty for cluster-scoped kinds.
func (l Lister[T]) Get(namespace, name string) (T, bool) {
	key := name
	if namespace != "" {
		key = namespace + "/" + name
	}
	o, ok, err := l.indexer.GetByKey(key)
	if err != nil || !ok {
		var none T
		return none, false
	}
	return o.(T), true
}

// List returns the objects of a namespace, or of all if it is empty, that match
// the selector; a nil selector matches all.
func (l Lister[T]) List(namespace string, sel labels.Selector) []T {
	var from []any
	if namespace == "" {
		from = l.indexer.List()
	} else {
		// The index by namespace is always there, so this cannot fail.
		from, _ = l.indexer.ByIndex(cache.NamespaceIndex, namespace)
	}
	out := make([]T, 0, len(from))
	for _, o := range from {
		if t := o.(T); sel == nil || sel.Matches(labels.Set(t.GetLabels())) {
			out = append(out, t)
		}
	}
	return out
}

// ByIndex returns the objects under a value of an index; none if the informer
// has no such index.
func (l Lister[T]) ByIndex(index, value string) []T {
	from, err := l.indexer.ByIndex(index, value)
	if err != nil {
		return nil
	}
	out := make([]T, 0, len(from))
	for _, o := range from {
		out = append(out, o.(T))
	}
	return out
}
