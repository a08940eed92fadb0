package rbac

import (
	"context"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/component-helpers/auth/rbac/validation"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
)

// Escalation refuses writes of roles and bindings that would give somebody
// more than the writer has.
type Escalation struct {
	// Authorizer answers whether the writer may "escalate" or "bind".
	Authorizer authorizer.UnconditionalAuthorizer
	// RBAC knows the rights the writer holds.
	RBAC *Authorizer
}

var fullAuthority = []rbacv1.PolicyRule{
	{Verbs: []string{"*"}, APIGroups: []string{"*"}, Resources: []string{"*"}},
	{Verbs: []string{"*"}, NonResourceURLs: []string{"*"}},
}

// Check returns a Forbidden error if u may not write object. Old is nil on
// create. Objects of other kinds pass.
func (e *Escalation) Check(ctx context.Context, u user.Info, namespace string, object, old kinds.Object) error {
	if auth.Privileged(u) {
		return nil
	}
	switch o := object.(type) {
	case *rbacv1.ClusterRole:
		oldRole, _ := old.(*rbacv1.ClusterRole)
		return e.checkClusterRole(ctx, u, o, oldRole)
	case *rbacv1.Role:
		if e.mayEscalate(ctx, u, "roles", namespace, nameOnUpdate(o, old)) || onlyCollectorFields(object, old) {
			return nil
		}
		return e.confirm(u, namespace, o.Rules, "roles", o.Name)
	case *rbacv1.ClusterRoleBinding:
		return e.checkBinding(ctx, u, "", o.RoleRef, object, old, "clusterrolebindings")
	case *rbacv1.RoleBinding:
		return e.checkBinding(ctx, u, namespace, o.RoleRef, object, old, "rolebindings")
	}
	return nil
}

func (e *Escalation) checkClusterRole(ctx context.Context, u user.Info, role, old *rbacv1.ClusterRole) error {
	var oldObject kinds.Object
	if old != nil {
		oldObject = old
	}
	if e.mayEscalate(ctx, u, "clusterroles", "", nameOnUpdate(role, oldObject)) || onlyCollectorFields(role, oldObject) {
		return nil
	}
	if err := e.confirm(u, "", role.Rules, "clusterroles", role.Name); err != nil {
		return err
	}
	// An aggregation rule can gather anything, so it takes all rights to set
	// one, and to keep one from being tightened.
	if !aggregates(role) && (old == nil || !aggregates(old)) {
		return nil
	}
	if e.confirm(u, "", fullAuthority, "clusterroles", role.Name) != nil {
		return apierrors.NewForbidden(rbacResource("clusterroles"), role.Name,
			errors.New("must have cluster-admin privileges to use the aggregationRule"))
	}
	return nil
}

func (e *Escalation) checkBinding(ctx context.Context, u user.Info, namespace string, ref rbacv1.RoleRef, object, old kinds.Object, resource string) error {
	if onlyCollectorFields(object, old) || e.mayBind(ctx, u, namespace, ref) {
		return nil
	}
	rules, err := e.RBAC.RoleRules(ref, namespace)
	if err != nil {
		return err
	}
	return e.confirm(u, namespace, rules, resource, object.GetName())
}

func (e *Escalation) mayEscalate(ctx context.Context, u user.Info, resource, namespace, name string) bool {
	decision, _, _ := e.Authorizer.Authorize(ctx, authorizer.AttributesRecord{
		User: u, Verb: "escalate", APIGroup: rbacv1.GroupName, APIVersion: "*",
		Resource: resource, Namespace: namespace, Name: name, ResourceRequest: true,
	})
	return decision == authorizer.DecisionAllow
}

func (e *Escalation) mayBind(ctx context.Context, u user.Info, namespace string, ref rbacv1.RoleRef) bool {
	a := authorizer.AttributesRecord{
		User: u, Verb: "bind", APIGroup: ref.APIGroup, APIVersion: "*",
		Name: ref.Name, Namespace: namespace, ResourceRequest: true,
	}
	switch ref.Kind {
	case "ClusterRole":
		a.Resource = "clusterroles"
	case "Role":
		a.Resource = "roles"
	default:
		return false
	}
	decision, _, _ := e.Authorizer.Authorize(ctx, a)
	return decision == authorizer.DecisionAllow
}

// confirm refuses rules that the writer's own do not cover.
func (e *Escalation) confirm(u user.Info, namespace string, rules []rbacv1.PolicyRule, resource, name string) error {
	own, resolution := e.RBAC.Rules(u, namespace)
	covered, missing := validation.Covers(own, rules)
	if covered {
		return nil
	}
	var lines []string
	for _, rule := range compact(missing) {
		lines = append(lines, describe(rule))
	}
	slices.Sort(lines)
	message := fmt.Sprintf("user %q (groups=%q) is attempting to grant RBAC permissions not currently held:\n%s",
		u.GetName(), u.GetGroups(), strings.Join(slices.Compact(lines), "\n"))
	if resolution != nil {
		message += fmt.Sprintf("; resolution errors: %v", []error{resolution})
	}
	return apierrors.NewForbidden(rbacResource(resource), name, errors.New(message))
}

// compact joins rules about one resource that differ in their verbs alone.
func compact(rules []rbacv1.PolicyRule) []rbacv1.PolicyRule {
	type about struct {
		group, resource, name string
		named                 bool
	}
	var out []rbacv1.PolicyRule
	at := map[about]int{}
	for _, r := range rules {
		if len(r.ResourceNames) > 1 || len(r.NonResourceURLs) > 0 || len(r.APIGroups) != 1 || len(r.Resources) != 1 {
			out = append(out, r)
			continue
		}
		key := about{group: r.APIGroups[0], resource: r.Resources[0], named: len(r.ResourceNames) == 1}
		if key.named {
			key.name = r.ResourceNames[0]
		}
		if i, ok := at[key]; ok {
			out[i].Verbs = append(out[i].Verbs, r.Verbs...)
			continue
		}
		at[key] = len(out)
		out = append(out, *r.DeepCopy())
	}
	return out
}

func describe(r rbacv1.PolicyRule) string {
	var parts []string
	add := func(name string, values []string) {
		if len(values) > 0 {
			parts = append(parts, fmt.Sprintf("%s:%q", name, values))
		}
	}
	add("APIGroups", r.APIGroups)
	add("Resources", r.Resources)
	add("NonResourceURLs", r.NonResourceURLs)
	add("ResourceNames", r.ResourceNames)
	add("Verbs", r.Verbs)
	return "{" + strings.Join(parts, ", ") + "}"
}

func aggregates(role *rbacv1.ClusterRole) bool {
	return role.AggregationRule != nil && len(role.AggregationRule.ClusterRoleSelectors) > 0
}

// nameOnUpdate is the name a request is about: a create has none in its URL.
func nameOnUpdate(object, old kinds.Object) string {
	if absent(old) {
		return ""
	}
	return object.GetName()
}

// onlyCollectorFields tells whether an update touches nothing but what the
// garbage collector writes, which it must be able to without any rights.
func onlyCollectorFields(object, old kinds.Object) bool {
	if absent(old) {
		return false
	}
	changed, ok := object.DeepCopyObject().(kinds.Object)
	if !ok {
		return false
	}
	changed.SetOwnerReferences(old.GetOwnerReferences())
	changed.SetFinalizers(old.GetFinalizers())
	changed.SetManagedFields(old.GetManagedFields())
	return equality.Semantic.DeepEqual(changed, old)
}

func absent(o kinds.Object) bool {
	return o == nil || reflect.ValueOf(o).IsNil()
}
