// Package apiextensions holds the behaviour of the kinds of the
// apiextensions.k8s.io API group.
package apiextensions

import (
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/strategy"
)

const webhookPort = 443

type definition = *apiextensionsv1.CustomResourceDefinition

// CustomResourceDefinition is the behaviour of apiextensions.k8s.io/v1
// CustomResourceDefinition. It does not look into schemas: whoever serves the
// custom resources compiles them.
func CustomResourceDefinition() strategy.Kind[definition] {
	return strategy.Kind[definition]{
		Default: defaultDefinition,
		PrepareCreate: func(d definition) {
			d.Status = apiextensionsv1.CustomResourceDefinitionStatus{}
			d.Generation = 1
			addStoredVersion(d)
		},
		PrepareUpdate: func(d, old definition) {
			d.Status = *old.Status.DeepCopy()
			strategy.Generation(d, old, !equality.Semantic.DeepEqual(d.Spec, old.Spec))
			addStoredVersion(d)
		},
		ValidateCreate: func(d definition) field.ErrorList { return validateDefinition(d, nil) },
		ValidateUpdate: validateDefinition,
		Status: &strategy.Sub[definition]{
			PrepareUpdate: func(d, old definition) {
				d.Spec, d.Labels = old.Spec, old.Labels
				d.Annotations, d.Finalizers, d.OwnerReferences = old.Annotations, old.Finalizers, old.OwnerReferences
			},
			ValidateUpdate: func(d, _ definition) field.ErrorList {
				return validateNames(field.NewPath("status", "acceptedNames"), &d.Status.AcceptedNames)
			},
		},
		ResetFields: map[string][]string{"": {"status"}, "status": {"metadata", "spec"}},
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Scope", "Cluster/Namespaced"),
			cells.Text("Versions", "Served versions"),
			strategy.DefaultColumns()[1],
			cells.Wide(cells.Text("Group", "API group")),
			cells.Wide(cells.Text("Kind", "CustomResource kind")),
			cells.Wide(cells.Text("ShortNames", "Short names")),
			cells.Wide(cells.Bool("Established", "Established status")),
		),
		Cells: func(d definition) []any {
			return []any{
				d.Name, string(d.Spec.Scope), versionsCell(d.Spec.Versions), strategy.DefaultCells(d)[1],
				d.Spec.Group, d.Spec.Names.Kind, strings.Join(d.Spec.Names.ShortNames, ","), established(d),
			}
		},
	}
}

func defaultDefinition(d definition) {
	names := &d.Spec.Names
	if names.Singular == "" {
		names.Singular = strings.ToLower(names.Kind)
	}
	if names.ListKind == "" && names.Kind != "" {
		names.ListKind = names.Kind + "List"
	}
	if d.Spec.Conversion == nil {
		d.Spec.Conversion = &apiextensionsv1.CustomResourceConversion{Strategy: apiextensionsv1.NoneConverter}
	}
	if hook := d.Spec.Conversion.Webhook; hook != nil && hook.ClientConfig != nil && hook.ClientConfig.Service != nil && hook.ClientConfig.Service.Port == nil {
		hook.ClientConfig.Service.Port = ptr.To[int32](webhookPort)
	}
	if len(d.Status.StoredVersions) == 0 {
		addStoredVersion(d)
	}
}

func versionsCell(versions []apiextensionsv1.CustomResourceDefinitionVersion) string {
	var served []string
	for i := range versions {
		switch v := &versions[i]; {
		case v.Served && v.Storage:
			served = append(served, v.Name+"(storage)")
		case v.Served:
			served = append(served, v.Name)
		}
	}
	slices.Sort(served)
	return strings.Join(served, ",")
}

func established(d definition) bool {
	return slices.ContainsFunc(d.Status.Conditions, func(c apiextensionsv1.CustomResourceDefinitionCondition) bool {
		return c.Type == apiextensionsv1.Established && c.Status == apiextensionsv1.ConditionTrue
	})
}

// addStoredVersion remembers each version that objects were ever stored in:
// it cannot be dropped before they are migrated.
func addStoredVersion(d definition) {
	for i := range d.Spec.Versions {
		v := &d.Spec.Versions[i]
		if v.Storage {
			if !slices.Contains(d.Status.StoredVersions, v.Name) {
				d.Status.StoredVersions = append(d.Status.StoredVersions, v.Name)
			}
			return
		}
	}
}
