package custom

import (
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
)

// Names are the names that a definition's objects are served under.
func (d *Definition) Names() apiextensionsv1.CustomResourceDefinitionNames {
	names := d.crd.Status.AcceptedNames
	if names.Plural == "" {
		names = d.crd.Spec.Names
	}
	if names.Singular == "" {
		names.Singular = strings.ToLower(names.Kind)
	}
	if names.ListKind == "" {
		names.ListKind = names.Kind + "List"
	}
	return names
}

// row is the line that a version would have in the table of kinds.
func (d *Definition) row(v *version, storedAs *kinds.Kind) *kinds.Kind {
	names := d.Names()
	k := &kinds.Kind{
		Group: d.crd.Spec.Group, Version: v.spec.Name, Kind: names.Kind,
		Plural: names.Plural, Singular: names.Singular,
		ShortNames: names.ShortNames, Categories: names.Categories,
		ListKind: names.ListKind, Definition: d,
		Namespaced:     d.crd.Spec.Scope == apiextensionsv1.NamespaceScoped,
		Verbs:          []string{"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"},
		Prefix:         d.crd.Spec.Group + "/" + d.crd.Spec.Names.Plural,
		Subresources:   subresources(v.spec),
		StoredAs:       storedAs,
		StorageVersion: d.storage.spec.Name,
	}
	k.New = func() kinds.Object {
		o := &Object{stored: v}
		o.Reset()
		return o
	}
	listKind := schema.GroupVersionKind{Group: k.Group, Version: k.Version, Kind: names.ListKind}
	k.NewList = func() runtime.Object {
		l := &List{}
		l.SetGroupVersionKind(listKind)
		return l
	}
	return k
}

// subresources are in upstream's order, which discovery shows.
func subresources(v *apiextensionsv1.CustomResourceDefinitionVersion) []string {
	var out []string
	if v.Subresources != nil && v.Subresources.Status != nil {
		out = append(out, "status")
	}
	if v.Subresources != nil && v.Subresources.Scale != nil {
		out = append(out, "scale")
	}
	return out
}
