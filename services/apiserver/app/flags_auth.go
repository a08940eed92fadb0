package app

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"coracle.local/libs/pki"
	"coracle.local/services/apiserver/internal/auth/authz"
)

// authFlags are the flags of who may call, and what they may do.
type authFlags struct {
	fs *pflag.FlagSet

	accountKeys []string
	signingKey  string
	issuers     []string
	lookup      bool
	audiences   []string
	tokenFile   string
	anonymous   bool
	modes       []string
	keysURI     string
	maxValidity time.Duration
	extend      bool
	claims      []string
	authn       Authentication
	authz       Authorization
	headerCA    string
	header      RequestHeader
}

func (f *authFlags) add(fs *pflag.FlagSet) {
	f.fs = fs
	f.addAccounts(fs)
	f.addTokens(fs)
	f.addAuthorization(fs)
	f.addHeaders(fs)
}

func (f *authFlags) addAccounts(fs *pflag.FlagSet) {
	fs.StringArrayVar(&f.accountKeys, "service-account-key-file", nil, "keys that verify service account tokens, beside that of --service-account-signing-key-file")
	fs.StringVar(&f.signingKey, "service-account-signing-key-file", "", "the key that signs service account tokens")
	fs.StringArrayVar(&f.issuers, "service-account-issuer", []string{DefaultIssuer}, "issuers of service account tokens; the first is this server's")
	fs.StringVar(&f.keysURI, "service-account-jwks-uri", "", "where others find the keys that verify service account tokens (default: this server)")
	fs.BoolVar(&f.lookup, "service-account-lookup", true, "look whether the Secret of a token still exists")
	fs.DurationVar(&f.maxValidity, "service-account-max-token-expiration", 0, "the longest validity of a service account token that is asked for")
	fs.BoolVar(&f.extend, "service-account-extend-token-expiration", true, "give the tokens that admission puts into pods a year, for programs that do not renew them")
	fs.StringSliceVar(&f.audiences, "api-audiences", nil, "audiences of this server (default: the issuers)")
}

func (f *authFlags) addTokens(fs *pflag.FlagSet) {
	fs.StringVar(&f.tokenFile, "token-auth-file", "", "a CSV file of static tokens")
	fs.BoolVar(&f.anonymous, "anonymous-auth", true, "let requests without credentials in as system:anonymous")
	fs.StringVar(&f.authn.ConfigFile, "authentication-config", "", "an AuthenticationConfiguration of OpenID providers and of anonymous requests; it is followed")
	fs.BoolVar(&f.authn.BootstrapTokens, "enable-bootstrap-token-auth", false, "accept the tokens of kube-system's Secrets of type bootstrap.kubernetes.io/token")

	o := &f.authn.OIDC
	fs.StringVar(&o.IssuerURL, "oidc-issuer-url", "", "the URL of an OpenID provider, by https")
	fs.StringVar(&o.ClientID, "oidc-client-id", "", "for whom the provider's tokens must be")
	fs.StringVar(&o.CAFile, "oidc-ca-file", "", "the authority of the provider's certificate (default: the host's)")
	fs.StringVar(&o.UsernameClaim, "oidc-username-claim", "sub", "the claim that names the user")
	fs.StringVar(&o.UsernamePrefix, "oidc-username-prefix", "", "what is put before the user's name; - for nothing (default: the issuer, except before an email)")
	fs.StringVar(&o.GroupsClaim, "oidc-groups-claim", "", "the claim that names the groups")
	fs.StringVar(&o.GroupsPrefix, "oidc-groups-prefix", "", "what is put before groups")
	fs.StringSliceVar(&o.SigningAlgs, "oidc-signing-algs", []string{"RS256"}, "how the provider may sign")
	fs.StringArrayVar(&f.claims, "oidc-required-claim", nil, "key=value that a token must have; repeat it for more")

	w := &f.authn.Webhook
	fs.StringVar(&w.File, "authentication-token-webhook-config-file", "", "a kubeconfig of a service that reviews tokens")
	fs.StringVar(&w.Version, "authentication-token-webhook-version", "v1beta1", "the version of TokenReview to send it")
	fs.DurationVar(&w.CacheTTL, "authentication-token-webhook-cache-ttl", 2*time.Minute, "how long its answers are believed")
}

func (f *authFlags) addAuthorization(fs *pflag.FlagSet) {
	fs.StringSliceVar(&f.modes, "authorization-mode", nil, "how requests are authorized, in order: "+strings.Join(authz.Modes(), ", ")+" (default: AlwaysAllow, without --authorization-config)")
	fs.StringVar(&f.authz.ConfigFile, "authorization-config", "", "an AuthorizationConfiguration, in place of the other --authorization flags; it is followed")
	fs.StringVar(&f.authz.PolicyFile, "authorization-policy-file", "", "the policies of mode ABAC")
	w := &f.authz.Webhook
	fs.StringVar(&w.File, "authorization-webhook-config-file", "", "a kubeconfig of the service of mode Webhook")
	fs.StringVar(&w.Version, "authorization-webhook-version", "v1beta1", "the version of SubjectAccessReview to send it")
	fs.DurationVar(&w.AuthorizedTTL, "authorization-webhook-cache-authorized-ttl", 5*time.Minute, "how long a permission is believed")
	fs.DurationVar(&w.UnauthorizedTTL, "authorization-webhook-cache-unauthorized-ttl", 30*time.Second, "how long a refusal is believed")
}

