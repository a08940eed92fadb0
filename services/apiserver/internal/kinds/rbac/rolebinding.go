package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	rbacv1beta1 "k8s.io/api/rbac/v1beta1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/strategy"
)

// RoleBinding is the behaviour of rbac.authorization.k8s.io/v1 RoleBinding.
func RoleBinding() strategy.Kind[*rbacv1.RoleBinding] {
	of := func(b *rbacv1.RoleBinding) *binding {
		return &binding{role: b.RoleRef, subjects: b.Subjects, namespaced: true}
	}
	return strategy.Kind[*rbacv1.RoleBinding]{
		Default:                  func(b *rbacv1.RoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
		ValidateCreate:           func(b *rbacv1.RoleBinding) field.ErrorList { return of(b).validate(nil) },
		ValidateUpdate:           func(b, old *rbacv1.RoleBinding) field.ErrorList { return of(b).validate(&old.RoleRef) },
		NameRule:                 nameRule,
		AllowCreateOnUpdate:      true,
		AllowUnconditionalUpdate: true,
		Columns: cells.Columns(
			cells.Name(),
			// Upstream's description is still that of the beta version.
			cells.Text("Role", rbacv1beta1.RoleBinding{}.SwaggerDoc()["roleRef"]),
			cells.Age(),
			cells.Wide(cells.Text("Users", "Users in the roleBinding")),
			cells.Wide(cells.Text("Groups", "Groups in the roleBinding")),
			cells.Wide(cells.Text("ServiceAccounts", "ServiceAccounts in the roleBinding")),
		),
		Cells: func(b *rbacv1.RoleBinding) []any {
			role, users, groups, accounts := of(b).cells()
			return []any{b.Name, role, cells.AgeOf(b), users, groups, accounts}
		},
	}
}
