package authn

import (
	"context"

	"k8s.io/apiserver/pkg/authentication/authenticator"
)

// Upstream is a Token of an authenticator made for upstream's server, which
// takes the audiences from the context.
type Upstream struct{ authenticator.Token }

// AuthenticateToken asks the authenticator.
func (u Upstream) AuthenticateToken(ctx context.Context, token string, audiences []string) (*Response, bool, error) {
	if len(audiences) > 0 {
		ctx = authenticator.WithAudiences(ctx, audiences)
	}
	r, ok, err := u.Token.AuthenticateToken(ctx, token)
	if r == nil || !ok || err != nil {
		return nil, false, err
	}
	return &Response{User: r.User, Audiences: r.Audiences}, true, nil
}
