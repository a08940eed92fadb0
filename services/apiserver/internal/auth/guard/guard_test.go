package guard_test

import (
	"context"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/auth/authn"
	"coracle.local/services/apiserver/internal/auth/authz"
	"coracle.local/services/apiserver/internal/auth/authz/rbac"
	"coracle.local/services/apiserver/internal/auth/guard"
)

func TestAdmit(t *testing.T) {
	chain := authz.Of(authz.Named{Name: "rbac", Mode: rbac.New()})
	g := &guard.Guard{Authenticator: authn.New(authn.Config{}), Authorizer: chain}
	admin := &user.DefaultInfo{Name: "admin", Groups: []string{user.SystemPrivilegedGroup}}
	alice := &user.DefaultInfo{Name: "alice"}
	as := http.Header{"Impersonate-User": {"alice"}}
	tests := []struct {
		name        string
		credentials authn.Credentials
		user        string
		is          func(error) bool
		message     string
	}{
		{name: "nobody", is: apierrors.IsUnauthorized, message: "Unauthorized"},
		{name: "an administrator", credentials: authn.Credentials{Local: admin}, user: "admin"},
		{name: "a user", credentials: authn.Credentials{Local: alice}, is: apierrors.IsForbidden, message: `pods is forbidden: User "alice" cannot list resource "pods" in API group "" in the namespace "y"`},
		{name: "as a user", credentials: authn.Credentials{Local: admin, Header: as}, is: apierrors.IsForbidden, message: `pods is forbidden: User "alice" cannot list resource "pods" in API group "" in the namespace "y"`},
		{name: "as nobody", credentials: authn.Credentials{Local: admin, Header: http.Header{"Impersonate-Uid": {"1"}}}, is: apierrors.IsBadRequest},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx, err := g.Admit(context.Background(), test.credentials, authorizer.AttributesRecord{
				Verb: "list", Resource: "pods", Namespace: "y", ResourceRequest: true,
			})
			if test.is != nil {
				if !test.is(err) || (test.message != "" && err.Error() != test.message) {
					t.Errorf("got %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if u := auth.User(ctx); u.GetName() != test.user {
				t.Errorf("user %q", u.GetName())
			}
		})
	}
}

// TestWhoDecidesCannot meets an authorizer that fails: that is no fault of the
// caller's, whatever the error is.
func TestWhoDecidesCannot(t *testing.T) {
	broken := authorizer.AuthorizerFunc(func(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
		return authorizer.DecisionNoOpinion, "", apierrors.NewBadRequest("out of order")
	})
	g := &guard.Guard{Authenticator: authn.New(authn.Config{}), Authorizer: broken}
	_, err := g.Admit(context.Background(), authn.Credentials{Local: &user.DefaultInfo{Name: "alice"}}, authorizer.AttributesRecord{Verb: "get", Path: "/x"})
	if !apierrors.IsInternalError(err) {
		t.Errorf("%v", err)
	}
}
