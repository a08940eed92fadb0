// Package reviews answers the kinds that are questions: who is this, and what
// may they do. A review comes in, and goes out with its status filled.
package reviews

import (
	"context"
	"errors"
	"fmt"
	"slices"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/clock"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/auth/authn"
)

// Reviewer answers reviews. It is safe for concurrent use.
type Reviewer struct {
	Authenticator *authn.Authenticator
	Authorizer    authorizer.UnconditionalAuthorizer
	Rules         authorizer.RuleResolver
	// Audiences are this server's, the default of a TokenReview.
	Audiences []string
	Clock     clock.PassiveClock // optional
}

// Answers tells whether objects of the kind are questions for Answer.
func Answers(k *kinds.Kind) bool {
	switch k.Group {
	case authenticationv1.GroupName:
		return k.Kind == "TokenReview" || k.Kind == "SelfSubjectReview"
	case authorizationv1.GroupName:
		return slices.Contains([]string{
			"SubjectAccessReview", "SelfSubjectAccessReview", "LocalSubjectAccessReview", "SelfSubjectRulesReview",
		}, k.Kind)
	}
	return false
}

// Answer returns the review with its status filled; the argument is not
// modified. Namespace is that of the request's URL; the user who asks is in
// the context. Admit is validating admission, run on the valid review, and
// may be nil.
func (r *Reviewer) Answer(ctx context.Context, namespace string, review kinds.Object, admit func(context.Context, kinds.Object) error) (kinds.Object, error) {
	review, ok := review.DeepCopyObject().(kinds.Object)
	if !ok {
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a review: %T", review))
	}
	asker := auth.User(ctx)
	if asker == nil {
		return nil, apierrors.NewBadRequest("no user present on request")
	}
	if err := check(namespace, review); err != nil {
		return nil, err
	}
	if admit != nil {
		if err := admit(ctx, review); err != nil {
			return nil, err
		}
	}
	switch o := review.(type) {
	case *authorizationv1.SubjectAccessReview:
		o.Status = r.decide(ctx, specAttributes(&o.Spec))
	case *authorizationv1.LocalSubjectAccessReview:
		o.Status = r.decide(ctx, specAttributes(&o.Spec))
	case *authorizationv1.SelfSubjectAccessReview:
		o.Status = r.decide(ctx, attributes(asker, o.Spec.ResourceAttributes, o.Spec.NonResourceAttributes))
	case *authorizationv1.SelfSubjectRulesReview:
		return r.rules(ctx, asker, o.Spec.Namespace), nil
	case *authenticationv1.SelfSubjectReview:
		return r.self(asker), nil
	case *authenticationv1.TokenReview:
		return review, r.token(ctx, o)
	default:
		return nil, apierrors.NewBadRequest(fmt.Sprintf("not a review: %T", review))
	}
	return review, nil
}

func (r *Reviewer) decide(ctx context.Context, a authorizer.AttributesRecord) authorizationv1.SubjectAccessReviewStatus {
	decision, reason, err := r.Authorizer.Authorize(ctx, a)
	return authorizationv1.SubjectAccessReviewStatus{
		Allowed:         decision == authorizer.DecisionAllow,
		Denied:          decision == authorizer.DecisionDeny,
		Reason:          reason,
		EvaluationError: evaluationError(err, a),
	}
}

func (r *Reviewer) rules(ctx context.Context, u user.Info, namespace string) *authorizationv1.SelfSubjectRulesReview {
	resources, urls, incomplete, err := r.Rules.RulesFor(ctx, u, namespace)
	out := &authorizationv1.SelfSubjectRulesReview{Status: authorizationv1.SubjectRulesReviewStatus{
		ResourceRules:    make([]authorizationv1.ResourceRule, len(resources)),
		NonResourceRules: make([]authorizationv1.NonResourceRule, len(urls)),
		Incomplete:       incomplete,
	}}
	for i, rule := range resources {
		out.Status.ResourceRules[i] = authorizationv1.ResourceRule{
			Verbs: rule.GetVerbs(), APIGroups: rule.GetAPIGroups(), Resources: rule.GetResources(), ResourceNames: rule.GetResourceNames(),
		}
	}
	for i, rule := range urls {
		out.Status.NonResourceRules[i] = authorizationv1.NonResourceRule{Verbs: rule.GetVerbs(), NonResourceURLs: rule.GetNonResourceURLs()}
	}
	if err != nil {
		out.Status.EvaluationError = err.Error()
	}
	return out
}

func (r *Reviewer) self(u user.Info) *authenticationv1.SelfSubjectReview {
	c := r.Clock
	if c == nil {
		c = clock.RealClock{}
	}
	return &authenticationv1.SelfSubjectReview{
		ObjectMeta: metav1.ObjectMeta{CreationTimestamp: metav1.NewTime(c.Now())},
		Status:     authenticationv1.SelfSubjectReviewStatus{UserInfo: userInfo(u)},
	}
}

var errInvalid = errors.New("invalid bearer token")

func (r *Reviewer) token(ctx context.Context, review *authenticationv1.TokenReview) error {
	audiences := review.Spec.Audiences
	if len(audiences) == 0 {
		audiences = r.Audiences
	}
	response, ok, err := r.Authenticator.AuthenticateToken(ctx, review.Spec.Token, audiences)
	review.Status.Authenticated = ok
	switch {
	case err != nil:
		// Upstream's server has a token for itself, which this one was not.
		review.Status.Error = utilerrors.NewAggregate([]error{errInvalid, err}).Error()
	case !ok:
		review.Status.Error = errInvalid.Error()
	}
	if response == nil {
		return nil
	}
	if len(audiences) > 0 && len(authn.Audiences(audiences, response.Audiences)) == 0 {
		return apierrors.NewInternalError(errors.New("error validating audiences"))
	}
	review.Status.User, review.Status.Audiences = userInfo(response.User), response.Audiences
	return nil
}

func userInfo(u user.Info) authenticationv1.UserInfo {
	extra := make(map[string]authenticationv1.ExtraValue, len(u.GetExtra()))
	for key, values := range u.GetExtra() {
		extra[key] = values
	}
	return authenticationv1.UserInfo{Username: u.GetName(), UID: u.GetUID(), Groups: u.GetGroups(), Extra: extra}
}
