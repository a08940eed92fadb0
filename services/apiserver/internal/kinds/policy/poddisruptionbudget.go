// Package policy holds the behaviour of the kinds of the policy API group.
package policy

import (
	policyv1 "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

var (
	specPath   = field.NewPath("spec")
	statusPath = field.NewPath("status")
)

// PodDisruptionBudget is the behaviour of policy/v1 PodDisruptionBudget.
func PodDisruptionBudget() strategy.Kind[*policyv1.PodDisruptionBudget] {
	return strategy.Kind[*policyv1.PodDisruptionBudget]{
		PrepareCreate: func(b *policyv1.PodDisruptionBudget) {
			b.Status = policyv1.PodDisruptionBudgetStatus{}
			b.Generation = 1
		},
		PrepareUpdate: func(b, old *policyv1.PodDisruptionBudget) {
			b.Status = old.Status
			strategy.Generation(b, old, !equality.Semantic.DeepEqual(b.Spec, old.Spec))
		},
		ValidateCreate: func(b *policyv1.PodDisruptionBudget) field.ErrorList { return validateBudget(&b.Spec, false) },
		ValidateUpdate: func(b, old *policyv1.PodDisruptionBudget) field.ErrorList {
			return validateBudget(&b.Spec, len(check.Selector(nil, old.Spec.Selector, false)) > 0)
		},
		NameRule: check.PathSegment,
		Status: &strategy.Sub[*policyv1.PodDisruptionBudget]{
			PrepareUpdate:  func(b, old *policyv1.PodDisruptionBudget) { b.Spec = old.Spec },
			ValidateUpdate: validateBudgetStatus,
		},
		ResetFields: map[string][]string{"": {"status"}, "status": {"spec"}},
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Min Available", "The minimum number of pods that must be available."),
			cells.Text("Max Unavailable", "The maximum number of pods that may be unavailable."),
			cells.Number("Allowed Disruptions", "Calculated number of pods that may be disrupted at this time."),
			cells.Age(),
		),
		Cells: func(b *policyv1.PodDisruptionBudget) []any {
			return []any{b.Name, amount(b.Spec.MinAvailable), amount(b.Spec.MaxUnavailable), int64(b.Status.DisruptionsAllowed), cells.AgeOf(b)}
		},
	}
}

func amount(value *intstr.IntOrString) string {
	if value == nil {
		return "N/A"
	}
	return value.String()
}

func validateBudget(spec *policyv1.PodDisruptionBudgetSpec, lenient bool) field.ErrorList {
	var errs field.ErrorList
	if spec.MinAvailable != nil && spec.MaxUnavailable != nil {
		errs = append(errs, field.Invalid(specPath, check.Internal(spec), "minAvailable and maxUnavailable cannot be both set"))
	}
	for _, bound := range []struct {
		child string
		value *intstr.IntOrString
	}{{"minAvailable", spec.MinAvailable}, {"maxUnavailable", spec.MaxUnavailable}} {
		if bound.value != nil {
			errs = append(errs, check.IntOrPercent(specPath.Child(bound.child), *bound.value)...)
			errs = append(errs, check.NotAbove100Percent(specPath.Child(bound.child), *bound.value)...)
		}
	}
	errs = append(errs, check.Selector(specPath.Child("selector"), spec.Selector, lenient)...)
	if spec.UnhealthyPodEvictionPolicy != nil {
		errs = append(errs, check.OneOf(specPath.Child("unhealthyPodEvictionPolicy"), *spec.UnhealthyPodEvictionPolicy,
			policyv1.AlwaysAllow, policyv1.IfHealthyBudget)...)
	}
	return errs
}

func validateBudgetStatus(b, _ *policyv1.PodDisruptionBudget) field.ErrorList {
	s := &b.Status
	errs := metavalidation.ValidateConditions(s.Conditions, statusPath.Child("conditions"))
	return append(errs, check.Counts(statusPath,
		check.Count{Child: "disruptionsAllowed", Value: s.DisruptionsAllowed},
		check.Count{Child: "currentHealthy", Value: s.CurrentHealthy},
		check.Count{Child: "desiredHealthy", Value: s.DesiredHealthy},
		check.Count{Child: "expectedPods", Value: s.ExpectedPods},
	)...)
}
