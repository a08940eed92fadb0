package rest

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/strategy"
)

// scaleManaged is who has set the replicas of an object, as its scale tells it.
func scaleManaged(s *strategy.Scale[kinds.Object], o kinds.Object, k *kinds.Kind) ([]metav1.ManagedFieldsEntry, error) {
	parts := make([]any, 0, 2)
	for _, p := range s.Path {
		parts = append(parts, p)
	}
	if len(parts) == 0 {
		parts = append(parts, "spec", "replicas")
	}
	path, err := fieldpath.MakePath(parts...)
	if err != nil {
		return nil, err
	}
	gv := k.GroupVersion()
	return managedfields.NewScaleHandler(o.GetManagedFields(), gv, managedfields.ResourcePathMappings{gv.String(): path}).ToSubresource()
}

// untimed takes away when replicas were set through a scale: upstream loses it
// between the scale and the object. The entries are put into order again.
func untimed(o metav1.Object) {
	entries := o.GetManagedFields()
	for i := range entries {
		if entries[i].Subresource == "scale" {
			entries[i].Time = nil
		}
	}
	seconds := func(t *metav1.Time) int64 {
		if t == nil {
			return 0
		}
		return t.Unix()
	}
	slices.SortStableFunc(entries, func(a, b metav1.ManagedFieldsEntry) int {
		return cmp.Or(
			cmp.Compare(a.Operation, b.Operation), cmp.Compare(seconds(a.Time), seconds(b.Time)), cmp.Compare(a.Manager, b.Manager),
			cmp.Compare(a.APIVersion, b.APIVersion), cmp.Compare(a.Subresource, b.Subresource),
		)
	})
	o.SetManagedFields(entries)
}