func (f *authFlags) addHeaders(fs *pflag.FlagSet) {
	fs.StringVar(&f.headerCA, "requestheader-client-ca-file", "", "the authority of a proxy in front that has authenticated clients")
	fs.StringSliceVar(&f.header.AllowedNames, "requestheader-allowed-names", nil, "common names that the proxy's certificate may have (default: any)")
	fs.StringSliceVar(&f.header.UsernameHeaders, "requestheader-username-headers", nil, "headers that name the user")
	fs.StringSliceVar(&f.header.UIDHeaders, "requestheader-uid-headers", nil, "headers with the user's UID")
	fs.StringSliceVar(&f.header.GroupHeaders, "requestheader-group-headers", nil, "headers that name the user's groups")
	fs.StringSliceVar(&f.header.ExtraHeaderPrefixes, "requestheader-extra-headers-prefix", nil, "prefixes of headers with further facts")
}

// apply checks the flags against each other, and hands them on.
func (f *authFlags) apply(cfg *Config) error {
	for _, check := range []func() error{f.checkOIDC, f.checkAuthorization, f.checkHeaders, f.checkIssuers} {
		if err := check(); err != nil {
			return err
		}
	}
	if len(f.modes) == 0 && f.authz.ConfigFile == "" {
		f.modes = []string{authz.ModeAlwaysAllow}
	}
	f.authn.AnonymousSet = f.fs.Changed("anonymous-auth")
	cfg.Issuers, cfg.Audiences, cfg.TokenFile, cfg.NoAnonymous = f.issuers, f.audiences, f.tokenFile, !f.anonymous
	cfg.KeysURI, cfg.MaxTokenValidity, cfg.NoTokenExtension = f.keysURI, f.maxValidity, !f.extend
	cfg.Authentication, cfg.Authorization, cfg.AuthorizationModes = f.authn, f.authz, f.modes
	if !f.lookup {
		cfg.Log.Warn("--service-account-lookup=false is ignored: whether the Secret of a token exists costs nothing to see")
	}
	return nil
}

func (f *authFlags) checkOIDC() error {
	o := &f.authn.OIDC
	given := false
	f.fs.Visit(func(x *pflag.Flag) { given = given || strings.HasPrefix(x.Name, "oidc-") })
	switch {
	case given && f.authn.ConfigFile != "":
		return errors.New("authentication-config file and oidc-* flags are mutually exclusive")
	case given && (o.IssuerURL == "" || o.ClientID == ""):
		return errors.New("oidc-issuer-url and oidc-client-id must be specified together when any oidc-* flags are set")
	}
	for _, claim := range f.claims {
		key, value, ok := strings.Cut(claim, "=")
		if !ok {
			return fmt.Errorf("malformed pair, expect string=string: --oidc-required-claim=%s", claim)
		}
		if o.RequiredClaims == nil {
			o.RequiredClaims = map[string]string{}
		}
		o.RequiredClaims[strings.TrimSpace(key)] = strings.TrimSpace(value)
	}
	return nil
}

func (f *authFlags) checkAuthorization() error {
	if f.authz.ConfigFile == "" {
		return nil
	}
	for _, name := range []string{
		"authorization-mode", "authorization-webhook-config-file", "authorization-webhook-version",
		"authorization-webhook-cache-authorized-ttl", "authorization-webhook-cache-unauthorized-ttl",
	} {
		if f.fs.Changed(name) {
			return errors.New("--authorization-config can not be specified when --authorization-mode or --authorization-webhook-* flags are defined")
		}
	}
	return nil
}

func (f *authFlags) checkHeaders() error {
	for _, list := range []struct {
		flag   string
		values []string
	}{
		{"requestheader-username-headers", f.header.UsernameHeaders},
		{"requestheader-group-headers", f.header.GroupHeaders},
		{"requestheader-extra-headers-prefix", f.header.ExtraHeaderPrefixes},
		{"requestheader-allowed-names", f.header.AllowedNames},
		{"requestheader-uid-headers", f.header.UIDHeaders},
	} {
		if slices.ContainsFunc(list.values, func(v string) bool { return strings.TrimSpace(v) == "" }) {
			return fmt.Errorf("empty value in %q", list.flag)
		}
	}
	uid := f.header.UIDHeaders
	if len(uid) > 0 && !slices.ContainsFunc(uid, func(h string) bool { return strings.EqualFold(h, "X-Remote-Uid") }) {
		return errors.New("--requestheader-uid-headers is set without specifying the standard X-Remote-Uid header - API aggregation will not work")
	}
	return nil
}

func (f *authFlags) checkIssuers() error {
	seen := map[string]bool{}
	for _, issuer := range f.issuers {
		switch {
		case issuer == "":
			return errors.New("service-account-issuer should not be an empty string")
		case seen[issuer]:
			return fmt.Errorf("service-account-issuer %q is already specified", issuer)
		}
		seen[issuer] = true
	}
	return nil
}

// overlap tells whether two bundles have a certificate in common.
func overlap(a, b []byte) bool {
	of, err := pki.ParseCertificates(a)
	if err != nil {
		return false
	}
	with, err := pki.ParseCertificates(b)
	if err != nil {
		return false
	}
	return slices.ContainsFunc(of, func(c *x509.Certificate) bool { return slices.ContainsFunc(with, c.Equal) })
}
