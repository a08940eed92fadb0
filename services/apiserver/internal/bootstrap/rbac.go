package bootstrap

import (
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
)

const controllerPrefix = "system:controller:"

// clusterEntries are all cluster roles in order: upstream's, its controllers'
// (each bound to the account of the same name), and ours.
func clusterEntries() []*entry {
	controllers := readPolicy("controllers.policy")
	for _, e := range controllers {
		e.bound = true
		e.subjects = []rbacv1.Subject{{
			Kind: rbacv1.ServiceAccountKind, Namespace: metav1.NamespaceSystem,
			Name: strings.TrimPrefix(e.name, controllerPrefix),
		}}
	}
	return slices.Concat(readPolicy("cluster.policy"), controllers, readPolicy("coracle.policy"))
}

// rbacObjects are the roles and bindings that every cluster has: cluster
// roles, their bindings, then those of the system namespaces.
func rbacObjects() []kinds.Object {
	var roles, bindings []kinds.Object
	entries := clusterEntries()
	aggregate(entries)
	for _, e := range entries {
		if e.isRole {
			roles = append(roles, e.clusterRole())
		}
		if e.bound {
			bindings = append(bindings, e.clusterRoleBinding())
		}
	}
	var local, localBindings []kinds.Object
	for _, e := range readPolicy("namespaces.policy") {
		if e.isRole {
			local = append(local, &rbacv1.Role{ObjectMeta: e.roleMeta(), Rules: e.rules})
		}
		if e.bound {
			localBindings = append(localBindings, &rbacv1.RoleBinding{
				ObjectMeta: e.meta(), Subjects: e.subjects,
				RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: e.roleName},
			})
		}
	}
	return slices.Concat(roles, bindings, local, localBindings)
}

// NodeRules are what all kubelets may do alike; the Node authorizer applies
// them.
func NodeRules() []rbacv1.PolicyRule {
	for _, e := range readPolicy("cluster.policy") {
		if e.isRole && e.name == "system:node" {
			return e.rules
		}
	}
	return nil
}

func (e *entry) clusterRole() *rbacv1.ClusterRole {
	role := &rbacv1.ClusterRole{ObjectMeta: e.roleMeta(), Rules: e.rules}
	if e.parts != "" {
		role.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{
			{MatchLabels: map[string]string{aggregateLabel + e.parts: "true"}},
		}}
	}
	return role
}

func (e *entry) clusterRoleBinding() *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{
		ObjectMeta: e.meta(), Subjects: e.subjects,
		RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: e.roleName},
	}
}

// aggregate gives view, edit and admin the rules of their parts. Upstream
// creates them empty and lets its aggregation controller do this; they hold
// the same rules then, but here also where no controller runs.
func aggregate(entries []*entry) {
	for _, name := range []string{"view", "edit", "admin"} {
		var parts []*entry
		var whole *entry
		for _, e := range entries {
			switch {
			case e.parts == name:
				whole = e
			case e.partOf == name:
				parts = append(parts, e)
			}
		}
		slices.SortFunc(parts, func(a, b *entry) int { return strings.Compare(a.name, b.name) })
		for _, part := range parts {
			whole.rules = append(whole.rules, part.rules...)
		}
	}
}
