// Package configuration makes the chain of authorization that flags or an
// AuthorizationConfiguration describe, and makes it anew when that changes.
package configuration

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"reflect"
	"strings"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"
	"k8s.io/apiserver/pkg/util/filesystem"

	"coracle.local/services/apiserver/internal/auth/authz"
	"coracle.local/services/apiserver/internal/auth/authz/abac"
)

// Config says how requests are authorized: by Path, or by what stands under it.
type Config struct {
	Log *zap.Logger
	// Path is an AuthorizationConfiguration, which is followed; empty for none.
	Path string

	Modes      []string
	PolicyFile string // of mode ABAC
	Webhook    Webhook

	// RBAC and Node decide where those modes are named.
	RBAC, Node authz.Mode
}

// poll is how often the file is read where the system does not tell of changes.
const poll = time.Minute

// Authorizer decides by the newest version of the configuration.
type Authorizer struct {
	config   Config
	compiler authorizationcel.Compiler // made for a file alone: it is not light
	policies abac.Policies
	// fixed are the modes that every version must have: what they know is
	// gathered from the start.
	fixed   sets.Set[string]
	present *apiserver.AuthorizationConfiguration
	data    []byte
	chain   atomic.Pointer[authz.Chain]
}

var _ authz.Mode = (*Authorizer)(nil)

// New returns an authorizer, or says what is wrong with the configuration.
func New(c Config) (*Authorizer, error) {
	a := &Authorizer{config: c, fixed: sets.New[string]()}
	if err := a.first(); err != nil {
		return nil, err
	}
	for _, x := range a.present.Authorizers {
		if string(x.Type) != authz.ModeWebhook {
			a.fixed.Insert(string(x.Type))
		}
	}
	if a.fixed.Has(authz.ModeABAC) {
		var err error
		if a.policies, err = abac.Read(c.PolicyFile, c.Log); err != nil {
			return nil, err
		}
	}
	chain, err := a.make(a.present)
	if err != nil {
		return nil, err
	}
	a.chain.Store(chain)
	return a, nil
}

func (a *Authorizer) first() (err error) {
	if a.config.Path == "" {
		a.present = a.config.flags()
		return a.config.check()
	}
	if a.data, err = os.ReadFile(a.config.Path); err != nil {
		return err
	}
	a.compiler = authorizationcel.NewDefaultCompiler()
	a.present, err = parse(a.data, a.compiler, nil)
	return err
}

// flags are the configuration that the flags amount to.
func (c *Config) flags() *apiserver.AuthorizationConfiguration {
	out := &apiserver.AuthorizationConfiguration{}
	for _, mode := range c.Modes {
		// A refusal names the mode in lower case.
		x := apiserver.AuthorizerConfiguration{Type: apiserver.AuthorizerType(mode), Name: strings.ToLower(mode)}
		if mode == authz.ModeWebhook {
			x.Name, x.Webhook = "default", c.Webhook.configuration()
		}
		out.Authorizers = append(out.Authorizers, x)
	}
	return out
}

func (a *Authorizer) make(c *apiserver.AuthorizationConfiguration) (*authz.Chain, error) {
	modes := make([]authz.Named, 0, len(c.Authorizers))
	for _, x := range c.Authorizers {
		mode := string(x.Type)
		named := authz.Named{Name: x.Name, Mode: authz.Always(mode)}
		var err error
		switch {
		case mode == authz.ModeWebhook:
			named.Mode, err = remote(x.Name, x.Webhook, a.compiler)
		case named.Mode != nil:
		case !a.fixed.Has(mode):
			err = fmt.Errorf("authorizer type %s is not allowed if it was not enabled at initial server startup", mode)
		case mode == authz.ModeABAC:
			named.Mode = a.policies
		case mode == authz.ModeRBAC:
			named.Mode = a.config.RBAC
		case mode == authz.ModeNode:
			named.Mode = a.config.Node
		}
		if err != nil {
			return nil, err
		}
		modes = append(modes, named)
	}
	return authz.Of(modes...), nil
}

// Authorize decides by the present chain.
func (a *Authorizer) Authorize(ctx context.Context, attributes authorizer.Attributes) (authorizer.Decision, string, error) {
	return a.chain.Load().Authorize(ctx, attributes)
}

// RulesFor gathers the rules of the present chain.
func (a *Authorizer) RulesFor(ctx context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	return a.chain.Load().RulesFor(ctx, u, namespace)
}

// Run follows the file until ctx ends. A version with a mistake is logged, and
// the former one goes on.
func (a *Authorizer) Run(ctx context.Context) error {
	if a.config.Path == "" {
		<-ctx.Done()
		return nil
	}
	log := a.config.Log.With(zap.String("file", a.config.Path))
	filesystem.WatchUntil(ctx, poll, a.config.Path, func() {
		switch changed, err := a.reload(); {
		case err != nil:
			log.Error("authorization configuration is not taken over", zap.Error(err))
		case changed:
			log.Info("authorization configuration changed")
		}
	}, func(err error) { log.Warn("authorization configuration is not followed well", zap.Error(err)) })
	return nil
}

func (a *Authorizer) reload() (changed bool, err error) {
	data, err := os.ReadFile(a.config.Path)
	if err != nil || bytes.Equal(data, a.data) {
		return false, err
	}
	a.data = data
	c, err := parse(data, a.compiler, a.fixed)
	if err != nil || reflect.DeepEqual(c, a.present) {
		return false, err
	}
	chain, err := a.make(c)
	if err != nil {
		return false, err
	}
	a.present = c
	a.chain.Store(chain)
	return true, nil
}
