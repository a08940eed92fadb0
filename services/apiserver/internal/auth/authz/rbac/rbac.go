// Package rbac decides requests by the roles and bindings that the cluster
// holds, from an index that the cache keeps up to date.
package rbac

import (
	"context"
	"fmt"
	"sync"

	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
)

// Authorizer decides by RBAC. It is an auth.Observer of roles and bindings;
// New starts it empty, when it allows nothing.
type Authorizer struct {
	mu    sync.RWMutex
	roles map[objectKey]*RuleSet
	// bindings by their own name, and the grants they make by subject: a
	// decision looks up the user and each group, and never walks all bindings.
	bindings map[objectKey]*binding
	grants   map[subjectKey][]grant
}

var (
	_ authorizer.UnconditionalAuthorizer = (*Authorizer)(nil)
	_ authorizer.RuleResolver            = (*Authorizer)(nil)
	_ auth.Observer                      = (*Authorizer)(nil)
)

// New returns an authorizer that knows no role yet.
func New() *Authorizer {
	return &Authorizer{
		roles:    map[objectKey]*RuleSet{},
		bindings: map[objectKey]*binding{},
		grants:   map[subjectKey][]grant{},
	}
}

// Watches names the kinds the authorizer decides by.
func (a *Authorizer) Watches() []*kinds.Kind {
	return []*kinds.Kind{
		kinds.For[*rbacv1.ClusterRole](), kinds.For[*rbacv1.Role](),
		kinds.For[*rbacv1.ClusterRoleBinding](), kinds.For[*rbacv1.RoleBinding](),
	}
}

// Observe takes a change of a role or a binding into the index.
func (a *Authorizer) Observe(c auth.Change) {
	key := objectKey{c.Namespace, c.Name}
	if c.Object == nil {
		a.mu.Lock()
		defer a.mu.Unlock()
		switch c.Kind.Kind {
		case "ClusterRole", "Role":
			delete(a.roles, key)
		default:
			a.removeBinding(key)
		}
		return
	}
	object := c.Object()
	a.mu.Lock()
	defer a.mu.Unlock()
	switch o := object.(type) {
	case *rbacv1.ClusterRole:
		a.roles[key] = Compile(o.Rules)
	case *rbacv1.Role:
		a.roles[key] = Compile(o.Rules)
	case *rbacv1.ClusterRoleBinding:
		a.removeBinding(key)
		a.addBinding(&binding{key: key, ref: o.RoleRef, subjects: o.Subjects})
	case *rbacv1.RoleBinding:
		a.removeBinding(key)
		a.addBinding(&binding{key: key, ref: o.RoleRef, subjects: o.Subjects})
	}
}

// Authorize allows what a rule allows and has no opinion about the rest.
func (a *Authorizer) Authorize(_ context.Context, attributes authorizer.Attributes) (authorizer.Decision, string, error) {
	r := newRequest(attributes)
	u, namespace := attributes.GetUser(), attributes.GetNamespace()
	a.mu.RLock()
	defer a.mu.RUnlock()
	allowed, reason := false, ""
	a.visit(u, namespace, func(g *grant) bool {
		rules := a.roles[g.binding.roleKey()]
		if rules != nil && rules.allows(&r) {
			allowed, reason = true, a.earliest(u, g).reason
		}
		return !allowed
	})
	if allowed {
		return authorizer.DecisionAllow, reason, nil
	}
	// A binding to a role that is not there is why somebody's access may be
	// missing; it is looked for only now that the request is refused.
	if errs := a.danglingRoles(u, namespace); len(errs) > 0 {
		reason = fmt.Sprintf("RBAC: %v", utilerrors.NewAggregate(errs))
	}
	return authorizer.DecisionNoOpinion, reason, nil
}

// Rules returns every rule that applies to a user in a namespace, or outside
// of namespaces if it is empty. The error names the roles that are bound and
// do not exist; the rules are valid all the same.
func (a *Authorizer) Rules(u user.Info, namespace string) ([]rbacv1.PolicyRule, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	var out []rbacv1.PolicyRule
	seen := map[*binding]bool{}
	a.visit(u, namespace, func(g *grant) bool {
		if rules := a.roles[g.binding.roleKey()]; rules != nil && !seen[g.binding] {
			seen[g.binding] = true
			out = append(out, rules.rules...)
		}
		return true
	})
	return out, utilerrors.NewAggregate(a.danglingRoles(u, namespace))
}

// RoleRules returns the rules of the role that a binding in namespace (none
// for a cluster role binding) refers to.
func (a *Authorizer) RoleRules(ref rbacv1.RoleRef, namespace string) ([]rbacv1.PolicyRule, error) {
	a.mu.RLock()
	defer a.mu.RUnlock()
	b := &binding{key: objectKey{namespace: namespace}, ref: ref}
	if rules := a.roles[b.roleKey()]; rules != nil {
		return rules.rules, nil
	}
	switch ref.Kind {
	case "ClusterRole":
		return nil, apierrors.NewNotFound(rbacResource("clusterroles"), ref.Name)
	case "Role":
		return nil, apierrors.NewNotFound(rbacResource("roles"), ref.Name)
	}
	return nil, fmt.Errorf("unsupported role reference kind: %q", ref.Kind)
}

// RulesFor lists a user's rules for SelfSubjectRulesReview.
func (a *Authorizer) RulesFor(_ context.Context, u user.Info, namespace string) ([]authorizer.ResourceRuleInfo, []authorizer.NonResourceRuleInfo, bool, error) {
	rules, err := a.Rules(u, namespace)
	var resources []authorizer.ResourceRuleInfo
	var urls []authorizer.NonResourceRuleInfo
	for i := range rules {
		r := &rules[i]
		if len(r.Resources) > 0 {
			resources = append(resources, &authorizer.DefaultResourceRuleInfo{
				Verbs: r.Verbs, APIGroups: r.APIGroups, Resources: r.Resources, ResourceNames: r.ResourceNames,
			})
		}
		if len(r.NonResourceURLs) > 0 {
			urls = append(urls, &authorizer.DefaultNonResourceRuleInfo{Verbs: r.Verbs, NonResourceURLs: r.NonResourceURLs})
		}
	}
	return resources, urls, false, err
}

// danglingRoles returns upstream's error for each role that is bound to the
// user and does not exist.
func (a *Authorizer) danglingRoles(u user.Info, namespace string) []error {
	var errs []error
	seen := map[*binding]bool{}
	a.visit(u, namespace, func(g *grant) bool {
		if a.roles[g.binding.roleKey()] != nil || seen[g.binding] {
			return true
		}
		seen[g.binding] = true
		switch ref := g.binding.ref; ref.Kind {
		case "ClusterRole":
			errs = append(errs, apierrors.NewNotFound(rbacResource("clusterrole"), ref.Name))
		case "Role":
			errs = append(errs, apierrors.NewNotFound(rbacResource("role"), ref.Name))
		default:
			errs = append(errs, fmt.Errorf("unsupported role reference kind: %q", ref.Kind))
		}
		return true
	})
	return errs
}

func rbacResource(resource string) schema.GroupResource {
	return schema.GroupResource{Group: rbacv1.GroupName, Resource: resource}
}
