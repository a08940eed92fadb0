// Package authz decides whether a request may be made: it asks the modes of
// --authorization-mode in their order until one has an opinion.
package authz

import (
	"context"
	"errors"
	"strings"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/services/apiserver/internal/auth"
)

// The modes that can be given, in upstream's spelling.
const (
	ModeABAC        = "ABAC"
	ModeAlwaysAllow = "AlwaysAllow"
	ModeAlwaysDeny  = "AlwaysDeny"
	ModeNode        = "Node"
	ModeRBAC        = "RBAC"
	ModeWebhook     = "Webhook"
)

// Modes are all of them.
func Modes() []string {
	return []string{ModeAlwaysAllow, ModeAlwaysDeny, ModeABAC, ModeWebhook, ModeRBAC, ModeNode}
}

// Mode decides requests, and tells what a user may do.
type Mode interface {
	authorizer.UnconditionalAuthorizer
	authorizer.RuleResolver
}

// Chain asks its modes in order. Members of system:masters are allowed
// everything before any is asked.
type Chain struct {
	modes []Named
}

// Named is one mode of a chain. A refusal gives its reason after the name.
type Named struct {
	Name string
	Mode Mode
}

var _ Mode = (*Chain)(nil)

// Of makes a chain.
func Of(modes ...Named) *Chain { return &Chain{modes: modes} }

// Always is a mode that needs to know nothing; nil for one that does.
func Always(name string) Mode {
	switch name {
	case ModeAlwaysAllow:
		return always{authorizer.DecisionAllow, ""}
	case ModeAlwaysDeny:
		return always{authorizer.DecisionNoOpinion, "Everything is forbidden."}
	}
	return nil
}

// Authorize returns the first decision that is an opinion.
func (c *Chain) Authorize(ctx context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	u := a.GetUser()
	if u == nil {
		return authorizer.DecisionNoOpinion, "", errors.New("no user on request")
	}
	if auth.Privileged(u) {
		return authorizer.DecisionAllow, "", nil
	}
	var reasons []string
	var errs []error
	for _, m := range c.modes {
		decision, reason, err := m.Mode.Authorize(ctx, a)
		if decision != authorizer.DecisionNoOpinion {
			return decision, reason, err
		}
		if reason != "" {
			reasons = append(reasons, m.Name+": "+reason)
		}
		if err != nil {
			errs = append(errs, err)
		}
	}
	return authorizer.DecisionNoOpinion, strings.Join(reasons, "\n"), utilerrors.NewAggregate(errs)
}

// RulesFor gathers the rules of all modes.
func (c *Chain) RulesFor(ctx context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	var resources []authorizer.ResourceRuleInfo
	var urls []authorizer.NonResourceRuleInfo
	var errs []error
	incomplete := false
	for _, m := range c.modes {
		r, n, i, err := m.Mode.RulesFor(ctx, u, namespace)
		resources, urls, incomplete = append(resources, r...), append(urls, n...), incomplete || i
		if err != nil {
			errs = append(errs, err)
		}
	}
	return resources, urls, incomplete, utilerrors.NewAggregate(errs)
}

// always gives the same answer to everybody.
type always struct {
	decision authorizer.Decision
	reason   string
}

func (m always) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return m.decision, m.reason, nil
}

func (m always) RulesFor(context.Context, user.Info, string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	if m.decision != authorizer.DecisionAllow {
		return nil, nil, false, nil
	}
	all := []string{"*"}
	return []authorizer.ResourceRuleInfo{&authorizer.DefaultResourceRuleInfo{Verbs: all, APIGroups: all, Resources: all}},
		[]authorizer.NonResourceRuleInfo{&authorizer.DefaultNonResourceRuleInfo{Verbs: all, NonResourceURLs: all}}, false, nil
}
