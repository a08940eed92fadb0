package garbage

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
)

// extension is the cache of the first kind beyond the table that fits, nil if
// none does.
func (c *collector) extension(fits func(*kinds.Kind) bool) cluster.Cache {
	for _, in := range c.beyond.Caches() {
		if fits(in.Kind()) {
			return in
		}
	}
	return nil
}

// listen follows what is beyond the table. When a kind comes to be known, what
// is owned by its objects is looked at: until then it was left alone.
func (c *collector) listen(add func(Ref)) {
	c.beyond.OnChange(func(k *kinds.Kind, before, after kinds.Object) {
		for _, r := range c.keys(k, before, after) {
			add(r)
		}
	})
	c.beyond.OnKind(func(k *kinds.Kind) {
		for _, r := range c.ownedBy(k) {
			add(r)
		}
	})
}

// ownedBy is the objects with an owner of a kind about which something may be
// to be done.
func (c *collector) ownedBy(k *kinds.Kind) []Ref {
	var out []Ref
	in := func(from cluster.Cache) {
		for _, o := range cluster.List[metav1.Object](from, "") {
			for _, r := range o.GetOwnerReferences() {
				if ref, ok := c.owner(o.GetNamespace(), r); ok && ref.Kind == k && o.GetDeletionTimestamp() == nil && !c.owned(o) {
					out = append(out, Ref{from.Kind(), o.GetNamespace(), o.GetName()})
					break
				}
			}
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
