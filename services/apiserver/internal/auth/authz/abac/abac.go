package abac

import (
	"context"
	"slices"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// Policies decide requests: what one of them is for is allowed, about the rest
// they have no opinion.
type Policies []Spec

var (
	_ authorizer.UnconditionalAuthorizer = Policies{}
	_ authorizer.RuleResolver            = Policies{}
)

// Authorize looks for a policy that fits.
func (p Policies) Authorize(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
	for i := range p {
		if p[i].allows(a) {
			return authorizer.DecisionAllow, "", nil
		}
	}
	return authorizer.DecisionNoOpinion, "No policy matched.", nil
}

// RulesFor lists what a user may do in a namespace.
func (p Policies) RulesFor(_ context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	var resources []authorizer.ResourceRuleInfo
	var urls []authorizer.NonResourceRuleInfo
	for i := range p {
		s := &p[i]
		if !s.isFor(u) || !is(s.Namespace, namespace) {
			continue
		}
		verbs := []string{"*"}
		if s.Readonly {
			verbs = []string{"get", "list", "watch"}
		}
		if s.Resource != "" {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{Verbs: verbs, APIGroups: []string{s.APIGroup}, Resources: []string{s.Resource}})
		}
		if s.NonResourcePath != "" {
			urls = append(urls, &authorizer.DefaultNonResourceRuleInfo{Verbs: verbs, NonResourceURLs: []string{s.NonResourcePath}})
		}
	}
	return resources, urls, false, nil
}

func (s *Spec) allows(a authorizer.Attributes) bool {
	if !s.isFor(a.GetUser()) || s.Readonly && !a.IsReadOnly() {
		return false
	}
	if a.IsResourceRequest() {
		return is(s.Namespace, a.GetNamespace()) && is(s.Resource, a.GetResource()) && is(s.APIGroup, a.GetAPIGroup())
	}
	return s.path(a.GetPath())
}

// isFor tells whether a user is meant. One who is named must be that user and,
// if a group is named too, in it; a policy that names nobody is for nobody.
func (s *Spec) isFor(u user.Info) bool {
	if u == nil || s.User == "" && s.Group == "" {
		return false
	}
	return (s.User == "" || is(s.User, u.GetName())) && (s.Group == "" || s.Group == "*" || slices.Contains(u.GetGroups(), s.Group))
}

func (s *Spec) path(path string) bool {
	if is(s.NonResourcePath, path) {
		return true
	}
	return strings.HasSuffix(s.NonResourcePath, "*") && strings.HasPrefix(path, strings.TrimRight(s.NonResourcePath, "*"))
}

func is(pattern, value string) bool { return pattern == "*" || pattern == value }
