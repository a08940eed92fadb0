package reviews_test

import (
	"context"
	"slices"
	"strings"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/auth/authn"
	"coracle.local/services/apiserver/internal/auth/authtest"
	"coracle.local/services/apiserver/internal/auth/authz/rbac"
	"coracle.local/services/apiserver/internal/auth/reviews"
)

type oneToken struct{}

func (oneToken) AuthenticateToken(_ context.Context, token string, audiences []string) (*authn.Response, bool, error) {
	if token != "good" {
		return nil, false, nil
	}
	return &authn.Response{User: &user.DefaultInfo{Name: "robot", UID: "1", Groups: []string{"g"}, Extra: map[string][]string{"a": {"b"}}}, Audiences: audiences}, true, nil
}

func reviewer() *reviews.Reviewer {
	a := rbac.New()
	authtest.New(
		&rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: "orange", Name: "r"}, Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}, APIGroups: []string{""}, Resources: []string{"pods"}}}},
		&rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: "orange", Name: "b"}, RoleRef: rbacv1.RoleRef{Kind: "Role", Name: "r"},
			Subjects: []rbacv1.Subject{{Kind: "User", Name: "alice"}},
		},
	).Watch(a)
	return &reviews.Reviewer{
		Authenticator: authn.New(authn.Config{Tokens: []authn.Token{oneToken{}}, Audiences: []string{"api"}}),
		Authorizer:    a, Rules: a, Audiences: []string{"api"},
	}
}

func pods(verb, namespace string) *authorizationv1.ResourceAttributes {
	return &authorizationv1.ResourceAttributes{Verb: verb, Namespace: namespace, Resource: "pods"}
}

func TestAccessReviews(t *testing.T) {
	selector := pods("get", "orange")
	selector.FieldSelector = &authorizationv1.FieldSelectorAttributes{Requirements: []metav1.FieldSelectorRequirement{{Key: "a", Operator: "Resembles", Values: []string{"b"}}}}
	both := authorizationv1.SubjectAccessReviewSpec{User: "alice", ResourceAttributes: pods("get", "orange"), NonResourceAttributes: &authorizationv1.NonResourceAttributes{}}
	tests := []struct {
		name      string
		asker     string
		namespace string
		review    kinds.Object
		allowed   bool
		reason    string
		refusal   string
	}{
		{
			name: "subject", asker: "x", review: &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "alice", ResourceAttributes: pods("get", "orange")}},
			allowed: true, reason: `RBAC: allowed by RoleBinding "b/orange" of Role "r" to User "alice"`,
		},
		{name: "subject refused", asker: "x", review: &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{User: "alice", ResourceAttributes: pods("get", "blue")}}},
		{name: "self", asker: "alice", review: &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: selector}}, allowed: true},
		{name: "another self", asker: "bob", review: &authorizationv1.SelfSubjectAccessReview{Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: pods("get", "orange")}}},
		{
			name: "local", asker: "x", namespace: "orange",
			review: &authorizationv1.LocalSubjectAccessReview{
				ObjectMeta: metav1.ObjectMeta{Namespace: "orange"}, Spec: authorizationv1.SubjectAccessReviewSpec{User: "alice", ResourceAttributes: pods("get", "orange")},
			},
			allowed: true,
		},
		{
			name: "local of another namespace", asker: "x", namespace: "blue",
			review: &authorizationv1.LocalSubjectAccessReview{
				ObjectMeta: metav1.ObjectMeta{Namespace: "orange"}, Spec: authorizationv1.SubjectAccessReviewSpec{User: "alice", ResourceAttributes: pods("get", "orange")},
			},
			refusal: "spec.resourceAttributes.namespace must match namespace: blue",
		},
		{name: "two questions", asker: "x", review: &authorizationv1.SubjectAccessReview{Spec: both}, refusal: "exactly one of nonResourceAttributes or resourceAttributes must be specified"},
		{name: "nobody", asker: "x", review: &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{ResourceAttributes: pods("get", "orange")}}, refusal: `.authorization.k8s.io "" is invalid: spec.user: Invalid value: "": at least one of user or group must be specified`},
		{
			name: "with a name", asker: "x", review: &authorizationv1.SelfSubjectAccessReview{
				ObjectMeta: metav1.ObjectMeta{Name: "n"}, Spec: authorizationv1.SelfSubjectAccessReviewSpec{ResourceAttributes: pods("get", "orange")},
			},
			refusal: "must be empty",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx := auth.WithUser(context.Background(), authtest.User(test.asker))
			before := test.review.DeepCopyObject()
			got, err := reviewer().Answer(ctx, test.namespace, test.review, nil)
			if test.refusal != "" {
				if err == nil || !strings.Contains(err.Error(), test.refusal) {
					t.Errorf("got  %v\nwant %s", err, test.refusal)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			var status authorizationv1.SubjectAccessReviewStatus
			switch o := got.(type) {
			case *authorizationv1.SubjectAccessReview:
				status = o.Status
			case *authorizationv1.SelfSubjectAccessReview:
				status = o.Status
			case *authorizationv1.LocalSubjectAccessReview:
				status = o.Status
			}
			if status.Allowed != test.allowed || status.Denied || (test.reason != "" && status.Reason != test.reason) {
				t.Errorf("status %+v", status)
			}
			if test.name == "self" && status.EvaluationError != "spec.resourceAttributes.fieldSelector ignored due to parse error" {
				t.Errorf("evaluation error %q", status.EvaluationError)
			}
			if before.(kinds.Object).Size() != test.review.Size() {
				t.Error("the question was modified")
			}
		})
	}
}

