package configuration

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/apis/apiserver"
	"k8s.io/apiserver/pkg/apis/apiserver/load"
	"k8s.io/apiserver/pkg/apis/apiserver/validation"
	authorizationcel "k8s.io/apiserver/pkg/authorization/cel"

	"coracle.local/services/apiserver/internal/auth/authz"
)

// parse reads an AuthorizationConfiguration and says what is wrong with it. The
// modes in required must be in it.
func parse(data []byte, compiler authorizationcel.Compiler, required sets.Set[string]) (*apiserver.AuthorizationConfiguration, error) {
	c, err := load.LoadFromData(data)
	if err != nil {
		return nil, fmt.Errorf("failed to load AuthorizationConfiguration from file: %w", err)
	}
	errs := validation.ValidateAuthorizationConfiguration(compiler, nil, c, sets.New(authz.Modes()...), sets.New(authz.ModeWebhook))
	if len(errs) > 0 {
		return nil, errs.ToAggregate()
	}
	var wrong []error
	seen := sets.New[string]()
	for _, a := range c.Authorizers {
		mode := string(a.Type)
		if mode == authz.ModeWebhook {
			continue
		}
		seen.Insert(mode)
		if want := strings.ToLower(mode); a.Name != want {
			wrong = append(wrong, fmt.Errorf("expected name %s for authorizer %s instead of %s", want, mode, a.Name))
		}
	}
	if missing := required.Difference(seen); missing.Len() > 0 {
		wrong = append(wrong, fmt.Errorf("missing required types: %v", sets.List(missing)))
	}
	return c, utilerrors.NewAggregate(wrong)
}

// check says what is wrong with the flags, in upstream's words.
func (c *Config) check() error {
	if len(c.Modes) == 0 {
		return errors.New("at least one authorization-mode must be passed")
	}
	var errs []error
	add := func(wrong bool, format string, args ...any) {
		if wrong {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	for _, mode := range c.Modes {
		add(!slices.Contains(authz.Modes(), mode), "authorization-mode %q is not a valid mode", mode)
		add(mode == authz.ModeABAC && c.PolicyFile == "", "authorization-mode ABAC's authorization policy file not passed")
		add(mode == authz.ModeWebhook && c.Webhook.Path == "", "authorization-mode Webhook's authorization config file not passed")
	}
	add(c.PolicyFile != "" && !slices.Contains(c.Modes, authz.ModeABAC), "cannot specify --authorization-policy-file without mode ABAC")
	add(c.Webhook.Path != "" && !slices.Contains(c.Modes, authz.ModeWebhook), "cannot specify --authorization-webhook-config-file without mode Webhook")
	add(sets.New(c.Modes...).Len() != len(c.Modes), "authorization-mode %q has mode specified more than once", c.Modes)
	return utilerrors.NewAggregate(errs)
}
