package cluster

import (
	"cmp"
	"slices"

	"k8s.io/client-go/tools/cache"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
)

// Of is the cache of a Go type, such as Of[*corev1.Pod](api).
func Of[T kinds.Object](a API) Cache { return a.Cache(kinds.For[T]()) }

// Get reads one object of a cache. An object of another type than asked for,
// as metadata caches hold, counts as absent.
func Get[T metav1.Object](c Cache, namespace, name string) (T, bool) {
	var none T
	v, ok, err := c.Indexer().GetByKey(cache.ObjectName{Namespace: namespace, Name: name}.String())
	if err != nil || !ok {
		return none, false
	}
	o, ok := v.(T)
	return o, ok
}

// List reads a namespace of a cache, or all of it if that is empty: what keep
// is true for, all of it without one.
func List[T metav1.Object](c Cache, namespace string, keep ...func(T) bool) []T {
	if namespace == "" {
		return pick(c.Indexer().List(), keep)
	}
	return By(c, cache.NamespaceIndex, namespace, keep...)
}

// By reads the objects an index has under a value, as List does.
func By[T metav1.Object](c Cache, index, value string, keep ...func(T) bool) []T {
	values, err := c.Indexer().ByIndex(index, value)
	if err != nil {
		// Only an index that was never added is an error: a mistake in wiring.
		panic(err)
	}
	return pick(values, keep)
}

// pick sorts what it keeps by name, so that what is computed from a cache
// does not depend on the order of maps.
func pick[T metav1.Object](values []any, keep []func(T) bool) []T {
	var out []T
next:
	for _, v := range values {
		o, ok := v.(T)
		if !ok {
			continue
		}
		for _, k := range keep {
			if !k(o) {
				continue next
			}
		}
		out = append(out, o)
	}
	slices.SortFunc(out, func(a, b T) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
	return out
}

// ByController is the name of the index that ControllerIndex fills.
const ByController = "controller"

// ControllerIndex files objects under the UID of the controller that owns
// them, and those without one under their namespace (see Orphans).
func ControllerIndex(v any) ([]string, error) {
	o, ok := v.(metav1.Object)
	if !ok {
		return nil, nil
	}
	if ref := metav1.GetControllerOfNoCopy(o); ref != nil {
		return []string{string(ref.UID)}, nil
	}
	return []string{Orphans(o.GetNamespace())}, nil
}

// Orphans is the value under which ControllerIndex files what nobody owns. No
// UID has a slash in it.
func Orphans(namespace string) string { return "orphans/" + namespace }
