package bootstrap

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/libs/pki"
)

func rule(verb, resource string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{Verbs: []string{verb}, APIGroups: []string{""}, Resources: []string{resource}}
}

func TestReconcileRBAC(t *testing.T) {
	meta := func(annotation string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Name: "x", Annotations: map[string]string{rbacv1.AutoUpdateAnnotationKey: annotation}}
	}
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "x"}
	alice := rbacv1.Subject{Kind: "User", Name: "alice"}
	bob := rbacv1.Subject{Kind: "User", Name: "bob"}
	tests := []struct {
		name             string
		existing, wanted kinds.Object
		action           Action
		rules, subjects  int
	}{
		{
			name:     "a missing rule is added and a further one kept",
			existing: &rbacv1.ClusterRole{ObjectMeta: meta("true"), Rules: []rbacv1.PolicyRule{rule("get", "pods"), rule("get", "own")}},
			wanted:   &rbacv1.ClusterRole{ObjectMeta: meta("true"), Rules: []rbacv1.PolicyRule{rule("get", "pods"), rule("list", "pods")}},
			action:   Update, rules: 3,
		},
		{
			name:     "a wider rule covers",
			existing: &rbacv1.ClusterRole{ObjectMeta: meta("true"), Rules: []rbacv1.PolicyRule{rule("*", "*")}},
			wanted:   &rbacv1.ClusterRole{ObjectMeta: meta("true"), Rules: []rbacv1.PolicyRule{rule("list", "pods")}},
			action:   Keep, rules: 1,
		},
		{
			name:     "protected",
			existing: &rbacv1.ClusterRole{ObjectMeta: meta("false")},
			wanted:   &rbacv1.ClusterRole{ObjectMeta: meta("true"), Rules: []rbacv1.PolicyRule{rule("list", "pods")}},
			action:   Keep,
		},
		{
			name:     "an aggregated role's rules are left alone",
			existing: &rbacv1.ClusterRole{ObjectMeta: meta("true"), AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{}}}},
			wanted: &rbacv1.ClusterRole{
				ObjectMeta: meta("true"), Rules: []rbacv1.PolicyRule{rule("list", "pods")},
				AggregationRule: &rbacv1.AggregationRule{ClusterRoleSelectors: []metav1.LabelSelector{{}}},
			},
			action: Keep,
		},
		{
			name:     "a role",
			existing: &rbacv1.Role{ObjectMeta: meta("true")},
			wanted:   &rbacv1.Role{ObjectMeta: meta("true"), Rules: []rbacv1.PolicyRule{rule("list", "pods")}},
			action:   Update, rules: 1,
		},
		{
			name:     "a missing subject is added",
			existing: &rbacv1.ClusterRoleBinding{ObjectMeta: meta("true"), RoleRef: ref, Subjects: []rbacv1.Subject{alice}},
			wanted:   &rbacv1.ClusterRoleBinding{ObjectMeta: meta("true"), RoleRef: ref, Subjects: []rbacv1.Subject{bob}},
			action:   Update, subjects: 2,
		},
		{
			name:     "another role",
			existing: &rbacv1.ClusterRoleBinding{ObjectMeta: meta("true"), Subjects: []rbacv1.Subject{alice}},
			wanted:   &rbacv1.ClusterRoleBinding{ObjectMeta: meta("true"), RoleRef: ref, Subjects: []rbacv1.Subject{bob}},
			action:   Recreate, subjects: 1,
		},
		{
			name:     "a missing annotation",
			existing: &rbacv1.RoleBinding{RoleRef: ref},
			wanted:   &rbacv1.RoleBinding{ObjectMeta: meta("true"), RoleRef: ref},
			action:   Update,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before := test.existing.DeepCopyObject()
			got, action := Reconcile(test.existing, test.wanted)
			if action != test.action {
				t.Fatalf("action %s, want %s", action, test.action)
			}
			rules, subjects := 0, 0
			switch o := got.(type) {
			case *rbacv1.ClusterRole:
				rules = len(o.Rules)
			case *rbacv1.Role:
				rules = len(o.Rules)
			case *rbacv1.ClusterRoleBinding:
				subjects = len(o.Subjects)
			}
			if rules != test.rules || subjects != test.subjects {
				t.Errorf("%d rules, %d subjects: %+v", rules, subjects, got)
			}
			if _, action := changed(before.(kinds.Object), test.existing); action != Keep {
				t.Error("the existing object was modified")
			}
		})
	}
}

