package rbac_test

import (
	"context"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/services/apiserver/internal/auth/authtest"
	"coracle.local/services/apiserver/internal/auth/authz/rbac"
	"coracle.local/services/apiserver/internal/bootstrap"
)

func clusterRole(name string, rules ...rbacv1.PolicyRule) *rbacv1.ClusterRole {
	return &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules}
}

func role(namespace, name string, rules ...rbacv1.PolicyRule) *rbacv1.Role {
	return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, Rules: rules}
}

func ref(kind, name string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
}

func clusterBinding(name string, r rbacv1.RoleRef, subjects ...rbacv1.Subject) *rbacv1.ClusterRoleBinding {
	return &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: r, Subjects: subjects}
}

func binding(namespace, name string, r rbacv1.RoleRef, subjects ...rbacv1.Subject) *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, RoleRef: r, Subjects: subjects}
}

func rule(verbs, groups, resources string, names ...string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{
		Verbs: strings.Fields(verbs), APIGroups: strings.Split(groups, " "), Resources: strings.Fields(resources), ResourceNames: names,
	}
}

var (
	alice   = rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "alice"}
	devs    = rbacv1.Subject{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "devs"}
	account = rbacv1.Subject{Kind: "ServiceAccount", Name: "robot"}
)

// request writes attributes as VERB GROUP/RESOURCE[/SUB] [NAMESPACE/][NAME].
func request(u user.Info, verb, group, resource, namespace, name string) authorizer.AttributesRecord {
	resource, sub, _ := strings.Cut(resource, "/")
	return authorizer.AttributesRecord{
		User: u, Verb: verb, APIGroup: group, APIVersion: "v1", Resource: resource, Subresource: sub,
		Namespace: namespace, Name: name, ResourceRequest: true,
	}
}

func TestAuthorize(t *testing.T) {
	cluster := authtest.New(
		clusterRole("reader", rule("get list", "", "pods pods/log")),
		clusterRole("scaler", rule("get", "*", "*/scale")),
		clusterRole("named", rule("update", "", "configmaps", "one", "two")),
		clusterRole("urls", rbacv1.PolicyRule{Verbs: []string{"get"}, NonResourceURLs: []string{"/metrics", "/healthz/*"}}),
		role("orange", "writer", rule("create", "apps", "deployments")),
		clusterBinding("readers", ref("ClusterRole", "reader"), alice),
		clusterBinding("scalers", ref("ClusterRole", "scaler"), devs),
		clusterBinding("urls", ref("ClusterRole", "urls"), devs),
		clusterBinding("wrong", ref("Role", "writer"), alice),
		binding("orange", "writers", ref("Role", "writer"), account, devs),
		binding("orange", "named", ref("ClusterRole", "named"), devs),
		binding("orange", "broken", ref("ClusterRole", "none"), rbacv1.Subject{Kind: "User", Name: "carol"}),
	)
	a := rbac.New()
	cluster.Watch(a)
	dev := authtest.User("dave", "devs")
	tests := []struct {
		name   string
		ask    authorizer.AttributesRecord
		allow  bool
		reason string
	}{
		{
			name: "a user everywhere", ask: request(authtest.User("alice"), "list", "", "pods", "orange", ""), allow: true,
			reason: `RBAC: allowed by ClusterRoleBinding "readers" of ClusterRole "reader" to User "alice"`,
		},
		{name: "a subresource must be named", ask: request(authtest.User("alice"), "get", "", "pods/status", "orange", "p")},
		{name: "a named subresource", ask: request(authtest.User("alice"), "get", "", "pods/log", "orange", "p"), allow: true},
		{name: "another verb", ask: request(authtest.User("alice"), "delete", "", "pods", "orange", "p")},
		{name: "another group", ask: request(authtest.User("alice"), "list", "metrics.k8s.io", "pods", "orange", "")},
		{name: "any scale", ask: request(dev, "get", "example.com", "things/scale", "x", "y"), allow: true},
		{name: "not the thing itself", ask: request(dev, "get", "example.com", "things", "x", "y")},
		{
			name: "an account of the binding's namespace", ask: request(authtest.User("system:serviceaccount:orange:robot"), "create", "apps", "deployments", "orange", ""), allow: true,
			reason: `RBAC: allowed by RoleBinding "writers/orange" of Role "writer" to ServiceAccount "robot/orange"`,
		},
		{name: "an account of another namespace", ask: request(authtest.User("system:serviceaccount:blue:robot"), "create", "apps", "deployments", "orange", "")},
		{name: "a role holds in its namespace", ask: request(dev, "create", "apps", "deployments", "blue", "")},
		{name: "a name", ask: request(dev, "update", "", "configmaps", "orange", "two"), allow: true},
		{name: "another name", ask: request(dev, "update", "", "configmaps", "orange", "three")},
		{name: "no name where names are needed", ask: request(dev, "update", "", "configmaps", "orange", "")},
		{name: "a path", ask: authorizer.AttributesRecord{User: dev, Verb: "get", Path: "/metrics"}, allow: true},
		{name: "a path below", ask: authorizer.AttributesRecord{User: dev, Verb: "get", Path: "/healthz/etcd"}, allow: true},
		{name: "another path", ask: authorizer.AttributesRecord{User: dev, Verb: "get", Path: "/metrics/slis"}},
		{
			name: "a role that is not there", ask: request(authtest.User("carol"), "get", "", "pods", "orange", "p"),
			reason: `RBAC: clusterrole.rbac.authorization.k8s.io "none" not found`,
		},
		{name: "nobody", ask: request(authtest.User("eve"), "get", "", "pods", "orange", "p")},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			decision, reason, err := a.Authorize(context.Background(), test.ask)
			if err != nil {
				t.Fatal(err)
			}
			if (decision == authorizer.DecisionAllow) != test.allow || decision == authorizer.DecisionDeny {
				t.Errorf("decision %v, %q", decision, reason)
			}
			if test.reason != "" && reason != test.reason {
				t.Errorf("reason %s\nwant   %s", reason, test.reason)
			}
		})
	}
}

