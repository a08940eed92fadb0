package core

import (
	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

// ComponentStatus is the behaviour of core/v1 ComponentStatus, which can only
// be looked at.
func ComponentStatus() strategy.Kind[*corev1.ComponentStatus] {
	return strategy.Kind[*corev1.ComponentStatus]{
		Deprecation: "v1 ComponentStatus is deprecated in v1.19+",
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Status", "Status of the component conditions"),
			cells.Text("Message", "Message of the component conditions"),
			cells.Text("Error", "Error of the component conditions"),
		),
		Cells: func(s *corev1.ComponentStatus) []any {
			for _, c := range s.Conditions {
				if c.Type != corev1.ComponentHealthy {
					continue
				}
				status := "Unhealthy"
				if c.Status == corev1.ConditionTrue {
					status = "Healthy"
				}
				return []any{s.Name, status, c.Message, c.Error}
			}
			return []any{s.Name, "Unknown", "", ""}
		},
	}
}

// Binding is the behaviour of core/v1 Binding, which is acted upon and never
// stored.
func Binding() strategy.Kind[*corev1.Binding] {
	return strategy.Kind[*corev1.Binding]{ValidateCreate: ValidateBinding}
}

// ValidateBinding checks where a pod is to go.
func ValidateBinding(b *corev1.Binding) field.ErrorList {
	var errs field.ErrorList
	at := field.NewPath("target")
	node := b.Target.Kind == "" || b.Target.Kind == "Node"
	if !node {
		errs = append(errs, field.NotSupported(at.Child("kind"), b.Target.Kind, []string{"Node", "<empty>"}))
	}
	switch {
	case b.Target.Name == "":
		errs = append(errs, field.Required(at.Child("name"), ""))
	case node:
		errs = append(errs, check.Name(at.Child("name"), b.Target.Name, apivalidation.NameIsDNSSubdomain)...)
	}
	return errs
}