func TestReconcileOthers(t *testing.T) {
	t.Run("a flow schema that an administrator took over stays", func(t *testing.T) {
		mine := find[*flowcontrolv1.FlowSchema](t, "", "probes").DeepCopy()
		mine.Spec.MatchingPrecedence = 77
		mine.Annotations[flowcontrolv1.AutoUpdateAnnotationKey] = "false"
		if _, action := Reconcile(mine, find[*flowcontrolv1.FlowSchema](t, "", "probes")); action != Keep {
			t.Error(action)
		}
		mine.Annotations[flowcontrolv1.AutoUpdateAnnotationKey] = "true"
		if got, action := Reconcile(mine, find[*flowcontrolv1.FlowSchema](t, "", "probes")); action != Update || got.(*flowcontrolv1.FlowSchema).Spec.MatchingPrecedence != 2 {
			t.Errorf("%s %v", action, got)
		}
	})
	t.Run("the exempt level's shares may be tuned", func(t *testing.T) {
		mine := find[*flowcontrolv1.PriorityLevelConfiguration](t, "", "exempt").DeepCopy()
		*mine.Spec.Exempt.NominalConcurrencyShares = 9
		if _, action := Reconcile(mine, find[*flowcontrolv1.PriorityLevelConfiguration](t, "", "exempt")); action != Keep {
			t.Error(action)
		}
	})
	t.Run("a second service range is taken, another first one is not", func(t *testing.T) {
		cidr := func(cidrs ...string) *networkingv1.ServiceCIDR {
			return &networkingv1.ServiceCIDR{Spec: networkingv1.ServiceCIDRSpec{CIDRs: cidrs}}
		}
		if _, action := Reconcile(cidr("10.0.0.0/8"), cidr("10.0.0.0/8", "fd00::/112")); action != Update {
			t.Error(action)
		}
		if _, action := Reconcile(cidr("10.0.0.0/8"), cidr("11.0.0.0/8")); action != Keep {
			t.Error(action)
		}
	})
	t.Run("endpoints follow the address", func(t *testing.T) {
		old, now := EndpointObjects(Endpoint{"192.0.2.1", 6443}), EndpointObjects(Endpoint{"192.0.2.9", 6443})
		for i := range old {
			got, action := Reconcile(old[i], now[i])
			if action != Update {
				t.Errorf("%T: %s", got, action)
			}
		}
		if _, action := Reconcile(old[1], EndpointObjects(Endpoint{"fd00::1", 6443})[1]); action != Recreate {
			t.Error("a slice cannot change its address type")
		}
	})
	t.Run("the Service and namespaces stay", func(t *testing.T) {
		mine := find[*corev1.Service](t, "default", "kubernetes").DeepCopy()
		mine.Spec.Ports[0].Port = 1
		if _, action := Reconcile(mine, find[*corev1.Service](t, "default", "kubernetes")); action != Keep {
			t.Error(action)
		}
	})
}

func TestReconcileAuthenticationJoins(t *testing.T) {
	a, err := pki.NewAuthority("a", config.Now)
	if err != nil {
		t.Fatal(err)
	}
	b, err := pki.NewAuthority("b", config.Now)
	if err != nil {
		t.Fatal(err)
	}
	publish := func(ca *pki.Authority, name string) *corev1.ConfigMap {
		m, err := Authentication{ClientCA: ca.CertPEM, RequestHeaderCA: ca.CertPEM, AllowedNames: []string{name}}.configMap()
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	got, action := Reconcile(publish(a, "one"), publish(b, "two"))
	if action != Update {
		t.Fatal(action)
	}
	data := got.(*corev1.ConfigMap).Data
	if certificates, err := pki.ParseCertificates([]byte(data["client-ca-file"])); err != nil || len(certificates) != 2 {
		t.Errorf("%d certificates, %v", len(certificates), err)
	}
	if data["requestheader-allowed-names"] != `["one","two"]` {
		t.Errorf("names %s", data["requestheader-allowed-names"])
	}
	if _, action := Reconcile(got, publish(a, "one")); action != Keep {
		t.Errorf("%s after nothing new", action)
	}
	if strings.Contains(data["requestheader-username-headers"], "null") {
		t.Errorf("an empty list is written as %s", data["requestheader-username-headers"])
	}
}