func TestAuthorizerFollowsChanges(t *testing.T) {
	cluster := authtest.New()
	a := rbac.New()
	cluster.Watch(a)
	ask := request(authtest.User("alice"), "list", "", "pods", "orange", "")
	expect := func(step string, allowed bool) {
		t.Helper()
		decision, _, _ := a.Authorize(context.Background(), ask)
		if (decision == authorizer.DecisionAllow) != allowed {
			t.Errorf("%s: %v", step, decision)
		}
	}
	expect("empty", false)
	cluster.Put(binding("orange", "b", ref("Role", "r"), alice, alice))
	expect("a binding without its role", false)
	cluster.Put(role("orange", "r", rule("list", "", "pods")))
	expect("the role arrived", true)
	cluster.Put(role("orange", "r", rule("get", "", "pods")))
	expect("the role was narrowed", false)
	cluster.Put(role("orange", "r", rule("*", "*", "*")))
	expect("the role was widened", true)
	cluster.Put(binding("orange", "b", ref("Role", "r"), devs))
	expect("the subject was replaced", false)
	cluster.Put(binding("orange", "b", ref("Role", "r"), devs, alice))
	expect("the subject is back", true)
	cluster.Remove(binding("orange", "b", ref("Role", "r")))
	expect("the binding is gone", false)
	cluster.Put(clusterBinding("c", ref("ClusterRole", "r"), alice), clusterRole("r", rule("list", "", "pods")))
	expect("a cluster role binding", true)
	cluster.Remove(clusterRole("r"))
	expect("the cluster role is gone", false)
}

// The expectations are written by hand from upstream's documentation of its
// default roles.
func TestBootstrapPolicy(t *testing.T) {
	a := bootstrapped(t)
	manager, scheduler := authtest.User(user.KubeControllerManager), authtest.User(user.KubeScheduler)
	node := authtest.Node("n1")
	dns := authtest.User("system:serviceaccount:kube-system:kube-dns", "system:serviceaccounts", "system:serviceaccounts:kube-system")
	anonymous := &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}}
	tests := []struct {
		name  string
		ask   authorizer.AttributesRecord
		allow bool
	}{
		{"scheduler binds", request(scheduler, "create", "", "pods/binding", "a", "p"), true},
		{"scheduler renews its lease", request(scheduler, "update", "coordination.k8s.io", "leases", "kube-system", "kube-scheduler"), true},
		{"scheduler reads no secrets", request(scheduler, "get", "", "secrets", "a", "s"), false},
		{"manager lists anything", request(manager, "list", "example.com", "things", "", ""), true},
		{"manager deletes anything", request(manager, "delete", "example.com", "things", "a", "t"), true},
		{"manager creates pods", request(manager, "create", "", "pods", "a", ""), true},
		{"manager creates no namespaces", request(manager, "create", "", "namespaces", "", ""), false},
		{"manager approves kubelets", request(manager, "approve", "certificates.k8s.io", "signers", "", "kubernetes.io/kube-apiserver-client-kubelet"), true},
		{"kube-proxy reads slices", request(authtest.User(user.KubeProxy), "watch", "discovery.k8s.io", "endpointslices", "", ""), true},
		{"kube-proxy reads no pods", request(authtest.User(user.KubeProxy), "watch", "", "pods", "", ""), false},
		{"a node sees nodes", request(node, "list", "", "nodes", "", ""), true},
		{"a node has no pods by role", request(node, "get", "", "pods", "a", "p"), false},
		{"dns reads services", request(dns, "list", "", "services", "", ""), true},
		{"an account reads the issuer's keys", authorizer.AttributesRecord{User: dns, Verb: "get", Path: "/openid/v1/jwks"}, true},
		{"a user asks about himself", request(authtest.User("x"), "create", "authorization.k8s.io", "selfsubjectaccessreviews", "", ""), true},
		{"a user discovers", authorizer.AttributesRecord{User: authtest.User("x"), Verb: "get", Path: "/apis/apps/v1"}, true},
		{"a user reads no metrics", authorizer.AttributesRecord{User: authtest.User("x"), Verb: "get", Path: "/metrics"}, false},
		{"a monitor reads metrics", authorizer.AttributesRecord{User: authtest.User("x", user.MonitoringGroup), Verb: "get", Path: "/metrics"}, true},
		{"anybody sees health", authorizer.AttributesRecord{User: anonymous, Verb: "get", Path: "/readyz"}, true},
		{"anybody sees the version", authorizer.AttributesRecord{User: anonymous, Verb: "get", Path: "/version"}, true},
		{"nobody discovers", authorizer.AttributesRecord{User: anonymous, Verb: "get", Path: "/apis"}, false},
		{"nobody lists pods", request(anonymous, "list", "", "pods", "default", ""), false},
		{"a viewer reads config maps", request(authtest.User("viewer"), "get", "", "configmaps", "orange", "c"), true},
		{"a viewer reads no secrets", request(authtest.User("viewer"), "get", "", "secrets", "orange", "s"), false},
		{"an editor writes secrets", request(authtest.User("editor"), "create", "", "secrets", "orange", ""), true},
		{"an editor writes no roles", request(authtest.User("editor"), "create", "rbac.authorization.k8s.io", "roles", "orange", ""), false},
		{"an admin writes roles", request(authtest.User("chief"), "create", "rbac.authorization.k8s.io", "roles", "orange", ""), true},
		{"an admin of one namespace", request(authtest.User("chief"), "create", "rbac.authorization.k8s.io", "roles", "blue", ""), false},
		{"a delegate reads the authentication map", request(scheduler, "get", "", "configmaps", "kube-system", "extension-apiserver-authentication"), true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			decision, reason, _ := a.Authorize(context.Background(), test.ask)
			if (decision == authorizer.DecisionAllow) != test.allow {
				t.Errorf("decision %v, %s", decision, reason)
			}
		})
	}
}

