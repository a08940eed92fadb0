package authorization

import (
	"fmt"
	"math/rand/v2"
	"slices"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
)

// The vocabulary of roles and questions is small, so that they meet.
var (
	namespaces   = []string{"amber", "birch", "cedar", "delta"}
	verbs        = []string{"get", "list", "watch", "create", "update", "patch", "delete", "deletecollection", "impersonate", "bind", "escalate", "approve", "use", "proxy", "*", "GET", ""}
	apiGroups    = []string{"", "apps", "batch", "rbac.authorization.k8s.io", "resource.k8s.io", "storage.k8s.io", "coordination.k8s.io", "certificates.k8s.io", "example.com", "*"}
	resources    = []string{"pods", "secrets", "configmaps", "deployments", "jobs", "roles", "nodes", "namespaces", "widgets", "serviceaccounts", "leases", "*"}
	subresources = []string{"", "", "", "status", "log", "exec", "scale", "token", "binding", "*"}
	names        = []string{"", "one", "two", "three", "n1", "ns/one"}
	paths        = []string{"/", "/api", "/apis", "/apis/apps/v1", "/healthz", "/healthz/etcd", "/metrics", "/version", "/version/", "/openapi/v3", "/logs/", "/logs/x", "/debug/pprof/profile", "*", "healthz", ""}
	urlPatterns  = []string{"*", "/healthz", "/healthz/*", "/apis/*", "/logs/*", "/metrics", "/debug/*", "/version*", "/a**"}
	groups       = []string{"readers", "writers", "crew", "system:authenticated", "system:unauthenticated", "system:serviceaccounts", "system:serviceaccounts:amber", "system:masters", "system:nodes"}
)

func users() []string {
	out := []string{"system:anonymous", "system:serviceaccount:amber:robot", "system:serviceaccount:birch:robot", "system:serviceaccount:amber:default", "system:kube-scheduler", "system:kube-controller-manager", "system:kube-proxy", "system:apiserver", ""}
	for i := range 12 {
		out = append(out, fmt.Sprintf("user-%d", i))
	}
	return out
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }

// some picks between one and three, not the same twice.
func some(r *rand.Rand, from []string) []string {
	var out []string
	for range 1 + r.IntN(3) {
		if x := pick(r, from); !slices.Contains(out, x) {
			out = append(out, x)
		}
	}
	return out
}

// roleSet is what a few administrators might have left behind.
func roleSet(r *rand.Rand, set int) []kinds.Object {
	name := func(kind string, i int) string { return fmt.Sprintf("%s-%d-%d", kind, set, i) }
	var out []kinds.Object
	for i := range 8 {
		out = append(out, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name("cluster", i)}, Rules: rules(r, true)})
	}
	for i := range 12 {
		out = append(out, &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: pick(r, namespaces), Name: name("role", i)}, Rules: rules(r, false)})
	}
	for i := range 6 {
		out = append(out, &rbacv1.ClusterRoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: name("clusterbinding", i)}, Subjects: subjects(r),
			RoleRef: reference("ClusterRole", name("cluster", r.IntN(9))), // the ninth is missing
		})
	}
	for i := range 20 {
		b := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: pick(r, namespaces), Name: name("binding", i)}, Subjects: subjects(r),
			RoleRef: reference("Role", name("role", r.IntN(13))),
		}
		switch r.IntN(5) {
		case 0, 1:
			b.RoleRef = reference("ClusterRole", name("cluster", r.IntN(9)))
		case 2:
			b.RoleRef = reference("ClusterRole", pick(r, []string{"view", "edit", "admin", "cluster-admin", "system:node"}))
		}
		out = append(out, b)
	}
	return out
}

func reference(kind, name string) rbacv1.RoleRef {
	return rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: kind, Name: name}
}

func rules(r *rand.Rand, urls bool) []rbacv1.PolicyRule {
	var out []rbacv1.PolicyRule
	for range 1 + r.IntN(3) {
		if urls && r.IntN(3) == 0 {
			out = append(out, rbacv1.PolicyRule{Verbs: some(r, verbs[:len(verbs)-1]), NonResourceURLs: some(r, urlPatterns)})
			continue
		}
		rule := rbacv1.PolicyRule{Verbs: some(r, verbs[:len(verbs)-1]), APIGroups: some(r, apiGroups)}
		for _, resource := range some(r, resources) {
			switch r.IntN(6) {
			case 0:
				resource += "/" + pick(r, subresources[3:])
			case 1:
				resource = "*/" + pick(r, subresources[3:])
			}
			rule.Resources = append(rule.Resources, resource)
		}
		if r.IntN(4) == 0 {
			rule.ResourceNames = some(r, names[1:])
		}
		out = append(out, rule)
	}
	return out
}

func subjects(r *rand.Rand) []rbacv1.Subject {
	var out []rbacv1.Subject
	all := users()
	for range 1 + r.IntN(4) {
		switch r.IntN(4) {
		case 0:
			out = append(out, rbacv1.Subject{Kind: rbacv1.GroupKind, APIGroup: rbacv1.GroupName, Name: pick(r, groups)})
		case 1:
			s := rbacv1.Subject{Kind: rbacv1.ServiceAccountKind, Namespace: pick(r, namespaces[:2]), Name: pick(r, []string{"robot", "default"})}
			out = append(out, s)
		default:
			name := pick(r, all)
			if name == "" {
				name = "user-0"
			}
			out = append(out, rbacv1.Subject{Kind: rbacv1.UserKind, APIGroup: rbacv1.GroupName, Name: name})
		}
	}
	return out
}
