package app

import (
	"context"
	"fmt"
	"os"
	"slices"
	"time"

	"go.uber.org/zap"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/utils/clock"

	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/auth/authn"
	"coracle.local/services/apiserver/internal/auth/authn/jwt"
	"coracle.local/services/apiserver/internal/auth/authn/tokenwebhook"
	"coracle.local/services/apiserver/internal/auth/authz"
	"coracle.local/services/apiserver/internal/auth/token"
)

// Authentication is how callers are recognized beside by certificates, static
// tokens and those of service accounts. The zero value adds nothing.
type Authentication struct {
	// ConfigFile is an AuthenticationConfiguration; empty for none. It is
	// followed: its providers may change while the server runs.
	ConfigFile string
	// OIDC is the one provider that flags can name; it is left out if its
	// issuer is empty, and cannot stand beside a file.
	OIDC OIDC
	// Webhook is asked about tokens that nobody else knows, if it has a file.
	Webhook TokenWebhook
	// BootstrapTokens accepts the tokens of kube-system's Secrets.
	BootstrapTokens bool
	// AnonymousSet says that Config.NoAnonymous was said on purpose: a file
	// that speaks of anonymous requests contradicts it.
	AnonymousSet bool
}

// OIDC is an OpenID provider, by upstream's --oidc flags.
type OIDC struct {
	IssuerURL, ClientID, CAFile   string
	UsernameClaim, UsernamePrefix string
	GroupsClaim, GroupsPrefix     string
	SigningAlgs                   []string
	RequiredClaims                map[string]string
}

// TokenWebhook is a remote service that reviews tokens.
type TokenWebhook struct {
	File, Version string
	CacheTTL      time.Duration
}

// authenticator makes what finds out who calls, and what must run for it. Its
// order is upstream's: what is quick and near comes first.
func (s *server) authenticator(ctx context.Context, id *identity, r auth.Reader) (*authn.Authenticator, error) {
	cfg := &s.cfg
	c := authn.Config{Log: cfg.Log.Named("authn"), Audiences: cfg.Audiences, Anonymous: !cfg.NoAnonymous}
	if err := certificates(cfg, &c); err != nil {
		return nil, err
	}
	if cfg.Loopback != nil {
		c.Tokens = append(c.Tokens, cfg.Loopback)
	}
	if cfg.TokenFile != "" {
		f, err := authn.ReadTokenFile(cfg.TokenFile, cfg.Audiences, cfg.Log)
		if err != nil {
			return nil, err
		}
		c.Tokens = append(c.Tokens, f)
	}
	accounts := token.NewVerifier(cfg.Issuers, id.keys, cfg.Audiences, r, clock.RealClock{})
	accounts.LegacyUsed = s.legacyUsed
	c.Tokens = append(c.Tokens, accounts)
	if cfg.Authentication.BootstrapTokens {
		c.Tokens = append(c.Tokens, &authn.BootstrapTokens{Reader: r, Audiences: cfg.Audiences, Log: c.Log, Clock: clock.RealClock{}})
	}
	if err := id.providers(ctx, cfg, &c); err != nil {
		return nil, err
	}
	if w := cfg.Authentication.Webhook; w.File != "" {
		t, err := tokenwebhook.New(tokenwebhook.Config{Path: w.File, Version: w.Version, TTL: w.CacheTTL, Audiences: cfg.Audiences})
		if err != nil {
			return nil, err
		}
		c.Tokens = append(c.Tokens, t)
	}
	return authn.New(c), nil
}

func certificates(cfg *Config, c *authn.Config) (err error) {
	if len(cfg.ClientCA) > 0 {
		if c.ClientCA, err = pool(cfg.ClientCA, "client CA"); err != nil {
			return err
		}
	}
	h := cfg.RequestHeader
	if h == nil {
		return nil
	}
	ca, err := pool(h.CA, "request header CA")
	if err != nil {
		return err
	}
	c.RequestHeader = &authn.RequestHeader{
		CA: ca, AllowedNames: h.AllowedNames, UsernameHeaders: h.UsernameHeaders, UIDHeaders: h.UIDHeaders,
		GroupHeaders: h.GroupHeaders, ExtraHeaderPrefixes: h.ExtraHeaderPrefixes,
	}
	return nil
}