func bootstrapped(t testing.TB) *rbac.Authorizer {
	t.Helper()
	objects, err := bootstrap.Objects(bootstrap.Config{ServiceCIDRs: []string{"10.0.0.0/24"}})
	if err != nil {
		t.Fatal(err)
	}
	cluster := authtest.New(objects...)
	user := func(name string) rbacv1.Subject { return rbacv1.Subject{Kind: "User", Name: name} }
	cluster.Put(
		binding("orange", "view", ref("ClusterRole", "view"), user("viewer")),
		binding("orange", "edit", ref("ClusterRole", "edit"), user("editor")),
		binding("orange", "admin", ref("ClusterRole", "admin"), user("chief")),
	)
	a := rbac.New()
	cluster.Watch(a)
	return a
}

func TestRulesFor(t *testing.T) {
	a := bootstrapped(t)
	resources, urls, incomplete, err := a.RulesFor(context.Background(), authtest.User("viewer"), "orange")
	if err != nil || incomplete {
		t.Fatal(incomplete, err)
	}
	// basic-user has two rules, view twelve; discovery and public-info are URLs.
	if len(resources) != 14 || len(urls) != 2 {
		t.Errorf("%d resource rules, %d URL rules", len(resources), len(urls))
	}
}

func BenchmarkAuthorize(b *testing.B) {
	a := bootstrapped(b)
	scheduler := authtest.User(user.KubeScheduler)
	cases := map[string]authorizer.AttributesRecord{
		"allowed":    request(scheduler, "update", "", "pods/status", "orange", "p"),
		"refused":    request(authtest.User("viewer"), "update", "apps", "deployments/scale", "orange", "d"),
		"by a group": {User: authtest.User("x"), Verb: "get", Path: "/apis/apps/v1"},
	}
	for name, ask := range cases {
		b.Run(name, func(b *testing.B) {
			var attributes authorizer.Attributes = ask
			b.ReportAllocs()
			for b.Loop() {
				if _, _, err := a.Authorize(context.Background(), attributes); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// TestTheFirstSubjectIsTheReason binds somebody by name and by a group: what
// stands first in the binding is given.
func TestTheFirstSubjectIsTheReason(t *testing.T) {
	u := &user.DefaultInfo{Name: "alice", Groups: []string{"devs"}}
	for _, test := range []struct {
		name     string
		subjects []rbacv1.Subject
		want     string
	}{
		{"the group", []rbacv1.Subject{devs, alice}, `Group "devs"`},
		{"the user", []rbacv1.Subject{alice, devs}, `User "alice"`},
		{"after somebody else", []rbacv1.Subject{account, devs, alice}, `Group "devs"`},
	} {
		t.Run(test.name, func(t *testing.T) {
			a := rbac.New()
			authtest.New(role("a", "r", rule("get", "", "pods")), binding("a", "b", ref("Role", "r"), test.subjects...)).Watch(a)
			_, reason, _ := a.Authorize(context.Background(), request(u, "get", "", "pods", "a", ""))
			if want := `RBAC: allowed by RoleBinding "b/a" of Role "r" to ` + test.want; reason != want {
				t.Errorf("%s, want %s", reason, want)
			}
		})
	}
}
