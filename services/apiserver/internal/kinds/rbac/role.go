package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/strategy"
)

// Role is the behaviour of rbac.authorization.k8s.io/v1 Role.
func Role() strategy.Kind[*rbacv1.Role] {
	validate := func(r *rbacv1.Role) field.ErrorList {
		return append(validateRules(r.Rules, true), validateVerbs(r.Rules)...)
	}
	return strategy.Kind[*rbacv1.Role]{
		ValidateCreate:           validate,
		ValidateUpdate:           func(r, _ *rbacv1.Role) field.ErrorList { return validate(r) },
		NameRule:                 nameRule,
		AllowCreateOnUpdate:      true,
		AllowUnconditionalUpdate: true,
		Columns:                  strategy.DefaultColumns(),
		Cells:                    func(r *rbacv1.Role) []any { return strategy.DefaultCells(r) },
	}
}
