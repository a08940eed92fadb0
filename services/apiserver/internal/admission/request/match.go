package request

import (
	"context"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
)

// Rules say what requests a webhook or policy is about.
type Rules struct {
	Include, Exclude []admissionv1.NamedRuleWithOperations
	// All is for those that name no rules and mean every request.
	All bool
	// Equivalent counts rules about other versions of the same objects.
	Equivalent         bool
	Namespaces, Labels Selector
}

// Selector is a parsed label selector, or why it is none.
type Selector struct {
	labels.Selector
	Err error
}

// Match finds the kind by which rules are about the request; nil if they are not.
// The error is one for the client.
func (r *Request) Match(ctx context.Context, rules *Rules) (*kinds.Kind, error) {
	if r.ruled(rules.Exclude, rules.Equivalent) != nil {
		return nil, nil
	}
	k := r.Kind
	if !rules.All {
		if k = r.ruled(rules.Include, rules.Equivalent); k == nil {
			return nil, nil
		}
	}
	within, spaceErr := r.inNamespace(ctx, &rules.Namespaces)
	if !within && spaceErr == nil {
		return nil, nil
	}
	if rules.Labels.Err != nil {
		return nil, apierrors.NewInternalError(rules.Labels.Err)
	}
	if !r.labelled(rules.Labels) {
		return nil, nil
	}
	return k, spaceErr
}

// ruled finds the kind by which one of the rules is about the request.
func (r *Request) ruled(rules []admissionv1.NamedRuleWithOperations, equivalent bool) *kinds.Kind {
	for i := range rules {
		if r.rule(&rules[i], r.Kind) {
			return r.Kind
		}
	}
	if !equivalent {
		return nil
	}
	for i := range rules {
		for _, k := range r.equivalents() {
			if k != r.Kind && r.rule(&rules[i], k) {
				return k
			}
		}
	}
	return nil
}

// rule tells whether a rule is about the request as a kind.
func (r *Request) rule(rule *admissionv1.NamedRuleWithOperations, k *kinds.Kind) bool {
	return r.scoped(rule, k) && r.operated(rule) &&
		lists(rule.APIGroups, k.Group) && lists(rule.APIVersions, k.Version) && r.resource(rule, k) &&
		(len(rule.ResourceNames) == 0 || slices.Contains(rule.ResourceNames, r.name))
}

func lists(items []string, wanted string) bool {
	for _, item := range items {
		if item == "*" || item == wanted {
			return true
		}
	}
	return false
}

var namespaceResource = schema.GroupVersionResource{Version: "v1", Resource: "namespaces"}

func (r *Request) scoped(rule *admissionv1.NamedRuleWithOperations, k *kinds.Kind) bool {
	if rule.Scope == nil || *rule.Scope == admissionv1.AllScopes {
		return true
	}
	cluster := r.space == "" || k.GroupVersionResource() == namespaceResource
	switch *rule.Scope {
	case admissionv1.NamespacedScope:
		return !cluster
	case admissionv1.ClusterScope:
		return cluster
	}
	return false
}

func (r *Request) operated(rule *admissionv1.NamedRuleWithOperations) bool {
	for _, o := range rule.Operations {
		if o == admissionv1.OperationAll || string(o) == string(r.Operation) {
			return true
		}
	}
	return false
}

func (r *Request) resource(rule *admissionv1.NamedRuleWithOperations, k *kinds.Kind) bool {
	for _, wanted := range rule.Resources {
		plural, sub, _ := strings.Cut(wanted, "/")
		if (plural == "*" || plural == k.Plural) && (sub == "*" || sub == r.Subresource) {
			return true
		}
	}
	return false
}

// inNamespace tells whether the request's namespace has the labels. Requests in
// no namespace are in all.
func (r *Request) inNamespace(ctx context.Context, s *Selector) (bool, error) {
	if r.space == "" && r.Kind.Plural != "namespaces" {
		return true, nil
	}
	if s.Err != nil {
		return false, apierrors.NewInternalError(s.Err)
	}
	if s.Empty() {
		return true, nil
	}
	// The cache has not yet what is only now written.
	if r.Kind.Plural == "namespaces" && r.Subresource == "" && r.Object != nil && (r.Operation == admission.Create || r.Operation == admission.Update) {
		return s.Matches(labels.Set(r.Object.GetLabels())), nil
	}
	ns, err := r.env.Namespace(ctx, r.space)
	if apierrors.IsNotFound(err) {
		return false, err
	}
	if err != nil {
		return false, apierrors.NewInternalError(err)
	}
	return s.Matches(labels.Set(ns.Labels)), nil
}

// labelled tells whether the object has the labels, as it is or as it was.
func (r *Request) labelled(s Selector) bool {
	if s.Empty() {
		return true
	}
	if r.Subresource == "scale" {
		return s.Matches(labels.Set{}) // a scale has none
	}
	return r.Object != nil && s.Matches(labels.Set(r.Object.GetLabels())) || r.Old != nil && s.Matches(labels.Set(r.Old.GetLabels()))
}
