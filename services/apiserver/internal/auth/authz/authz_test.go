package authz_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/services/apiserver/internal/auth/authtest"
	"coracle.local/services/apiserver/internal/auth/authz"
)

type fixed struct {
	decision authorizer.Decision
	reason   string
	err      error
}

func (f fixed) Authorize(context.Context, authorizer.Attributes) (authorizer.Decision, string, error) {
	return f.decision, f.reason, f.err
}

func (f fixed) RulesFor(context.Context, user.Info, string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	return []authorizer.ResourceRuleInfo{&authorizer.DefaultResourceRuleInfo{}}, nil, f.err != nil, f.err
}

// chain is one of the named modes, as flags would make it.
func chain(names []string, rbac, node authz.Mode) *authz.Chain {
	var modes []authz.Named
	for _, name := range names {
		mode := map[string]authz.Mode{"RBAC": rbac, "Node": node}[name]
		if mode == nil {
			mode = authz.Always(name)
		}
		modes = append(modes, authz.Named{Name: strings.ToLower(name), Mode: mode})
	}
	return authz.Of(modes...)
}

func TestChain(t *testing.T) {
	allow := fixed{decision: authorizer.DecisionAllow, reason: "yes"}
	deny := fixed{decision: authorizer.DecisionDeny, reason: "never"}
	silent := fixed{decision: authorizer.DecisionNoOpinion}
	because := fixed{decision: authorizer.DecisionNoOpinion, reason: "because"}
	broken := fixed{decision: authorizer.DecisionNoOpinion, err: errors.New("broken")}
	tests := []struct {
		name       string
		modes      []string
		rbac, node authz.Mode
		user       user.Info
		decision   authorizer.Decision
		reason     string
		fails      bool
	}{
		{name: "the first opinion counts", modes: []string{"Node", "RBAC"}, node: allow, rbac: deny, user: authtest.User("x"), decision: authorizer.DecisionAllow, reason: "yes"},
		{name: "in the order given", modes: []string{"RBAC", "Node"}, node: allow, rbac: deny, user: authtest.User("x"), decision: authorizer.DecisionDeny, reason: "never"},
		{name: "reasons are gathered", modes: []string{"Node", "RBAC"}, node: because, rbac: because, user: authtest.User("x"), decision: authorizer.DecisionNoOpinion, reason: "node: because\nrbac: because"},
		{name: "silence", modes: []string{"Node", "RBAC"}, node: silent, rbac: silent, user: authtest.User("x"), decision: authorizer.DecisionNoOpinion},
		{name: "an error does not hinder another", modes: []string{"Node", "RBAC"}, node: broken, rbac: allow, user: authtest.User("x"), decision: authorizer.DecisionAllow, reason: "yes"},
		{name: "an error", modes: []string{"Node"}, node: broken, user: authtest.User("x"), decision: authorizer.DecisionNoOpinion, fails: true},
		{name: "masters are not asked about", modes: []string{"AlwaysDeny"}, user: authtest.Admin(), decision: authorizer.DecisionAllow},
		{name: "always deny", modes: []string{"AlwaysDeny"}, user: authtest.User("x"), decision: authorizer.DecisionNoOpinion, reason: "alwaysdeny: Everything is forbidden."},
		{name: "always allow", modes: []string{"AlwaysAllow"}, user: authtest.User("x"), decision: authorizer.DecisionAllow},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c := chain(test.modes, test.rbac, test.node)
			decision, reason, err := c.Authorize(context.Background(), authorizer.AttributesRecord{User: test.user})
			if decision != test.decision || reason != test.reason || (err != nil) != test.fails {
				t.Errorf("got %v %q %v", decision, reason, err)
			}
		})
	}
}

func TestChainRules(t *testing.T) {
	c := chain([]string{"Node", "RBAC", "AlwaysAllow"}, fixed{}, fixed{err: errors.New("cannot say")})
	resources, urls, incomplete, err := c.RulesFor(context.Background(), authtest.User("x"), "a")
	if len(resources) != 3 || len(urls) != 1 || !incomplete || err == nil {
		t.Errorf("got %d %d %v %v", len(resources), len(urls), incomplete, err)
	}
}
