package filter

import (
	"slices"

	"k8s.io/apimachinery/pkg/labels"

	"coracle.local/services/scheduler/internal/cluster"
)

// Unroll replaces the namespace selectors of terms by the namespaces that they
// select at present, so that matching a pod needs only its namespace's name.
func Unroll(terms []cluster.Term, v *cluster.View) []cluster.Term {
	out := slices.Clone(terms)
	for i := range out {
		unrollOne(&out[i], v)
	}
	return out
}

// UnrollWeighted is Unroll for preferences.
func UnrollWeighted(terms []cluster.WeightedTerm, v *cluster.View) []cluster.WeightedTerm {
	out := slices.Clone(terms)
	for i := range out {
		unrollOne(&out[i].Term, v)
	}
	return out
}

func unrollOne(t *cluster.Term, v *cluster.View) {
	if t.NamespaceSelector.Empty() {
		// It selects every namespace, those too that are not known yet.
		return
	}
	if _, selectable := t.NamespaceSelector.Requirements(); !selectable {
		return
	}
	t.Namespaces = append(slices.Clip(t.Namespaces), v.NamespacesMatching(t.NamespaceSelector)...)
	t.NamespaceSelector = labels.Nothing()
}
