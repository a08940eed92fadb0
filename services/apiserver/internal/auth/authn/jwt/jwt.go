// Package jwt recognizes tokens of OpenID providers, which are named by flags or
// by an AuthenticationConfiguration that is read again when it changes.
package jwt

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/authenticator"
	tokenunion "k8s.io/apiserver/pkg/authentication/token/union"
	"k8s.io/apiserver/pkg/util/filesystem"
	"k8s.io/apiserver/plugin/pkg/authenticator/token/oidc"

	"coracle.local/services/apiserver/internal/auth/authn"
)

// Config says whose tokens are accepted.
type Config struct {
	Log *zap.Logger
	// Algorithms may sign a token; nil is every one that is safe.
	Algorithms []string
	// Audiences are this server's; a token is good for all of them.
	Audiences []string
	// Own are the issuers of service account tokens, which no provider may be.
	Own []string
}

const (
	// poll is how often the file is read where the system does not tell of
	// changes.
	poll = time.Minute
	// awaited is how long new providers may take until they can verify; the
	// former ones serve meanwhile.
	awaited, retried = time.Minute, time.Second
	// outlives is how long former providers are kept for requests on their way.
	outlives = time.Minute
)

// Authenticator recognizes tokens of the configured providers.
type Authenticator struct {
	config Config
	file   *File
	// life bounds what the providers do on their own: reading their keys.
	life    context.Context
	current atomic.Pointer[generation]
}

// generation is the providers of one version of the configuration.
type generation struct {
	token  authn.Token
	checks []func() error
	stop   context.CancelFunc
}

var _ authn.Token = (*Authenticator)(nil)

// New returns an authenticator of a valid configuration. Its providers are asked
// for their keys until ctx ends, from now on: a server is not held up by them.
func New(ctx context.Context, c Config, f *File) (*Authenticator, error) {
	if c.Algorithms == nil {
		c.Algorithms = oidc.AllValidSigningAlgorithms()
	}
	a := &Authenticator{config: c, life: ctx, file: f}
	g, err := a.generation(f.Configuration)
	if err != nil {
		return nil, err
	}
	a.current.Store(g)
	return a, nil
}

func (a *Authenticator) generation(c *apiserver.AuthenticationConfiguration) (*generation, error) {
	ctx, stop := context.WithCancel(a.life)
	g := &generation{stop: stop}
	var tokens []authenticator.Token
	for _, provider := range c.JWT {
		o := oidc.Options{JWTAuthenticator: provider, SupportedSigningAlgs: a.config.Algorithms, DisallowedIssuers: a.config.Own}
		if ca := provider.Issuer.CertificateAuthority; ca != "" {
			o.CAContentProvider = bundle(ca)
		}
		t, err := oidc.New(ctx, o)
		if err != nil {
			stop()
			return nil, err
		}
		tokens, g.checks = append(tokens, t), append(g.checks, t.HealthCheck)
	}
	g.token = authn.Upstream{Token: authenticator.WrapAudienceAgnosticToken(a.config.Audiences, tokenunion.NewFailOnError(tokens...))}
	return g, nil
}

// bundle is certificates in PEM as the providers read them.
type bundle []byte

func (b bundle) CurrentCABundleContent() []byte { return b }

func (g *generation) healthy() error {
	var errs []error
	for _, check := range g.checks {
		if err := check(); err != nil {
			errs = append(errs, err)
		}
	}
	return utilerrors.NewAggregate(errs)
}

// AuthenticateToken asks the present providers.
func (a *Authenticator) AuthenticateToken(ctx context.Context, token string, audiences []string) (*authn.Response, bool, error) {
	return a.current.Load().token.AuthenticateToken(ctx, token, audiences)
}

// Run follows the file until ctx ends. A version with a mistake is logged, and
// the former one goes on.
func (a *Authenticator) Run(ctx context.Context) error {
	if a.file.path == "" {
		<-ctx.Done()
		return nil
	}
	filesystem.WatchUntil(ctx, poll, a.file.path, func() {
		switch changed, err := a.reload(ctx); {
		case err != nil:
			a.config.Log.Error("authentication configuration is not taken over", zap.String("file", a.file.path), zap.Error(err))
		case changed:
			a.config.Log.Info("authentication configuration changed", zap.String("file", a.file.path))
		}
	}, func(err error) {
		a.config.Log.Warn("authentication configuration is not followed well", zap.String("file", a.file.path), zap.Error(err))
	})
	return nil
}

func (a *Authenticator) reload(ctx context.Context) (changed bool, err error) {
	data, err := os.ReadFile(a.file.path)
	if err != nil || bytes.Equal(data, a.file.data) {
		return false, err
	}
	c, err := decode(data)
	if err == nil {
		err = Validate(c, a.config.Own)
	}
	if err == nil {
		err = a.file.same(c)
	}
	if err != nil {
		a.file.data = data // It will never be right: there is no use in trying again.
		return false, err
	}
	next, err := a.generation(c)
	if err != nil {
		return false, err
	}
	if err := next.await(ctx); err != nil {
		next.stop()
		return false, err
	}
	a.file.data = data
	former := a.current.Swap(next)
	time.AfterFunc(outlives, former.stop)
	return true, nil
}

// await returns once the providers can verify tokens.
func (g *generation) await(ctx context.Context) error {
	ctx, stop := context.WithTimeout(ctx, awaited)
	defer stop()
	tick := time.NewTicker(retried)
	defer tick.Stop()
	for {
		err := g.healthy()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("the providers are not ready: %w", err)
		}
	}
}