// providers adds the OpenID providers of a file or of flags, and takes from the
// file who may come without saying who they are.
func (id *identity) providers(ctx context.Context, cfg *Config, c *authn.Config) error {
	o := jwt.Config{Log: c.Log, Audiences: cfg.Audiences, Own: cfg.Issuers}
	var f *jwt.File
	var err error
	switch x := &cfg.Authentication; {
	case x.ConfigFile != "":
		if f, err = jwt.Load(x.ConfigFile, cfg.Issuers); err != nil {
			return err
		}
		if err := anonymous(cfg, c, f.Configuration.Anonymous); err != nil {
			return err
		}
	case x.OIDC.IssuerURL != "":
		f = &jwt.File{}
		o.Algorithms = x.OIDC.SigningAlgs
		if f.Configuration, err = x.OIDC.configuration(); err != nil {
			return err
		}
		if err := jwt.Validate(f.Configuration, cfg.Issuers); err != nil {
			return err
		}
	default:
		return nil
	}
	a, err := jwt.New(ctx, o, f)
	if err != nil {
		return err
	}
	c.Tokens = append(c.Tokens, a)
	id.follow = append(id.follow, a.Run)
	return nil
}

func anonymous(cfg *Config, c *authn.Config, a *apiserver.AnonymousAuthConfig) error {
	if a == nil {
		return nil
	}
	if cfg.Authentication.AnonymousSet {
		return fmt.Errorf("anonymous: Forbidden: --anonymous-auth flag cannot be set when anonymous field is configured in authentication configuration file")
	}
	c.Anonymous = a.Enabled
	for _, condition := range a.Conditions {
		c.AnonymousPaths = append(c.AnonymousPaths, condition.Path)
	}
	return nil
}

// configuration is the provider as a file would describe it.
func (o *OIDC) configuration() (*apiserver.AuthenticationConfiguration, error) {
	prefix := o.UsernamePrefix
	switch {
	case prefix == "-":
		prefix = ""
	case prefix == "" && o.UsernameClaim != "email":
		prefix = o.IssuerURL + "#"
	}
	p := apiserver.JWTAuthenticator{
		Issuer:        apiserver.Issuer{URL: o.IssuerURL, Audiences: []string{o.ClientID}},
		ClaimMappings: apiserver.ClaimMappings{Username: apiserver.PrefixedClaimOrExpression{Prefix: &prefix, Claim: o.UsernameClaim}},
	}
	if o.GroupsClaim != "" {
		p.ClaimMappings.Groups = apiserver.PrefixedClaimOrExpression{Prefix: &o.GroupsPrefix, Claim: o.GroupsClaim}
	}
	if o.CAFile != "" {
		ca, err := os.ReadFile(o.CAFile)
		if err != nil {
			return nil, fmt.Errorf("read --oidc-ca-file: %w", err)
		}
		p.Issuer.CertificateAuthority = string(ca)
	}
	for claim, value := range o.RequiredClaims {
		p.ClaimValidationRules = append(p.ClaimValidationRules, apiserver.ClaimValidationRule{Claim: claim, RequiredValue: value})
	}
	return &apiserver.AuthenticationConfiguration{JWT: []apiserver.JWTAuthenticator{p}}, nil
}

// harden turns anonymous requests off where everything is allowed: they would be
// anybody's at all. It does so against a flag, as upstream does.
func (c *Config) harden() {
	if c.NoAnonymous || !slices.Contains(c.AuthorizationModes, authz.ModeAlwaysAllow) {
		return
	}
	c.Log.Warn("anonymous requests are refused: they cannot be combined with the authorization mode AlwaysAllow",
		zap.Strings("authorizationMode", c.AuthorizationModes))
	c.NoAnonymous = true
}
