// Package authn finds out who makes a request: by client certificate, bearer
// token, or the word of a trusted front proxy.
package authn

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"net/http"
	"slices"
	"strings"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/warning"
	"k8s.io/utils/clock"

	"coracle.local/services/apiserver/internal/auth/recent"
)

// Credentials are what a request brings along.
type Credentials struct {
	// Local is who calls from within this process, over a connection that
	// nobody else can open. Nothing else is looked at if it is set.
	Local user.Info
	// Certs are the client's certificates as presented, its own first. They
	// are verified here, not by the transport, since two authorities count.
	Certs []*x509.Certificate
	// Token is the bearer token, empty if there is none.
	Token string
	// Header has the names that a front proxy may set.
	Header http.Header
	// Path is that of the URL, upon which it may depend whether nobody in
	// particular may ask; empty over gRPC.
	Path string
}

// Response is an identity, and for which of the asked audiences it holds.
type Response struct {
	User      user.Info
	Audiences []string
}

// Token recognizes bearer tokens. Ok is false for a token that is not of its
// making; an error is about one that is, and does not hold.
type Token interface {
	AuthenticateToken(ctx context.Context, token string, audiences []string) (r *Response, ok bool, err error)
}

// Config is what an Authenticator trusts.
type Config struct {
	Log *zap.Logger // optional
	// ClientCA verifies client certificates; nil for none.
	ClientCA *x509.CertPool
	// RequestHeader is the trusted front proxy; nil for none.
	RequestHeader *RequestHeader
	// Tokens are asked in order.
	Tokens []Token
	// Audiences are those of this server: what a token must be for.
	Audiences []string
	// Anonymous lets requests without credentials in as system:anonymous. It
	// is for authorization to say what that user may do.
	Anonymous bool
	// AnonymousPaths are those to which that is restricted; empty for all.
	AnonymousPaths []string
	Clock          clock.PassiveClock // optional
}

const (
	// tokenTTL is how long a verified token is taken without looking again;
	// upstream's figure. What it is bound to may have gone meanwhile.
	tokenTTL       = 10 * time.Second
	rememberTokens = 4096
	rememberCerts  = 4096
)

// Authenticator finds out who makes a request. It is safe for concurrent use.
type Authenticator struct {
	config  Config
	clients *certificates
	proxies *certificates
	tokens  *recent.Cache[[sha256.Size]byte, *known]
}

// New returns an authenticator.
func New(c Config) *Authenticator {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Log == nil {
		c.Log = zap.NewNop()
	}
	a := &Authenticator{config: c, tokens: recent.New[[sha256.Size]byte, *known](rememberTokens)}
	if c.ClientCA != nil {
		a.clients = newCertificates(c.ClientCA)
	}
	if c.RequestHeader != nil {
		a.proxies = newCertificates(c.RequestHeader.CA)
	}
	return a
}

// Authenticate returns who makes a request, with the group
// system:authenticated, or an Unauthorized error. Credentials that are there
// and not valid are an error, never anonymous.
func (a *Authenticator) Authenticate(ctx context.Context, c Credentials) (user.Info, error) {
	if c.Local != nil {
		return authenticated(c.Local), nil
	}
	u, err := a.identify(ctx, c)
	switch {
	case u != nil:
		return authenticated(u), nil
	case err != nil:
		a.config.Log.Debug("unable to authenticate the request", zap.Error(err))
	case a.config.Anonymous && (len(a.config.AnonymousPaths) == 0 || slices.Contains(a.config.AnonymousPaths, c.Path)):
		return &user.DefaultInfo{Name: user.Anonymous, Groups: []string{user.AllUnauthenticated}}, nil
	}
	return nil, apierrors.NewUnauthorized("Unauthorized")
}

