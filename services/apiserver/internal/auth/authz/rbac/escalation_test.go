package rbac_test

import (
	"context"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth/authtest"
	"coracle.local/services/apiserver/internal/auth/authz/rbac"
)

func TestEscalation(t *testing.T) {
	name := func(n string) rbacv1.Subject { return rbacv1.Subject{Kind: "User", Name: n} }
	cluster := authtest.New(
		clusterRole("pods", rule("get list", "", "pods")),
		clusterRole("all", rule("*", "*", "*"), rbacv1.PolicyRule{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}}),
		clusterRole("escalator", rule("escalate", "rbac.authorization.k8s.io", "roles clusterroles")),
		clusterRole("binder", rule("bind", "rbac.authorization.k8s.io", "clusterroles", "all")),
		clusterBinding("pods", ref("ClusterRole", "pods"), name("holder")),
		clusterBinding("all", ref("ClusterRole", "all"), name("full")),
		clusterBinding("escalator", ref("ClusterRole", "escalator"), name("escalator")),
		clusterBinding("binder", ref("ClusterRole", "binder"), name("binder")),
	)
	a := rbac.New()
	cluster.Watch(a)
	escalation := &rbac.Escalation{Authorizer: a, RBAC: a}

	aggregated := clusterRole("x")
	aggregated.AggregationRule = &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{}}}
	marked := role("orange", "x", rule("*", "", "secrets"))
	marked.Finalizers = []string{"x/y"}
	tests := []struct {
		name        string
		user        user.Info
		object, old kinds.Object
		refusal     string
	}{
		{name: "what one holds", user: authtest.User("holder"), object: role("orange", "x", rule("get", "", "pods"))},
		{
			name: "more than one holds", user: authtest.User("holder"), object: role("orange", "x", rule("get delete", "", "pods secrets")),
			refusal: "roles.rbac.authorization.k8s.io \"x\" is forbidden: user \"holder\" (groups=[\"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n" +
				"{APIGroups:[\"\"], Resources:[\"pods\"], Verbs:[\"delete\"]}\n" +
				"{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\" \"delete\"]}",
		},
		{name: "with the verb escalate", user: authtest.User("escalator"), object: clusterRole("x", rule("*", "*", "*"))},
		{name: "an administrator", user: authtest.Admin(), object: clusterRole("x", rule("*", "*", "*"))},
		{
			name: "an aggregation rule", user: authtest.User("holder"), object: aggregated,
			refusal: `clusterroles.rbac.authorization.k8s.io "x" is forbidden: must have cluster-admin privileges to use the aggregationRule`,
		},
		{
			name: "taking an aggregation rule away", user: authtest.User("holder"), object: clusterRole("x"), old: aggregated,
			refusal: "must have cluster-admin privileges",
		},
		{name: "an aggregation rule with all rights", user: authtest.User("full"), object: aggregated},
		{name: "binding a role one holds", user: authtest.User("holder"), object: binding("orange", "x", ref("ClusterRole", "pods"), alice)},
		{
			name: "binding a greater role", user: authtest.User("holder"), object: binding("orange", "x", ref("ClusterRole", "all"), alice),
			refusal: `rolebindings.rbac.authorization.k8s.io "x" is forbidden: user "holder"`,
		},
		{name: "with the verb bind", user: authtest.User("binder"), object: clusterBinding("x", ref("ClusterRole", "all"), alice)},
		{
			name: "bind names the role", user: authtest.User("binder"), object: clusterBinding("x", ref("ClusterRole", "pods"), alice),
			refusal: "not currently held",
		},
		{
			name: "a role that is not there", user: authtest.User("holder"), object: clusterBinding("x", ref("ClusterRole", "none"), alice),
			refusal: `clusterroles.rbac.authorization.k8s.io "none" not found`,
		},
		{name: "the collector's fields", user: authtest.User("nobody"), object: marked, old: role("orange", "x", rule("*", "", "secrets"))},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			err := escalation.Check(context.Background(), test.user, test.object.GetNamespace(), test.object, test.old)
			switch {
			case test.refusal == "" && err != nil:
				t.Error(err)
			case test.refusal != "" && (err == nil || !strings.Contains(err.Error(), test.refusal)):
				t.Errorf("got  %v\nwant %s", err, test.refusal)
			}
		})
	}
}
