package rbac

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apiserver/pkg/authorization/authorizer"
)

// RuleSet is a list of rules arranged by what they are about, so that a
// decision looks only at the rules that can apply.
type RuleSet struct {
	rules []rbacv1.PolicyRule
	// byResource has each rule under every resource it names, "*" and
	// "*/scale" among them.
	byResource map[string][]*rbacv1.PolicyRule
	urls       []*rbacv1.PolicyRule
}

// Compile arranges rules. They are kept, not copied.
func Compile(rules []rbacv1.PolicyRule) *RuleSet {
	s := &RuleSet{rules: rules, byResource: make(map[string][]*rbacv1.PolicyRule, len(rules))}
	for i := range rules {
		r := &rules[i]
		for _, resource := range r.Resources {
			s.byResource[resource] = append(s.byResource[resource], r)
		}
		if len(r.NonResourceURLs) > 0 {
			s.urls = append(s.urls, r)
		}
	}
	return s
}

// Allows tells whether one of the rules permits the request.
func (s *RuleSet) Allows(a authorizer.Attributes) bool {
	r := newRequest(a)
	return s.allows(&r)
}

// request holds the attributes of a request, so that the rules do not ask for
// them through an interface again and again.
type request struct {
	resourceRequest bool
	verb, group     string
	// resource is "pods" or "pods/status", anyResource "*/status".
	resource, anyResource string
	name, path            string
}

func newRequest(a authorizer.Attributes) request {
	r := request{resourceRequest: a.IsResourceRequest(), verb: a.GetVerb()}
	if !r.resourceRequest {
		r.path = a.GetPath()
		return r
	}
	r.group, r.resource, r.name = a.GetAPIGroup(), a.GetResource(), a.GetName()
	if sub := a.GetSubresource(); sub != "" {
		r.resource += "/" + sub
		r.anyResource = "*/" + sub
	}
	return r
}

func (s *RuleSet) allows(r *request) bool {
	if !r.resourceRequest {
		for _, rule := range s.urls {
			if matches(rule.Verbs, r.verb) && matchesURL(rule.NonResourceURLs, r.path) {
				return true
			}
		}
		return false
	}
	if allowsResource(s.byResource[r.resource], r) || allowsResource(s.byResource[rbacv1.ResourceAll], r) {
		return true
	}
	return r.anyResource != "" && allowsResource(s.byResource[r.anyResource], r)
}

func allowsResource(rules []*rbacv1.PolicyRule, r *request) bool {
	for _, rule := range rules {
		if matches(rule.Verbs, r.verb) && matches(rule.APIGroups, r.group) && matchesName(rule.ResourceNames, r.name) {
			return true
		}
	}
	return false
}

func matches(list []string, s string) bool {
	for _, v := range list {
		if v == "*" || v == s {
			return true
		}
	}
	return false
}

func matchesName(names []string, name string) bool {
	if len(names) == 0 {
		return true
	}
	for _, v := range names {
		if v == name {
			return true
		}
	}
	return false
}

func matchesURL(urls []string, path string) bool {
	for _, url := range urls {
		if url == rbacv1.NonResourceAll || url == path {
			return true
		}
		if strings.HasSuffix(url, "*") && strings.HasPrefix(path, strings.TrimRight(url, "*")) {
			return true
		}
	}
	return false
}