// identify tries the ways in upstream's order. An error of one is forgotten if
// a later one succeeds.
func (a *Authenticator) identify(ctx context.Context, c Credentials) (user.Info, error) {
	var errs []error
	now := a.config.Clock.Now()
	if a.proxies != nil && len(c.Certs) > 0 {
		u, err := a.config.RequestHeader.identify(a.proxies, c, now)
		if u != nil {
			return u, nil
		}
		errs = append(errs, err)
	}
	if a.clients != nil && len(c.Certs) > 0 {
		u, err := a.clients.verify(c.Certs, now)
		if u != nil {
			return u, nil
		}
		errs = append(errs, err)
	}
	if c.Token != "" && len(a.config.Tokens) > 0 {
		r, ok, err := a.AuthenticateToken(ctx, c.Token, a.config.Audiences)
		if ok {
			return r.User, nil
		}
		if err == nil {
			err = errors.New("invalid bearer token")
		}
		errs = append(errs, err)
	}
	return nil, utilerrors.NewAggregate(errs)
}

// known is a token that was verified, and what its user was told then: each
// request hears it.
type known struct {
	response *Response
	warnings warnings
}

// AuthenticateToken asks for whom a token is, for the audiences; TokenReview
// answers with it.
func (a *Authenticator) AuthenticateToken(ctx context.Context, token string, audiences []string) (*Response, bool, error) {
	key := tokenKey(token, audiences)
	now := a.config.Clock.Now()
	if k, ok := a.tokens.Get(key, now); ok {
		k.warnings.tell(ctx)
		return k.response, true, nil
	}
	k := &known{}
	err := a.ask(warning.WithWarningRecorder(ctx, &k.warnings), k, token, audiences)
	k.warnings.tell(ctx)
	if k.response == nil {
		return nil, false, err
	}
	a.tokens.Put(key, k, now.Add(tokenTTL))
	return k.response, true, nil
}

// ask asks in turn. An error of one is forgotten if a later one knows the token.
func (a *Authenticator) ask(ctx context.Context, k *known, token string, audiences []string) error {
	var errs []error
	for _, t := range a.config.Tokens {
		r, ok, err := t.AuthenticateToken(ctx, token, audiences)
		if ok {
			k.response = &Response{User: authenticated(r.User), Audiences: r.Audiences}
			return nil
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return utilerrors.NewAggregate(errs)
}

// warnings are heard in the course of one verification.
type warnings []string

// AddWarning implements warning.Recorder.
func (w *warnings) AddWarning(_, text string) { *w = append(*w, text) }

func (w warnings) tell(ctx context.Context) {
	for _, text := range w {
		warning.AddWarning(ctx, "", text)
	}
}

// tokenKey is a digest, so that no token stays in memory for being cached.
func tokenKey(token string, audiences []string) [sha256.Size]byte {
	h := sha256.New()
	_, _ = h.Write([]byte(token))
	for _, audience := range audiences {
		_, _ = h.Write([]byte{0})
		_, _ = h.Write([]byte(audience))
	}
	var out [sha256.Size]byte
	h.Sum(out[:0])
	return out
}

func authenticated(u user.Info) user.Info {
	groups := u.GetGroups()
	if u.GetName() == user.Anonymous || slices.Contains(groups, user.AllAuthenticated) || slices.Contains(groups, user.AllUnauthenticated) {
		return u
	}
	return &user.DefaultInfo{
		Name: u.GetName(), UID: u.GetUID(), Extra: u.GetExtra(),
		Groups: append(slices.Clip(groups), user.AllAuthenticated),
	}
}

// Audiences returns those of a that are in b too.
func Audiences(a, b []string) []string {
	var out []string
	for _, audience := range a {
		if slices.Contains(b, audience) {
			out = append(out, audience)
		}
	}
	return out
}

// BearerToken returns the token of an Authorization header's value, empty if
// it is none.
func BearerToken(authorization string) string {
	scheme, rest, ok := strings.Cut(strings.TrimSpace(authorization), " ")
	if !ok || !strings.EqualFold(scheme, "bearer") {
		return ""
	}
	token, _, _ := strings.Cut(rest, " ")
	return token
}
