// Package guard stands before every request of both fronts: it finds out who
// calls, whom they act as, and whether they may.
package guard

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/services/apiserver/internal/audit"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/auth/authn"
	"coracle.local/services/apiserver/internal/auth/impersonation"
)

// Guard is the one chain of authentication and authorization.
type Guard struct {
	Authenticator *authn.Authenticator
	Authorizer    authorizer.UnconditionalAuthorizer

	impersonation impersonation.Memory
}

// Admit returns the context of a request that may go on, with its user. The
// attributes come without a user. An error is one for the client:
// Unauthorized, Forbidden, or a bad impersonation.
func (g *Guard) Admit(ctx context.Context, c authn.Credentials, a authorizer.AttributesRecord) (context.Context, error) {
	u, err := g.Identify(ctx, c, a)
	if err != nil {
		return nil, err
	}
	a.User = u
	decision, reason, err := g.Authorizer.Authorize(ctx, a)
	audit.Decide(ctx, decision, reason, err)
	if err := refusal(a, decision, reason, err); err != nil {
		return nil, err
	}
	return auth.WithUser(ctx, u), nil
}

// Identify returns who makes the request, after impersonation.
func (g *Guard) Identify(ctx context.Context, c authn.Credentials, a authorizer.AttributesRecord) (user.Info, error) {
	u, err := g.Authenticator.Authenticate(ctx, c)
	if err != nil {
		audit.Refuse(ctx, a)
		return nil, err
	}
	if err := audit.Begin(ctx, u, a); err != nil {
		return nil, err
	}
	wanted, err := impersonation.FromHeader(c.Header)
	if wanted == nil || err != nil {
		return u, err
	}
	a.User = u
	return g.impersonation.As(ctx, g.Authorizer, a, wanted)
}

// Authorize returns nil if the request may be made, else the Forbidden error.
func (g *Guard) Authorize(ctx context.Context, a authorizer.AttributesRecord) error {
	decision, reason, err := g.Authorizer.Authorize(ctx, a)
	return refusal(a, decision, reason, err)
}

// refusal is the error of what authorization does not allow.
func refusal(a authorizer.AttributesRecord, decision authorizer.Decision, reason string, err error) error {
	switch {
	case decision == authorizer.DecisionAllow:
		return nil
	case err != nil:
		// Who decides could not: no fault of the caller's, whatever it says.
		return apierrors.NewInternalError(fmt.Errorf("authorize request: %w", err))
	}
	return auth.Forbidden(a, reason)
}
