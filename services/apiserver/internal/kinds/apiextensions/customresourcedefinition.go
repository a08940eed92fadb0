// Package apiextensions holds the behaviour of the kinds of the
// apiextensions.k8s.io API group.
package apiextensions

import (
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/strategy"
)

const webhookPort = 443

type definition = *apiextensionsv1.CustomResourceDefinition

// CustomResourceDefinition is the behaviour of apiextensions.k8s.io/v1
// CustomResourceDefinition. It keeps nothing of the schemas that it judges:
// whoever serves the custom resources compiles them.
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
		ValidateCreate: validateCreate,
		ValidateUpdate: validateUpdate,
		NameRule:       func(string, bool) []string { return nil }, // the spec tells the name
		Warnings:       warnings,
		Status: &strategy.Sub[definition]{
			// Upstream means to keep the metadata here, and does not.
			PrepareUpdate:  func(d, old definition) { d.Spec = old.Spec },
			ValidateUpdate: validateStatus,
		},
		ResetFields: map[string][]string{"": {"status"}, "status": {"spec"}},
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
