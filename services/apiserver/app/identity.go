package app

import (
	"context"
	"crypto"
	"crypto/x509"
	"errors"
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/auth/authz/node"
	"coracle.local/services/apiserver/internal/auth/authz/rbac"
	"coracle.local/services/apiserver/internal/auth/guard"
	"coracle.local/services/apiserver/internal/auth/reviews"
	"coracle.local/services/apiserver/internal/auth/token"
	"coracle.local/services/apiserver/internal/bootstrap"
	"coracle.local/services/apiserver/internal/registry"
)

// identity is all that knows callers and their rights.
type identity struct {
	guard    *guard.Guard
	rbac     *rbac.Authorizer
	issuer   *token.Issuer
	keys     *token.Keys
	reviewer *reviews.Reviewer
	tokens   *token.Requests
	// follow are the configurations that may change while the server runs.
	follow []func(context.Context) error
}

// newIdentity makes all that knows callers. What it starts on its own ends with
// ctx.
func (s *server) newIdentity(ctx context.Context) (*identity, error) {
	cfg, c := &s.cfg, s.cache
	r := reader{c}
	id := &identity{rbac: rbac.New()}
	nodes := node.New(r, bootstrap.NodeRules())
	observe(c, id.rbac)
	observe(c, nodes)
	chain, err := cfg.authorizer(id.rbac, nodes)
	if err != nil {
		return nil, err
	}
	id.follow = append(id.follow, chain.Run)
	if id.issuer, err = token.NewIssuer(cfg.Issuers[0], cfg.SigningKey); err != nil {
		return nil, err
	}
	if id.keys, err = token.NewKeys(append([]crypto.PublicKey{cfg.SigningKey.Public()}, cfg.VerifyKeys...)...); err != nil {
		return nil, err
	}
	authenticator, err := s.authenticator(ctx, id, r)
	if err != nil {
		return nil, err
	}
	id.guard = &guard.Guard{Authenticator: authenticator, Authorizer: chain}
	id.reviewer = &reviews.Reviewer{Authenticator: authenticator, Authorizer: chain, Rules: chain, Audiences: cfg.Audiences}
	id.tokens = &token.Requests{
		Issuer: id.issuer, Audiences: cfg.Audiences, Get: s.live, MaxValidity: cfg.MaxTokenValidity, Extend: !cfg.NoTokenExtension,
	}
	return id, nil
}

func pool(pem []byte, what string) (*x509.CertPool, error) {
	p := x509.NewCertPool()
	if !p.AppendCertsFromPEM(pem) {
		return nil, errors.New("the " + what + " holds no certificate in PEM")
	}
	return p, nil
}

// answers are the reviews and tokens as both fronts ask for them, with
// validating admission on the way.
type answers struct {
	identity *identity
	registry *registry.Registry
}

// Review answers a kind that is a question.
func (a answers) Review(ctx context.Context, k *kinds.Kind, namespace string, obj kinds.Object) (kinds.Object, error) {
	out, err := a.identity.reviewer.Answer(ctx, namespace, obj, func(ctx context.Context, obj kinds.Object) error {
		return a.registry.Admission.Validate(ctx, a.registry.Attributes(ctx, k, namespace, obj.GetName(), "", admission.Create, obj))
	})
	if err != nil {
		return nil, fmt.Errorf("answer %s: %w", k, err)
	}
	return out, nil
}

// Token issues a token for a service account.
func (a answers) Token(ctx context.Context, namespace, account string, r *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
	return a.identity.tokens.Create(ctx, namespace, account, r, func(ctx context.Context, r *authenticationv1.TokenRequest) error {
		k := kinds.For[*corev1.ServiceAccount]()
		attributes := a.registry.Attributes(ctx, k, namespace, account, "token", admission.Create, r)
		if err := a.registry.Admission.Admit(ctx, attributes); err != nil {
			return err
		}
		return a.registry.Admission.Validate(ctx, attributes)
	})
}
