package abac_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/services/apiserver/internal/auth/authz/abac"
)

func read(t *testing.T, lines ...string) (abac.Policies, error) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "policies")
	if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")), 0o600); err != nil {
		t.Fatal(err)
	}
	return abac.Read(path, zap.NewNop())
}

const beta = `{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Policy","spec":`

func TestAuthorize(t *testing.T) {
	joe := &user.DefaultInfo{Name: "joe", Groups: []string{"crew", user.AllAuthenticated}}
	nobody := &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}}
	resource := func(verb, group, resource, namespace string) authorizer.AttributesRecord {
		return authorizer.AttributesRecord{Verb: verb, APIGroup: group, Resource: resource, Namespace: namespace, ResourceRequest: true}
	}
	url := func(verb, path string) authorizer.AttributesRecord {
		return authorizer.AttributesRecord{Verb: verb, Path: path}
	}
	tests := []struct {
		name, policy string
		user         user.Info
		request      authorizer.AttributesRecord
		allow        bool
	}{
		{"a user reads", beta + `{"user":"joe","readonly":true,"namespace":"a","resource":"pods"}}`, joe, resource("list", "", "pods", "a"), true},
		{"a reader writes", beta + `{"user":"joe","readonly":true,"namespace":"a","resource":"pods"}}`, joe, resource("create", "", "pods", "a"), false},
		{"another namespace", beta + `{"user":"joe","namespace":"a","resource":"pods"}}`, joe, resource("list", "", "pods", "b"), false},
		{"all namespaces", beta + `{"user":"joe","namespace":"*","resource":"pods"}}`, joe, resource("list", "", "pods", ""), true},
		{"another API group", beta + `{"user":"joe","namespace":"*","resource":"*"}}`, joe, resource("list", "apps", "deployments", "b"), false},
		{"every API group", beta + `{"user":"joe","namespace":"*","resource":"*","apiGroup":"*"}}`, joe, resource("list", "apps", "deployments", "b"), true},
		{"a group", beta + `{"group":"crew","nonResourcePath":"/x"}}`, joe, url("post", "/x"), true},
		{"a user who must be in a group", beta + `{"user":"joe","group":"else","nonResourcePath":"/x"}}`, joe, url("get", "/x"), false},
		{"nobody is named", beta + `{"nonResourcePath":"/x"}}`, joe, url("get", "/x"), false},
		{"everybody is who is known", beta + `{"user":"*","nonResourcePath":"*"}}`, joe, url("get", "/x"), true},
		{"everybody is not nobody", beta + `{"group":"*","nonResourcePath":"*"}}`, nobody, url("get", "/x"), false},
		{"a path below", beta + `{"user":"joe","nonResourcePath":"/x/*"}}`, joe, url("get", "/x/y"), true},
		{"a path beside", beta + `{"user":"joe","nonResourcePath":"/x/*"}}`, joe, url("get", "/xy"), false},
		{"no resource by a path", beta + `{"user":"joe","nonResourcePath":"*"}}`, joe, resource("get", "", "pods", "a"), false},
		{"no version, nothing restricted", `{"user":"joe"}`, joe, url("post", "/x"), true},
		{"no version, for nobody in particular", `{"resource":"pods"}`, joe, resource("get", "any", "pods", "a"), true},
		{"no version, a resource", `{"resource":"pods"}`, joe, url("get", "/x"), false},
		{"no version, readonly", `{"readonly":true}`, joe, resource("delete", "", "pods", "a"), false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p, err := read(t, "# a comment", "", test.policy)
			if err != nil {
				t.Fatal(err)
			}
			test.request.User = test.user
			decision, reason, err := p.Authorize(context.Background(), test.request)
			if (decision == authorizer.DecisionAllow) != test.allow || err != nil {
				t.Errorf("%v %q %v", decision, reason, err)
			}
			if !test.allow && reason != "No policy matched." {
				t.Errorf("reason %q", reason)
			}
		})
	}
}

func TestReadRefuses(t *testing.T) {
	for name, line := range map[string]string{
		"what is no JSON":     `{"user":`,
		"an unknown kind":     `{"apiVersion":"abac.authorization.kubernetes.io/v1beta1","kind":"Role","spec":{}}`,
		"an unknown version":  `{"apiVersion":"abac.authorization.kubernetes.io/v9","kind":"Policy","spec":{}}`,
		"a field of its type": beta + `{"readonly":"yes"}}`,
	} {
		if _, err := read(t, line); err == nil || !strings.Contains(err.Error(), "line 1") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestRulesFor(t *testing.T) {
	p, err := read(t, beta+`{"user":"joe","readonly":true,"namespace":"a","resource":"pods"}}`, beta+`{"user":"ann","namespace":"a","resource":"pods"}}`, beta+`{"user":"joe","namespace":"*","nonResourcePath":"/x"}}`)
	if err != nil {
		t.Fatal(err)
	}
	resources, urls, incomplete, err := p.RulesFor(context.Background(), &user.DefaultInfo{Name: "joe"}, "a")
	if len(resources) != 1 || len(urls) != 1 || incomplete || err != nil {
		t.Fatalf("%v %v %v %v", resources, urls, incomplete, err)
	}
	if verbs := resources[0].GetVerbs(); len(verbs) != 3 || urls[0].GetVerbs()[0] != "*" {
		t.Errorf("verbs %v, %v", verbs, urls[0].GetVerbs())
	}
}
