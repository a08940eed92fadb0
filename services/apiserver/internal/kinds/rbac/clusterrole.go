package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

// ClusterRole is the behaviour of rbac.authorization.k8s.io/v1 ClusterRole.
func ClusterRole() strategy.Kind[*rbacv1.ClusterRole] {
	return strategy.Kind[*rbacv1.ClusterRole]{
		ValidateCreate: func(r *rbacv1.ClusterRole) field.ErrorList { return validateClusterRole(r, false) },
		ValidateUpdate: func(r, old *rbacv1.ClusterRole) field.ErrorList {
			return validateClusterRole(r, hasInvalidValue(old.AggregationRule))
		},
		NameRule:                 nameRule,
		AllowCreateOnUpdate:      true,
		AllowUnconditionalUpdate: true,
		Columns:                  strategy.DefaultColumns(),
		Cells:                    func(r *rbacv1.ClusterRole) []any { return strategy.DefaultCells(r) },
	}
}

func hasInvalidValue(rule *rbacv1.AggregationRule) bool {
	if rule == nil {
		return false
	}
	for i := range rule.ClusterRoleSelectors {
		if metavalidation.LabelSelectorHasInvalidLabelValue(&rule.ClusterRoleSelectors[i]) {
			return true
		}
	}
	return false
}

func validateClusterRole(r *rbacv1.ClusterRole, lenient bool) field.ErrorList {
	errs := validateRules(r.Rules, false)
	if r.AggregationRule != nil {
		p, selectors := field.NewPath("aggregationRule", "clusterRoleSelectors"), r.AggregationRule.ClusterRoleSelectors
		if len(selectors) == 0 {
			errs = append(errs, field.Required(p, "at least one clusterRoleSelector required if aggregationRule is non-nil"))
		}
		for i := range selectors {
			errs = append(errs, check.Selector(p.Index(i), &selectors[i], lenient)...)
			if _, err := metav1.LabelSelectorAsSelector(&selectors[i]); err != nil {
				errs = append(errs, field.Invalid(p.Index(i), nil, "invalid label selector."))
			}
		}
	}
	return append(errs, validateVerbs(r.Rules)...)
}
