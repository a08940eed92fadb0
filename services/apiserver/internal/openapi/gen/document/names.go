package document

import (
	"cmp"
	"slices"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"coracle.local/libs/kinds"
)

// definitionNamer knows which group version kinds a schema stands for; clients
// find a kind's schema by them.
type definitionNamer map[string][]schema.GroupVersionKind

func definitionNames() definitionNamer {
	n := definitionNamer{}
	scheme := kinds.Scheme()
	for gvk := range scheme.AllKnownTypes() {
		name, err := scheme.ToOpenAPIDefinitionName(gvk)
		if err != nil {
			// Internal types that no document shows.
			continue
		}
		n[name] = append(n[name], gvk)
	}
	for _, gvks := range n {
		slices.SortFunc(gvks, func(a, b schema.GroupVersionKind) int {
			return cmp.Or(cmp.Compare(a.Group, b.Group), cmp.Compare(a.Version, b.Version), cmp.Compare(a.Kind, b.Kind))
		})
	}
	return n
}

// only keeps, of schemas that many groups share, the core group and one other:
// a v3 document speaks of its own group version.
func (n definitionNamer) only(gv schema.GroupVersion) definitionNamer {
	out := make(definitionNamer, len(n))
	for name, gvks := range n {
		for _, g := range gvks {
			if len(gvks) == 1 || g.GroupVersion() == gv || g.Group == "" {
				out[name] = append(out[name], g)
			}
		}
	}
	return out
}

func (n definitionNamer) name(definition string) (string, spec.Extensions) {
	gvks, ok := n[definition]
	if !ok {
		return definition, nil
	}
	list := make([]any, 0, len(gvks))
	for _, g := range gvks {
		list = append(list, extension(g))
	}
	return definition, spec.Extensions{"x-kubernetes-group-version-kind": list}
}

func extension(g schema.GroupVersionKind) map[string]any {
	return map[string]any{"group": g.Group, "version": g.Version, "kind": g.Kind}
}
