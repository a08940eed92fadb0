// Package owner is the one shape of controllers that own other objects: which
// changes wake them, what they see, and what they adopt and release.
package owner

import (
	"encoding/json"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/plan"
)

// Of is a kind of controller C and the kind T it owns.
type Of[C, T kinds.Object] struct {
	Controllers, Children cluster.Cache
	// Match returns what a controller may adopt, and keeps. It is nil for
	// kinds that adopt nothing.
	Match func(C) func(T) bool
}

// New asks an API for the caches. The selector may be nil.
func New[C, T kinds.Object](api cluster.API, selector func(C) labels.Selector) Of[C, T] {
	o := Of[C, T]{Controllers: cluster.Of[C](api), Children: cluster.Of[T](api)}
	if selector != nil {
		o.Match = func(c C) func(T) bool {
			s := selector(c)
			return func(t T) bool { return s.Matches(labels.Set(t.GetLabels())) }
		}
	}
	o.Children.Index(cluster.ByController, cluster.ControllerIndex)
	return o
}

// Family is a controller and its children as the caches show them.
type Family[C, T kinds.Object] struct {
	Self C
	// Owned is what has Self as its controller.
	Owned []T
	// Orphans is what Self would adopt.
	Orphans []T
	// Match says what Self should own; nil is whatever it owns.
	Match func(T) bool
}

// Observe reads a family; false if there is no such controller.
func (o Of[C, T]) Observe(k loop.Key) (Family[C, T], bool) {
	self, ok := cluster.Get[C](o.Controllers, k.Namespace, k.Name)
	if !ok {
		return Family[C, T]{}, false
	}
	f := Family[C, T]{Self: self, Owned: cluster.By[T](o.Children, cluster.ByController, string(self.GetUID()))}
	if o.Match == nil {
		return f, true
	}
	f.Match = o.Match(self)
	if self.GetDeletionTimestamp() == nil {
		f.Orphans = cluster.By(o.Children, cluster.ByController, cluster.Orphans(k.Namespace), func(t T) bool {
			return t.GetDeletionTimestamp() == nil && f.Match(t)
		})
	}
	return f, true
}

// Sources wakes a controller when it or a child of its changes.
func (o Of[C, T]) Sources() []loop.Source[loop.Key] {
	return []loop.Source[loop.Key]{
		{Cache: o.Controllers, Keys: Self},
		{Cache: o.Children, Keys: o.Parents},
	}
}

// Self is the keys of changes of what is itself reconciled.
func Self(before, after kinds.Object) []loop.Key {
	o := after
	if o == nil {
		o = before
	}
	return []loop.Key{{Namespace: o.GetNamespace(), Name: o.GetName()}}
}

// Parents is the controllers that a change of a child concerns: its owner, the
// one it had before, and for an orphan all that would adopt it.
func (o Of[C, T]) Parents(before, after kinds.Object) []loop.Key {
	var out []loop.Key
	old, had := o.parent(before)
	if now, has := o.parent(after); has {
		out = append(out, now)
		had = had && old != now
	}
	if had {
		out = append(out, old)
	}
	child, ok := after.(T)
	if o.Match == nil || !ok || metav1.GetControllerOfNoCopy(child) != nil {
		return out
	}
	for _, c := range cluster.List[C](o.Controllers, child.GetNamespace()) {
		if o.Match(c)(child) {
			out = append(out, loop.Key{Namespace: c.GetNamespace(), Name: c.GetName()})
		}
	}
	return out
}

func (o Of[C, T]) parent(child kinds.Object) (loop.Key, bool) {
	if child == nil {
		return loop.Key{}, false
	}
	r := metav1.GetControllerOfNoCopy(child)
	k := o.Controllers.Kind()
	if r == nil || r.Kind != k.Kind {
		return loop.Key{}, false
	}
	gv, err := schema.ParseGroupVersion(r.APIVersion)
	if err != nil || gv.Group != k.Group {
		return loop.Key{}, false
	}
	return loop.Key{Namespace: child.GetNamespace(), Name: r.Name}, true
}

// Claim is what must change for the owner references to say what Match says:
// orphans adopted, children that no longer match released. While anything must,
// the rest should wait: the caches will show it done. finalizers are set and
// taken together with the ownership.
func (f Family[C, T]) Claim(finalizers ...string) []plan.Action {
	if f.Self.GetDeletionTimestamp() != nil || f.Match == nil {
		return nil
	}
	var out []plan.Action
	k := kinds.ForObject(f.Self)
	for _, t := range f.Orphans {
		if len(out) == 0 {
			out = append(out, plan.Confirm{Kind: k, Namespace: f.Self.GetNamespace(), Name: f.Self.GetName(), UID: f.Self.GetUID()})
		}
		ref := *metav1.NewControllerRef(f.Self, k.GroupVersionKind())
		out = append(out, patch(t, meta{UID: t.GetUID(), OwnerReferences: []any{ref}, Finalizers: finalizers}))
	}
	for _, t := range f.Owned {
		if !f.Match(t) {
			out = append(out, Release(t, f.Self.GetUID(), finalizers...))
		}
	}
	return out
}

// Release takes owner references off an object.
func Release(t kinds.Object, owner types.UID, finalizers ...string) plan.Action {
	return patch(t, meta{UID: t.GetUID(), OwnerReferences: []any{deleted(owner)}, DeleteFinalizers: finalizers})
}

func deleted(owner types.UID) map[string]string {
	return map[string]string{"$patch": "delete", "uid": string(owner)}
}

// meta is a strategic merge patch of metadata. The UID in it makes the API
// server refuse the patch for another object of the same name.
type meta struct {
	UID              types.UID `json:"uid"`
	OwnerReferences  []any     `json:"ownerReferences,omitempty"`
	Finalizers       []string  `json:"finalizers,omitempty"`
	DeleteFinalizers []string  `json:"$deleteFromPrimitiveList/finalizers,omitempty"`
}

func patch(t kinds.Object, m meta) plan.Action {
	data, err := json.Marshal(map[string]meta{"metadata": m})
	if err != nil {
		panic(err) // strings and booleans always marshal
	}
	return plan.Patch{
		Kind: kinds.ForObject(t), Namespace: t.GetNamespace(), Name: t.GetName(),
		Type: types.StrategicMergePatchType, Data: data, MayMiss: true,
	}
}

// RemoveFinalizer takes a finalizer off an object.
func RemoveFinalizer(t kinds.Object, finalizer string) plan.Action {
	return patch(t, meta{UID: t.GetUID(), DeleteFinalizers: []string{finalizer}})
}

// Selector is a label selector of a spec; one that is not valid, or not there,
// selects nothing.
func Selector(s *metav1.LabelSelector) labels.Selector {
	out, err := metav1.LabelSelectorAsSelector(s)
	if err != nil {
		return labels.Nothing()
	}
	return out
}
