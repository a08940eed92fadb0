package bootstrap

import (
	"reflect"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/component-helpers/auth/rbac/validation"

	"coracle.local/libs/kinds"
)

var config = Config{
	ServiceCIDRs: []string{"10.96.0.0/12"},
	Endpoint:     Endpoint{Address: "192.0.2.1", Port: 6443},
	Authentication: Authentication{
		ClientCA: []byte("ca"), RequestHeaderCA: []byte("proxy ca"), AllowedNames: []string{"front-proxy-client"},
		UsernameHeaders: []string{"X-Remote-User"}, GroupHeaders: []string{"X-Remote-Group"}, ExtraHeaderPrefixes: []string{"X-Remote-Extra-"},
	},
	Now: time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC),
}

func objects(t testing.TB) []kinds.Object {
	t.Helper()
	out, err := Objects(config)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func find[T kinds.Object](t testing.TB, namespace, name string) T {
	t.Helper()
	for _, o := range objects(t) {
		if typed, ok := o.(T); ok && o.GetNamespace() == namespace && o.GetName() == name {
			return typed
		}
	}
	var zero T
	t.Fatalf("no %T %s/%s", zero, namespace, name)
	return zero
}

func TestObjectsAreCompleteAndInOrder(t *testing.T) {
	counts := map[string]int{}
	known := map[string]bool{"": true}
	seen := map[string]bool{}
	for _, o := range objects(t) {
		kind := kinds.ForObject(o)
		if kind == nil {
			t.Fatalf("%T is not in the table of kinds", o)
		}
		if kind.Namespaced != (o.GetNamespace() != "") {
			t.Errorf("%s %s has namespace %q", kind.Kind, o.GetName(), o.GetNamespace())
		}
		if !known[o.GetNamespace()] {
			t.Errorf("%s %s comes before its namespace %s", kind.Kind, o.GetName(), o.GetNamespace())
		}
		id := kind.Kind + " " + o.GetNamespace() + "/" + o.GetName()
		if seen[id] {
			t.Errorf("%s comes twice", id)
		}
		seen[id] = true
		counts[kind.Kind]++
		if kind.Kind == "Namespace" {
			known[o.GetName()] = true
		}
	}
	want := map[string]int{
		"Namespace": 4, "PriorityClass": 2, "PriorityLevelConfiguration": 8, "FlowSchema": 11,
		"ClusterRole": 75, "ClusterRoleBinding": 56, "Role": 7, "RoleBinding": 7,
		"ServiceCIDR": 1, "Service": 1, "Endpoints": 1, "EndpointSlice": 1, "ConfigMap": 2,
	}
	if !reflect.DeepEqual(counts, want) {
		t.Errorf("got %v, want %v", counts, want)
	}
}

func TestObjectsAreDeterministic(t *testing.T) {
	a, b := objects(t), objects(t)
	if !equality.Semantic.DeepEqual(a, b) {
		t.Error("the same configuration gave different objects")
	}
	for i := range a {
		if got, action := Reconcile(a[i], b[i]); action != Keep || got != a[i] {
			t.Errorf("%T %s: %s of an object that is as it should be", a[i], a[i].GetName(), action)
		}
	}
}

func TestPolicyReads(t *testing.T) {
	role := find[*rbacv1.ClusterRole](t, "", "system:kube-scheduler")
	if role.Labels["kubernetes.io/bootstrapping"] != "rbac-defaults" || role.Annotations["rbac.authorization.kubernetes.io/autoupdate"] != "true" {
		t.Errorf("metadata %v %v", role.Labels, role.Annotations)
	}
	wanted := rbacv1.PolicyRule{
		Verbs: []string{"get", "list", "update", "watch"}, APIGroups: []string{"coordination.k8s.io"},
		Resources: []string{"leases"}, ResourceNames: []string{"kube-scheduler"},
	}
	if !reflect.DeepEqual(role.Rules[2], wanted) {
		t.Errorf("rule %+v", role.Rules[2])
	}
	admin := find[*rbacv1.ClusterRole](t, "", "cluster-admin")
	if !reflect.DeepEqual(admin.Rules, []rbacv1.PolicyRule{
		{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}},
		{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}},
	}) {
		t.Errorf("cluster-admin %+v", admin.Rules)
	}
	binding := find[*rbacv1.RoleBinding](t, "kube-system", "system::extension-apiserver-authentication-reader")
	if binding.RoleRef.Name != "extension-apiserver-authentication-reader" || len(binding.Subjects) != 2 {
		t.Errorf("binding %+v", binding)
	}
	if node := find[*rbacv1.ClusterRoleBinding](t, "", "system:node"); len(node.Subjects) != 0 {
		t.Errorf("system:node is bound to %v", node.Subjects)
	}
	if len(NodeRules()) != 27 {
		t.Errorf("%d node rules", len(NodeRules()))
	}
}

func TestAggregatedRolesHoldTheirParts(t *testing.T) {
	var last []rbacv1.PolicyRule
	for _, name := range []string{"view", "edit", "admin"} {
		role := find[*rbacv1.ClusterRole](t, "", name)
		if role.AggregationRule == nil || len(role.Rules) == 0 {
			t.Errorf("%s: %+v", name, role)
		}
		for _, part := range []string{"system:aggregate-to-" + name} {
			if ok, missing := validation.Covers(role.Rules, find[*rbacv1.ClusterRole](t, "", part).Rules); !ok {
				t.Errorf("%s lacks %v of %s", name, missing, part)
			}
		}
		if ok, missing := validation.Covers(role.Rules, last); !ok {
			t.Errorf("%s lacks %v of the role below", name, missing)
		}
		last = role.Rules
	}
}

// Our manager has one identity, so it needs what upstream gives to each of
// its controllers.
func TestControllerManagerCoversEveryController(t *testing.T) {
	own := find[*rbacv1.ClusterRole](t, "", "coracle:controller-manager").Rules
	for _, e := range readPolicy("controllers.policy") {
		if ok, missing := validation.Covers(own, e.rules); !ok {
			t.Errorf("%s: missing %v", e.name, missing)
		}
	}
	if ok, _ := validation.Covers(own, []rbacv1.PolicyRule{{Verbs: []string{"create"}, APIGroups: []string{"*"}, Resources: []string{"*"}}}); ok {
		t.Error("the manager may create anything")
	}
}

func TestKubernetesService(t *testing.T) {
	tests := []struct {
		name, cidr, address string
		family              corev1.IPFamily
		fails               bool
	}{
		{name: "IPv4", cidr: "10.96.0.0/12", address: "10.96.0.1", family: corev1.IPv4Protocol},
		{name: "range not at its start", cidr: "10.0.5.7/24", address: "10.0.5.1", family: corev1.IPv4Protocol},
		{name: "IPv6", cidr: "fd00::/112", address: "fd00::1", family: corev1.IPv6Protocol},
		{name: "too small", cidr: "10.0.0.1/32", fails: true},
		{name: "no range", cidr: "x", fails: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s, err := KubernetesService(Config{ServiceCIDRs: []string{test.cidr}, Endpoint: Endpoint{Port: 6443}})
			if test.fails {
				if err == nil {
					t.Errorf("got %v", s)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if s.Spec.ClusterIP != test.address || s.Spec.IPFamilies[0] != test.family || s.Spec.Ports[0].TargetPort.IntVal != 6443 || s.Spec.Ports[0].Port != 443 {
				t.Errorf("spec %+v", s.Spec)
			}
		})
	}
}

func BenchmarkObjects(b *testing.B) {
	for b.Loop() {
		objects(b)
	}
}
