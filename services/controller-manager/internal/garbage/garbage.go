// Package garbage deletes what has lost its owners, in the background or
// before them, and lets go what is to outlive them.
package garbage

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/lru"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
)

// Ref names an object of any kind.
type Ref struct {
	Kind            *kinds.Kind
	Namespace, Name string
}

func (r Ref) String() string {
	return r.Kind.Plural + " " + loop.Key{Namespace: r.Namespace, Name: r.Name}.String()
}

// byOwner is the index of objects by the UIDs of all their owners.
const byOwner = "owner"

func ownerIndex(v any) ([]string, error) {
	o, ok := v.(metav1.Object)
	if !ok {
		return nil, nil
	}
	var out []string
	for _, r := range o.GetOwnerReferences() {
		out = append(out, string(r.UID))
	}
	return out, nil
}

// collector reads who owns whom from caches of the metadata of every kind.
// There is no graph beside them that could differ.
type collector struct {
	kinds  []*kinds.Kind
	caches map[*kinds.Kind]cluster.Cache
	named  map[schema.GroupKind]*kinds.Kind
	// beyond is what comes and goes and is in none of the above.
	beyond cluster.Extensions
	// gone remembers UIDs that were seen to be deleted, as a UID never returns:
	// the thousand dependents of one owner need not ask for it one by one.
	gone *lru.Cache
}

// remember bounds the UIDs that are remembered.
const remember = 4096

// New is garbage-collector-controller.
func New(d loop.Deps, workers int) loop.Loop {
	c := &collector{caches: map[*kinds.Kind]cluster.Cache{}, named: map[schema.GroupKind]*kinds.Kind{}, beyond: d.API.Extensions(), gone: lru.New(remember)}
	c.beyond.Index(byOwner, ownerIndex)
	for _, k := range kinds.All() {
		if k.Stored() && k.StoredAs == nil && k.Has("watch") && k.Has("delete") && k != kinds.For[*corev1.Event]() {
			c.kinds = append(c.kinds, k)
			c.caches[k] = d.API.Metadata(k)
			c.caches[k].Index(byOwner, ownerIndex)
			c.named[k.GroupVersionKind().GroupKind()] = k
		}
	}
	spec := loop.Spec[Ref, state]{
		Name: "garbage-collector-controller", Workers: workers, Reads: c.beyond.Reads(),
		Observe: c.observe, Compute: compute, Listen: c.listen,
	}
	for _, k := range c.kinds {
		spec.Sources = append(spec.Sources, loop.Source[Ref]{Cache: c.caches[k], Keys: func(before, after kinds.Object) []Ref {
			return c.keys(k, before, after)
		}})
	}
	return loop.New(d, spec)
}

// item is an object as its metadata shows it.
type item struct {
	Ref
	metav1.Object
}

func (i item) String() string { return i.Ref.String() }

// deletingDependents tells whether an object waits for its dependents to go.
func deletingDependents(o metav1.Object) bool {
	return o.GetDeletionTimestamp() != nil && slices.Contains(o.GetFinalizers(), metav1.FinalizerDeleteDependents)
}

func orphaningDependents(o metav1.Object) bool {
	return o.GetDeletionTimestamp() != nil && slices.Contains(o.GetFinalizers(), metav1.FinalizerOrphanDependents)
}

func (c *collector) find(r Ref) (metav1.Object, bool) {
	in := c.caches[r.Kind]
	if in == nil {
		in = c.extension(func(k *kinds.Kind) bool { return k == r.Kind })
	}
	if in == nil {
		return nil, false
	}
	return cluster.Get[metav1.Object](in, r.Namespace, r.Name)
}

// owner is where an owner reference of an object in a namespace points.
func (c *collector) owner(namespace string, r metav1.OwnerReference) (Ref, bool) {
	gv, err := schema.ParseGroupVersion(r.APIVersion)
	if err != nil {
		return Ref{}, false
	}
	gk := gv.WithKind(r.Kind).GroupKind()
	k := c.named[gk]
	if k == nil {
		in := c.extension(func(k *kinds.Kind) bool { return k.GroupVersionKind().GroupKind() == gk })
		if in == nil {
			return Ref{}, false
		}
		k = in.Kind()
	}
	if !k.Namespaced {
		namespace = ""
	}
	return Ref{k, namespace, r.Name}, true
}

