// Package authz decides whether a request may be made: it asks the modes of
// --authorization-mode in their order until one has an opinion.
package authz

import (
	"context"
	"errors"
	"fmt"
	"strings"

	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/services/apiserver/internal/auth"
)

// The modes that can be given, in upstream's spelling.
const (
	ModeAlwaysAllow = "AlwaysAllow"
	ModeAlwaysDeny  = "AlwaysDeny"
	ModeNode        = "Node"
	ModeRBAC        = "RBAC"
)

// Mode decides requests, and tells what a user may do.
type Mode interface {
	authorizer.UnconditionalAuthorizer
	authorizer.RuleResolver
}

// Chain asks its modes in order. Members of system:masters are allowed
// everything before any is asked.
type Chain struct {
	modes []named
}

type named struct {
	name string
	mode Mode
}

var _ Mode = (*Chain)(nil)

// NewChain makes a chain of the named modes. RBAC and Node are the ones to
// use where those are named.
func NewChain(names []string, rbac, node Mode) (*Chain, error) {
	if len(names) == 0 {
		return nil, errors.New("at least one authorization-mode must be passed")
	}
	c := &Chain{}
	seen := map[string]bool{}
	for _, name := range names {
		if seen[name] {
			return nil, fmt.Errorf("authorization-mode %q has mode specified more than once", names)
		}
		seen[name] = true
		var mode Mode
		switch name {
		case ModeAlwaysAllow:
			mode = always{authorizer.DecisionAllow, ""}
		case ModeAlwaysDeny:
			mode = always{authorizer.DecisionNoOpinion, "Everything is forbidden."}
		case ModeRBAC:
			mode = rbac
		case ModeNode:
			mode = node
		default:
			return nil, fmt.Errorf("authorization-mode %q is not a valid mode", name)
		}
		// A refusal names the modes in lower case, as upstream's does.
		c.modes = append(c.modes, named{strings.ToLower(name), mode})
	}
	return c, nil
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
		decision, reason, err := m.mode.Authorize(ctx, a)
		if decision != authorizer.DecisionNoOpinion {
			return decision, reason, err
		}
		if reason != "" {
			reasons = append(reasons, m.name+": "+reason)
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
		r, n, i, err := m.mode.RulesFor(ctx, u, namespace)
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
