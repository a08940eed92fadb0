package clusterroles

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/controller-manager/internal/workbench"
)

func role(name, label, verb string) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"to": label}},
		Rules:      []rbacv1.PolicyRule{{Verbs: []string{verb}, Resources: []string{"pods"}}},
	}
}

func TestAggregates(t *testing.T) {
	view := &rbacv1.ClusterRole{
		ObjectMeta:      metav1.ObjectMeta{Name: "view", Labels: map[string]string{"to": "edit"}},
		AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"to": "view"}}}},
	}
	edit := &rbacv1.ClusterRole{
		ObjectMeta:      metav1.ObjectMeta{Name: "edit"},
		AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{MatchLabels: map[string]string{"to": "edit"}}}},
	}
	b := workbench.New(t, view, edit, role("b", "view", "list"), role("a", "view", "get"), role("same", "view", "get"), role("c", "edit", "update"))
	b.Add(New(b.Deps()))
	verbs := func(name string) string {
		out := ""
		for _, r := range workbench.Get[*rbacv1.ClusterRole](b, "", name).Rules {
			out += r.Verbs[0] + " "
		}
		return out
	}
	b.Settle()
	if v, e := verbs("view"), verbs("edit"); v != "get list " || e != "update get list " {
		t.Fatalf("view %q, edit %q", v, e)
	}
	workbench.Delete[*rbacv1.ClusterRole](b, "", "b")
	b.Settle()
	if v, e := verbs("view"), verbs("edit"); v != "get " || e != "update get " {
		t.Fatalf("view %q, edit %q", v, e)
	}
}
