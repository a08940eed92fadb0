package impersonation_test

import (
	"context"
	"net/http"
	"reflect"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/services/apiserver/internal/auth/authtest"
	"coracle.local/services/apiserver/internal/auth/authz/rbac"
	"coracle.local/services/apiserver/internal/auth/impersonation"
)

func TestFromHeader(t *testing.T) {
	tests := []struct {
		name   string
		header http.Header
		want   *user.DefaultInfo
		fails  bool
	}{
		{name: "nobody", header: http.Header{"Accept": {"x"}}},
		{
			name:   "everything",
			header: http.Header{"Impersonate-User": {"bob"}, "Impersonate-Uid": {"7"}, "Impersonate-Group": {"a", "b"}, "Impersonate-Extra-Example.com%2fscope": {"x"}},
			want:   &user.DefaultInfo{Name: "bob", UID: "7", Groups: []string{"a", "b"}, Extra: map[string][]string{"example.com/scope": {"x"}}},
		},
		{name: "a group alone", header: http.Header{"Impersonate-Group": {"a"}}, fails: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got, err := impersonation.FromHeader(test.header)
			if test.fails {
				if !apierrors.IsBadRequest(err) || !strings.Contains(err.Error(), "without impersonating a user name") {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil || !reflect.DeepEqual(got, test.want) {
				t.Errorf("got %+v %v", got, err)
			}
		})
	}
}

func TestAs(t *testing.T) {
	a := rbac.New()
	cluster := authtest.New()
	cluster.Watch(a)
	grant := func(name string, rules ...rbacv1.PolicyRule) {
		cluster.Put(
			&rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: name}, Rules: rules},
			&rbacv1.ClusterRoleBinding{
				ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: name},
				Subjects: []rbacv1.Subject{{Kind: "User", Name: name}},
			},
		)
	}
	rule := func(verb, group, resources string, names ...string) rbacv1.PolicyRule {
		return rbacv1.PolicyRule{Verbs: []string{verb}, APIGroups: []string{group}, Resources: strings.Fields(resources), ResourceNames: names}
	}
	const agent = "system:serviceaccount:kube-system:agent"
	grant("legacy", rule("impersonate", "", "users groups serviceaccounts"), rule("impersonate", "authentication.k8s.io", "uids userextras/scope"))
	grant("bobonly", rule("impersonate", "", "users", "bob"))
	grant("fine", rule("impersonate-on:user-info:list", "", "pods"), rule("impersonate:user-info", "authentication.k8s.io", "users groups", "bob", "devs"))
	grant("masters", rule("impersonate-on:user-info:list", "", "pods"), rule("impersonate:user-info", "authentication.k8s.io", "users groups"))
	grant("robots", rule("impersonate-on:serviceaccount:list", "", "pods"), rule("impersonate:serviceaccount", "authentication.k8s.io", "serviceaccounts"))
	grant(agent, rule("impersonate-on:associated-node:list", "", "pods"), rule("impersonate:associated-node", "authentication.k8s.io", "nodes"))
	onNode := &user.DefaultInfo{Name: agent, Extra: map[string][]string{"authentication.kubernetes.io/node-name": {"n1"}}}

	tests := []struct {
		name      string
		requestor user.Info
		wanted    user.DefaultInfo
		groups    []string
		refusal   string
	}{
		{name: "a user", requestor: authtest.User("legacy"), wanted: user.DefaultInfo{Name: "bob"}, groups: []string{"system:authenticated"}},
		{name: "with groups", requestor: authtest.User("legacy"), wanted: user.DefaultInfo{Name: "bob", Groups: []string{"x"}}, groups: []string{"x", "system:authenticated"}},
		{name: "with everything", requestor: authtest.User("legacy"), wanted: user.DefaultInfo{Name: "bob", UID: "1", Extra: map[string][]string{"scope": {"a"}}}, groups: []string{"system:authenticated"}},
		{name: "anonymous", requestor: authtest.User("legacy"), wanted: user.DefaultInfo{Name: user.Anonymous}, groups: []string{"system:unauthenticated"}},
		{
			name: "an account", requestor: authtest.User("legacy"), wanted: user.DefaultInfo{Name: "system:serviceaccount:a:b"},
			groups: []string{"system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"},
		},
		{name: "the named one", requestor: authtest.User("bobonly"), wanted: user.DefaultInfo{Name: "bob"}, groups: []string{"system:authenticated"}},
		{
			name: "another", requestor: authtest.User("bobonly"), wanted: user.DefaultInfo{Name: "carol"},
			refusal: `pods is forbidden: User "bobonly" cannot impersonate-on:user-info:list resource "pods" in API group "" in the namespace "orange"`,
		},
		{name: "for this verb", requestor: authtest.User("fine"), wanted: user.DefaultInfo{Name: "bob", Groups: []string{"devs"}}, groups: []string{"devs", "system:authenticated"}},
		{
			name: "another for this verb", requestor: authtest.User("fine"), wanted: user.DefaultInfo{Name: "carol"},
			refusal: `users.authentication.k8s.io "carol" is forbidden: User "fine" cannot impersonate:user-info resource "users" in API group "authentication.k8s.io" at the cluster scope`,
		},
		{
			name: "masters", requestor: authtest.User("masters"), wanted: user.DefaultInfo{Name: "bob", Groups: []string{"system:masters"}},
			refusal: "impersonating the system:masters group is not allowed",
		},
		{
			name: "an account for this verb", requestor: authtest.User("robots"), wanted: user.DefaultInfo{Name: "system:serviceaccount:a:b"},
			groups: []string{"system:serviceaccounts", "system:serviceaccounts:a", "system:authenticated"},
		},
		{name: "a user is no account", requestor: authtest.User("robots"), wanted: user.DefaultInfo{Name: "bob"}, refusal: "cannot impersonate-on:user-info:list"},
		{name: "the node one runs on", requestor: onNode, wanted: user.DefaultInfo{Name: "system:node:n1"}, groups: []string{"system:nodes", "system:authenticated"}},
		{name: "another node", requestor: onNode, wanted: user.DefaultInfo{Name: "system:node:n2"}, refusal: "cannot impersonate-on:arbitrary-node:list"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			u, err := (&impersonation.Memory{}).As(context.Background(), a, authorizer.AttributesRecord{
				User: test.requestor, Verb: "list", Resource: "pods", Namespace: "orange", ResourceRequest: true,
			}, &test.wanted)
			if test.refusal != "" {
				if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), test.refusal) {
					t.Errorf("got  %v\nwant %s", err, test.refusal)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if u.GetName() != test.wanted.Name || !reflect.DeepEqual(u.GetGroups(), test.groups) {
				t.Errorf("got %q %q", u.GetName(), u.GetGroups())
			}
		})
	}
}

// TestTheLastModeComesFirst acts as a node, permitted by the oldest mode and then
// by a finer one, too: the one that was used goes on being used.
func TestTheLastModeComesFirst(t *testing.T) {
	var m impersonation.Memory
	finer := false
	z := authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
		if a.GetVerb() == "impersonate" || finer {
			return authorizer.DecisionAllow, "", nil
		}
		return authorizer.DecisionNoOpinion, "", nil
	})
	groups := func() string {
		u, err := m.As(context.Background(), z, authorizer.AttributesRecord{User: authtest.User("joe"), Verb: "get"}, &user.DefaultInfo{Name: "system:node:n1"})
		if err != nil {
			t.Fatal(err)
		}
		return strings.Join(u.GetGroups(), " ")
	}
	for _, finer = range []bool{false, true} {
		if got := groups(); got != "system:authenticated" {
			t.Errorf("finer %v: groups %s", finer, got)
		}
	}
	m = impersonation.Memory{}
	if got := groups(); got != "system:nodes system:authenticated" {
		t.Errorf("without a memory: groups %s", got)
	}
}
