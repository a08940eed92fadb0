package custom

import (
	"fmt"
	"sort"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apiversion "k8s.io/apimachinery/pkg/version"

	"coracle.local/services/apiserver/internal/custom/column"
	"coracle.local/services/apiserver/internal/strategy"
)

// newStrategy is what the version has in common with every kind. Nothing of
// the schema is compiled for it.
func (v *version) newStrategy() *strategy.Erased {
	table := column.New(v.spec.AdditionalPrinterColumns)
	k := strategy.Kind[*Object]{
		Default:        func(o *Object) { v.complete(o.Object) },
		PrepareCreate:  v.prepareCreate,
		PrepareUpdate:  v.prepareUpdate,
		ValidateCreate: v.validateCreate,
		ValidateUpdate: v.validateUpdate,
		Fields:         v.fields(),
		Warnings:       warnings,
		Deprecation:    v.deprecation(),
		Columns:        table.Headers(),
		Cells:          func(o *Object) []any { return table.Cells(o.Object) },
		Scale:          v.scale(),
		Shared:         v.shared(),
	}
	if v.hasStatus() {
		k.Status = &strategy.Sub[*Object]{PrepareUpdate: v.prepareStatus, ValidateUpdate: v.validateStatus, Warnings: warned}
		k.ResetFields = map[string][]string{"": {"status"}, "status": {"metadata", "spec"}}
	}
	return k.Erase()
}

func (v *version) hasStatus() bool {
	return v.spec.Subresources != nil && v.spec.Subresources.Status != nil
}

func (v *version) prepareCreate(o *Object) {
	if v.hasStatus() {
		delete(o.Object, "status")
	}
	o.SetGeneration(1)
}

func (v *version) prepareUpdate(o, old *Object) {
	if v.hasStatus() {
		if status, ok := old.Object["status"]; ok {
			o.Object["status"] = status
		} else {
			delete(o.Object, "status")
		}
	}
	strategy.Generation(o, old, !equality.Semantic.DeepEqual(desired(o), desired(old)))
}

// desired is all of an object but its metadata and what it says it is, which
// objects on their way through the registry leave out.
func desired(o *Object) map[string]any {
	out := make(map[string]any, len(o.Object))
	for name, value := range o.Object {
		switch name {
		case "metadata", "apiVersion", "kind":
		default:
			out[name] = value
		}
	}
	return out
}

// prepareStatus lets a write through the status subresource change the status
// and who manages it.
func (v *version) prepareStatus(o, old *Object) {
	status, ok := o.Object["status"]
	managers, version := o.GetManagedFields(), o.GetResourceVersion()
	o.Object = old.DeepCopy().Object
	o.SetManagedFields(managers)
	o.SetResourceVersion(version)
	if ok {
		o.Object["status"] = status
	} else {
		delete(o.Object, "status")
	}
}

// deprecation is what clients of a deprecated version are told.
func (v *version) deprecation() string {
	switch {
	case !v.spec.Deprecated:
		return ""
	case v.spec.DeprecationWarning != nil:
		return *v.spec.DeprecationWarning
	}
	crd := v.definition.crd
	text := fmt.Sprintf("%s/%s %s is deprecated", crd.Spec.Group, v.spec.Name, crd.Spec.Names.Kind)
	if newer := newerVersion(crd, v.spec.Name); newer != "" {
		text += fmt.Sprintf("; use %s/%s %s", crd.Spec.Group, newer, crd.Spec.Names.Kind)
	}
	return text
}

// newerVersion is the newest served version after name that is not deprecated
// itself; empty if there is none.
func newerVersion(crd *apiextensionsv1.CustomResourceDefinition, name string) string {
	var newer []string
	for i := range crd.Spec.Versions {
		other := &crd.Spec.Versions[i]
		if other.Served && !other.Deprecated && apiversion.CompareKubeAwareVersionStrings(name, other.Name) < 0 {
			newer = append(newer, other.Name)
		}
	}
	if len(newer) == 0 {
		return ""
	}
	sort.Slice(newer, func(i, j int) bool { return apiversion.CompareKubeAwareVersionStrings(newer[i], newer[j]) > 0 })
	return newer[0]
}
