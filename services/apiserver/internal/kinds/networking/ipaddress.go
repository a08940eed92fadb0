package networking

import (
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

// IPAddress is the behaviour of networking.k8s.io/v1 IPAddress.
func IPAddress() strategy.Kind[*networkingv1.IPAddress] {
	parent := specPath.Child("parentRef")
	return strategy.Kind[*networkingv1.IPAddress]{
		ValidateCreate: func(a *networkingv1.IPAddress) field.ErrorList {
			if a.Spec.ParentRef == nil {
				return field.ErrorList{field.Required(parent, "")}
			}
			errs := validateParent(parent, a.Spec.ParentRef)
			return append(errs, check.Set(parent, "resource", a.Spec.ParentRef.Resource, "name", a.Spec.ParentRef.Name)...)
		},
		ValidateUpdate: func(a, old *networkingv1.IPAddress) field.ErrorList {
			var errs field.ErrorList
			if prefix := a.GenerateName; prefix != "" {
				errs = check.Name(field.NewPath("metadata", "generateName"), prefix, addressName)
			}
			if ref := a.Spec.ParentRef; ref != nil {
				errs = append(errs, validateParent(parent, ref)...)
				if old.Spec.ParentRef == nil || *ref != *old.Spec.ParentRef {
					errs = append(errs, check.Set(parent, "resource", ref.Resource, "name", ref.Name)...)
				}
			} else if old.Spec.ParentRef != nil {
				errs = append(errs, field.Required(parent, ""))
			}
			return append(errs, check.Fixed(parent, a.Spec.ParentRef, old.Spec.ParentRef)...)
		},
		// The name is the address.
		NameRule:                 addressName,
		GenerateName:             func(base string) string { return base },
		AllowUnconditionalUpdate: true,
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("ParentRef", networkingv1.IPAddressSpec{}.SwaggerDoc()["parentRef"]),
		),
		// Upstream has a cell more than columns.
		Cells: func(a *networkingv1.IPAddress) []any {
			return []any{a.Name, parentCell(a.Spec.ParentRef), cells.AgeOf(a)}
		},
	}
}

func addressName(name string, _ bool) []string {
	var wrong []string
	for _, err := range validation.IsValidIP(nil, name) {
		wrong = append(wrong, err.Detail)
	}
	return wrong
}

func parentCell(ref *networkingv1.ParentReference) string {
	if ref == nil {
		return "<none>"
	}
	parts := []string{strings.ToLower(schema.GroupResource{Group: ref.Group, Resource: ref.Resource}.String())}
	if ref.Namespace != "" {
		parts = append(parts, ref.Namespace)
	}
	return strings.Join(append(parts, ref.Name), "/")
}

func validateParent(p *field.Path, ref *networkingv1.ParentReference) field.ErrorList {
	var errs field.ErrorList
	if ref.Group != "" {
		errs = append(errs, check.DNSSubdomain(p.Child("group"), ref.Group)...)
	}
	for _, part := range []struct{ child, value string }{
		{"resource", ref.Resource}, {"name", ref.Name}, {"namespace", ref.Namespace},
	} {
		if part.value != "" {
			errs = append(errs, check.All(p.Child(part.child), part.value, content.IsPathSegmentName(part.value))...)
		}
	}
	return errs
}
