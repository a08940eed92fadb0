package core

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

// Namespace is the behaviour of core/v1 Namespace.
func Namespace() strategy.Kind[*corev1.Namespace] {
	return strategy.Kind[*corev1.Namespace]{
		Default:       defaultNamespace,
		PrepareCreate: prepareNamespace,
		PrepareUpdate: func(n, old *corev1.Namespace) {
			n.Spec.Finalizers = old.Spec.Finalizers
			n.Status = old.Status
		},
		ValidateCreate: validateNamespace,
		ValidateUpdate: func(n, _ *corev1.Namespace) field.ErrorList { return validateNamespace(n) },
		NameRule:       apivalidation.ValidateNamespaceName,
		Status: &strategy.Sub[*corev1.Namespace]{
			PrepareUpdate:  func(n, old *corev1.Namespace) { n.Spec = old.Spec },
			ValidateUpdate: func(n, _ *corev1.Namespace) field.ErrorList { return validateNamespacePhase(n) },
		},
		Subresources: map[string]*strategy.Sub[*corev1.Namespace]{
			"finalize": {
				PrepareUpdate: func(n, old *corev1.Namespace) { n.Status = old.Status },
				ValidateUpdate: func(n, _ *corev1.Namespace) field.ErrorList {
					var errs field.ErrorList
					for i, finalizer := range n.Spec.Finalizers {
						errs = append(errs, validateFinalizer(specPath.Child("finalizers").Index(i), string(finalizer))...)
					}
					return errs
				},
			},
		},
		Fields: func(n *corev1.Namespace) fields.Set {
			return fields.Set{"status.phase": string(n.Status.Phase)}
		},
		AllowUnconditionalUpdate: true,
		ResetFields:              map[string][]string{"": {"status"}, "status": {"spec"}, "finalize": {"status"}},
		Columns:                  cells.Columns(cells.Name(), cells.Text("Status", "The status of the namespace"), cells.Age()),
		Cells: func(n *corev1.Namespace) []any {
			return []any{n.Name, string(n.Status.Phase), cells.AgeOf(n)}
		},
	}
}

func defaultNamespace(n *corev1.Namespace) {
	if n.Name != "" {
		if n.Labels == nil {
			n.Labels = map[string]string{}
		}
		n.Labels[corev1.LabelMetadataName] = n.Name
	}
	setIfEmpty(&n.Status.Phase, corev1.NamespaceActive)
}

func prepareNamespace(n *corev1.Namespace) {
	n.Status = corev1.NamespaceStatus{Phase: corev1.NamespaceActive}
	if !slices.Contains(n.Spec.Finalizers, corev1.FinalizerKubernetes) {
		n.Spec.Finalizers = append(n.Spec.Finalizers, corev1.FinalizerKubernetes)
	}
}

func validateNamespace(n *corev1.Namespace) field.ErrorList {
	var errs field.ErrorList
	for _, finalizer := range n.Spec.Finalizers {
		errs = append(errs, validateFinalizer(specPath.Child("finalizers"), string(finalizer))...)
	}
	return errs
}

func validateNamespacePhase(n *corev1.Namespace) field.ErrorList {
	at := statusPath.Child("Phase")
	switch {
	case n.DeletionTimestamp.IsZero() && n.Status.Phase != corev1.NamespaceActive:
		return field.ErrorList{field.Invalid(at, n.Status.Phase, "may only be 'Active' if `deletionTimestamp` is empty")}
	case !n.DeletionTimestamp.IsZero() && n.Status.Phase != corev1.NamespaceTerminating:
		return field.ErrorList{field.Invalid(at, n.Status.Phase, "may only be 'Terminating' if `deletionTimestamp` is not empty")}
	}
	return nil
}

func validateFinalizer(p *field.Path, name string) field.ErrorList {
	return append(apivalidation.ValidateFinalizerName(name, p), check.FinalizerQualified(p, name)...)
}