func TestOtherReviews(t *testing.T) {
	ctx := auth.WithUser(context.Background(), authtest.User("alice", "devs"))
	r := reviewer()
	t.Run("rules", func(t *testing.T) {
		got, err := r.Answer(ctx, "", &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: "orange"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		status := got.(*authorizationv1.SelfSubjectRulesReview).Status
		if len(status.ResourceRules) != 1 || status.ResourceRules[0].Resources[0] != "pods" || status.NonResourceRules == nil || status.Incomplete {
			t.Errorf("status %+v", status)
		}
		if _, err := r.Answer(ctx, "", &authorizationv1.SelfSubjectRulesReview{}, nil); err == nil || err.Error() != "no namespace on request" {
			t.Error(err)
		}
	})
	t.Run("self", func(t *testing.T) {
		got, err := r.Answer(ctx, "", &authenticationv1.SelfSubjectReview{}, nil)
		if err != nil {
			t.Fatal(err)
		}
		o := got.(*authenticationv1.SelfSubjectReview)
		if o.Status.UserInfo.Username != "alice" || len(o.Status.UserInfo.Groups) != 2 || o.CreationTimestamp.IsZero() {
			t.Errorf("answer %+v", o)
		}
	})
	t.Run("token", func(t *testing.T) {
		ask := func(spec authenticationv1.TokenReviewSpec) authenticationv1.TokenReviewStatus {
			got, err := r.Answer(ctx, "", &authenticationv1.TokenReview{Spec: spec}, nil)
			if err != nil {
				t.Fatal(err)
			}
			return got.(*authenticationv1.TokenReview).Status
		}
		if s := ask(authenticationv1.TokenReviewSpec{Token: "good"}); !s.Authenticated || s.User.Username != "robot" || s.Audiences[0] != "api" || s.User.Extra["a"][0] != "b" || !slices.Contains(s.User.Groups, user.AllAuthenticated) {
			t.Errorf("status %+v", s)
		}
		if s := ask(authenticationv1.TokenReviewSpec{Token: "bad"}); s.Authenticated || s.Error != "invalid bearer token" {
			t.Errorf("status %+v", s)
		}
		if _, err := r.Answer(ctx, "", &authenticationv1.TokenReview{}, nil); err == nil || err.Error() != "token is required for TokenReview in authentication" {
			t.Error(err)
		}
	})
	t.Run("what is a review", func(t *testing.T) {
		n := 0
		for _, k := range kinds.All() {
			if reviews.Answers(k) {
				n++
			}
		}
		if n != 6 {
			t.Errorf("%d kinds", n)
		}
	})
}