func (c *collector) dependents(uid types.UID) []item {
	var out []item
	in := func(from cluster.Cache) {
		for _, o := range cluster.By[metav1.Object](from, byOwner, string(uid)) {
			out = append(out, item{Ref{from.Kind(), o.GetNamespace(), o.GetName()}, o})
		}
	}
	for _, k := range c.kinds {
		in(c.caches[k])
	}
	for _, from := range c.beyond.Caches() {
		in(from)
	}
	return out
}

// keys is what has to be looked at when an object changes.
func (c *collector) keys(k *kinds.Kind, before, after kinds.Object) []Ref {
	var out []Ref
	if after == nil {
		dependents := c.dependents(before.GetUID())
		for _, d := range dependents {
			out = append(out, d.Ref)
		}
		if len(dependents) > 0 {
			c.gone.Add(before.GetUID(), true)
		}
		return append(out, c.waitingOwners(before, nil)...)
	}
	self := Ref{k, after.GetNamespace(), after.GetName()}
	switch {
	case orphaningDependents(after):
		out = append(out, self)
	case deletingDependents(after):
		out = append(out, self)
		if before == nil || !deletingDependents(before) {
			for _, d := range c.dependents(after.GetUID()) {
				out = append(out, d.Ref)
			}
		}
	case after.GetDeletionTimestamp() == nil && !c.owned(after):
		out = append(out, self)
	}
	if before != nil {
		out = append(out, c.waitingOwners(before, after)...)
	}
	return out
}

// owned tells whether nothing is to be done about an object's owners: it has
// none, or all are there and none is going.
func (c *collector) owned(o metav1.Object) bool {
	for _, r := range o.GetOwnerReferences() {
		ref, ok := c.owner(o.GetNamespace(), r)
		if !ok {
			continue
		}
		owner, ok := c.find(ref)
		if !ok || owner.GetUID() != r.UID || deletingDependents(owner) {
			return false
		}
	}
	return true
}

// waitingOwners is the owners that may wait for an object no longer, now that
// it is gone or its references changed.
func (c *collector) waitingOwners(before, after metav1.Object) []Ref {
	var out []Ref
	for _, r := range before.GetOwnerReferences() {
		if after != nil && slices.ContainsFunc(after.GetOwnerReferences(), func(a metav1.OwnerReference) bool {
			return a.UID == r.UID && blocks(a) == blocks(r)
		}) {
			continue
		}
		if ref, ok := c.owner(before.GetNamespace(), r); ok {
			if owner, ok := c.find(ref); ok && owner.GetUID() == r.UID && deletingDependents(owner) {
				out = append(out, ref)
			}
		}
	}
	return out
}

func blocks(r metav1.OwnerReference) bool {
	return r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion
}

func (c *collector) observe(r Ref, _ time.Time) (state, bool) {
	o, ok := c.find(r)
	if !ok {
		return state{}, false
	}
	s := state{Item: item{r, o}, Unsettled: !c.beyond.Settled()}
	waiting := false
	for _, reference := range o.GetOwnerReferences() {
		x := s.classify(c, reference)
		waiting = waiting || x.Is == waits
		s.Owners = append(s.Owners, x)
	}
	if waiting || orphaningDependents(o) || deletingDependents(o) {
		s.Dependents = c.dependents(o.GetUID())
	}
	return s, true
}

func (s state) classify(c *collector, r metav1.OwnerReference) owner {
	x := owner{Reference: r, Is: strange}
	ref, ok := c.owner(s.Item.Namespace, r)
	if !ok {
		return x
	}
	x.Ref = ref
	o, found := c.find(ref)
	switch _, gone := c.gone.Get(r.UID); {
	case ref.Kind.Namespaced && s.Item.Namespace == "":
		x.Is = misplaced
	case found && o.GetUID() == r.UID && deletingDependents(o):
		x.Is = waits
	case found && o.GetUID() == r.UID:
		x.Is = solid
	case gone:
		x.Is = absent
	default:
		x.Is = unknown
	}
	return x
}
