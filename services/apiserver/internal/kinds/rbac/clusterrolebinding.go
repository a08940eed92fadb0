package rbac

import (
	rbacv1 "k8s.io/api/rbac/v1"
	rbacv1beta1 "k8s.io/api/rbac/v1beta1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/strategy"
)

// ClusterRoleBinding is the behaviour of rbac.authorization.k8s.io/v1
// ClusterRoleBinding.
func ClusterRoleBinding() strategy.Kind[*rbacv1.ClusterRoleBinding] {
	of := func(b *rbacv1.ClusterRoleBinding) *binding { return &binding{role: b.RoleRef, subjects: b.Subjects} }
	return strategy.Kind[*rbacv1.ClusterRoleBinding]{
		Default:                  func(b *rbacv1.ClusterRoleBinding) { defaultBinding(&b.RoleRef, b.Subjects) },
		ValidateCreate:           func(b *rbacv1.ClusterRoleBinding) field.ErrorList { return of(b).validate(nil) },
		ValidateUpdate:           func(b, old *rbacv1.ClusterRoleBinding) field.ErrorList { return of(b).validate(&old.RoleRef) },
		NameRule:                 nameRule,
		AllowCreateOnUpdate:      true,
		AllowUnconditionalUpdate: true,
		Columns: cells.Columns(
			cells.Name(),
			// Upstream's description is still that of the beta version.
			cells.Text("Role", rbacv1beta1.ClusterRoleBinding{}.SwaggerDoc()["roleRef"]),
			cells.Age(),
			cells.Wide(cells.Text("Users", "Users in the clusterRoleBinding")),
			cells.Wide(cells.Text("Groups", "Groups in the clusterRoleBinding")),
			cells.Wide(cells.Text("ServiceAccounts", "ServiceAccounts in the clusterRoleBinding")),
		),
		Cells: func(b *rbacv1.ClusterRoleBinding) []any {
			role, users, groups, accounts := of(b).cells()
			return []any{b.Name, role, cells.AgeOf(b), users, groups, accounts}
		},
	}
}
