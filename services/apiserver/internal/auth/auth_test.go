package auth

import (
	"context"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

func TestForbidden(t *testing.T) {
	u := &user.DefaultInfo{Name: "x"}
	tests := []struct {
		name, reason, want string
		attributes         authorizer.AttributesRecord
	}{
		{
			name:       "namespaced",
			attributes: authorizer.AttributesRecord{User: u, Verb: "list", Resource: "pods", Namespace: "y", ResourceRequest: true},
			want:       `pods is forbidden: User "x" cannot list resource "pods" in API group "" in the namespace "y"`,
		},
		{
			name:       "one object of a group, with a reason",
			attributes: authorizer.AttributesRecord{User: u, Verb: "get", Resource: "deployments", Subresource: "scale", APIGroup: "apps", Name: "d", Namespace: "y", ResourceRequest: true},
			reason:     "rbac: why",
			want:       `deployments.apps "d" is forbidden: User "x" cannot get resource "deployments/scale" in API group "apps" in the namespace "y": rbac: why`,
		},
		{
			name:       "cluster",
			attributes: authorizer.AttributesRecord{User: u, Verb: "list", Resource: "nodes", ResourceRequest: true},
			want:       `nodes is forbidden: User "x" cannot list resource "nodes" in API group "" at the cluster scope`,
		},
		{
			name:       "path",
			attributes: authorizer.AttributesRecord{User: u, Verb: "get", Path: "/metrics"},
			want:       `forbidden: User "x" cannot get path "/metrics"`,
		},
		{
			name:       "markup",
			attributes: authorizer.AttributesRecord{User: &user.DefaultInfo{Name: "<b>"}, Verb: "get", Path: "/&"},
			want:       `forbidden: User "&lt;b&gt;" cannot get path "/&amp;"`,
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if got := Forbidden(test.attributes, test.reason).Error(); got != test.want {
				t.Errorf("got  %s\nwant %s", got, test.want)
			}
		})
	}
}

func TestNodeName(t *testing.T) {
	tests := []struct {
		name   string
		user   user.Info
		node   string
		isNode bool
	}{
		{"kubelet", &user.DefaultInfo{Name: "system:node:a", Groups: []string{"system:nodes"}}, "a", true},
		{"without a name", &user.DefaultInfo{Name: "system:node:", Groups: []string{"system:nodes"}}, "", true},
		{"not in the group", &user.DefaultInfo{Name: "system:node:a"}, "", false},
		{"another name", &user.DefaultInfo{Name: "a", Groups: []string{"system:nodes"}}, "", false},
		{"nobody", nil, "", false},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if node, ok := NodeName(test.user); node != test.node || ok != test.isNode {
				t.Errorf("got %q %v", node, ok)
			}
		})
	}
}

func TestUserInContext(t *testing.T) {
	if User(context.Background()) != nil {
		t.Error("a user out of nothing")
	}
	if u := User(WithUser(context.Background(), &user.DefaultInfo{Name: "x"})); u == nil || u.GetName() != "x" {
		t.Errorf("got %v", u)
	}
}
