// Package typecheck tells authors of ValidatingAdmissionPolicies, in the status
// of these, where their expressions do not fit the types of what they judge.
package typecheck

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiservercel "k8s.io/apiserver/pkg/cel"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/expressions"
)

// maxTypes is how many types a policy is checked with.
const maxTypes = 10

// Kinds knows what is served.
type Kinds interface {
	ByResource(schema.GroupVersionResource) *kinds.Kind
}

// Checker checks policies. It keeps nothing between two checks.
type Checker struct {
	Kinds Kinds
	Types Types
}

// typed is a type that expressions are checked with.
type typed struct {
	gvk      schema.GroupVersionKind
	declared *apiservercel.DeclType
}

// Check returns the warnings about a policy. What is not known is not warned
// about.
func (c *Checker) Check(p *admissionv1.ValidatingAdmissionPolicy) []admissionv1.ExpressionWarning {
	var objects []typed
	for _, gvk := range c.matched(p.Spec.MatchConstraints) {
		if t := c.declared(gvk, gvk.Kind); t != nil {
			objects = append(objects, typed{gvk, t})
		}
	}
	var params *apiservercel.DeclType
	d := expressions.Declared{HasAuthorizer: true}
	if kind := p.Spec.ParamKind; kind != nil {
		d.HasParams = true
		params = c.declared(schema.FromAPIVersionAndKind(kind.APIVersion, kind.Kind), kind.Kind+"Params")
	}
	var out []admissionv1.ExpressionWarning
	warn := func(at *field.Path, expression string) {
		var texts []string
		for _, o := range objects {
			if err := expressions.Check(expression, p.Spec.Variables, o.declared, params, d); err != nil {
				texts = append(texts, warning(o.gvk, err))
			}
		}
		if len(texts) > 0 {
			out = append(out, admissionv1.ExpressionWarning{FieldRef: at.String(), Warning: strings.Join(texts, "\n")})
		}
	}
	for i, v := range p.Spec.Validations {
		at := field.NewPath("spec", "validations").Index(i)
		warn(at.Child("expression"), v.Expression)
		if v.MessageExpression != "" {
			warn(at.Child("messageExpression"), v.MessageExpression)
		}
	}
	return out
}

func warning(gvk schema.GroupVersionKind, err *apiservercel.Error) string {
	if err.Type == apiservercel.ErrorTypeInvalid {
		return fmt.Sprintf("%v: %s\n", gvk, err)
	}
	return fmt.Sprintf("%v: type checking error: %v\n", gvk, err)
}

// declared is the type of a kind's objects, nil if it is not known.
func (c *Checker) declared(gvk schema.GroupVersionKind, name string) *apiservercel.DeclType {
	t, err := c.Types.Of(gvk)
	if err != nil || t == nil {
		return nil
	}
	return t.MaybeAssignTypeName(name)
}

var errEnough = errors.New("enough types")

// matched are the kinds that the rules of a policy name; rules with wildcards
// name none.
func (c *Checker) matched(m *admissionv1.MatchResources) []schema.GroupVersionKind {
	if m == nil {
		return nil
	}
	var out []schema.GroupVersionKind
	for _, rule := range m.ResourceRules {
		if slices.ContainsFunc(rule.APIGroups, wild) || slices.ContainsFunc(rule.APIVersions, wild) {
			continue
		}
		count := 0
		err := each(rule.Rule, func(r schema.GroupVersionResource) error {
			k := c.Kinds.ByResource(r)
			if k == nil {
				return nil
			}
			if gvk := k.GroupVersionKind(); !slices.Contains(out, gvk) {
				out = append(out, gvk)
			}
			if count++; count == maxTypes {
				return errEnough
			}
			return nil
		})
		if err != nil {
			break
		}
	}
	slices.SortFunc(out, func(a, b schema.GroupVersionKind) int {
		return strings.Compare(a.Group+"\n"+a.Version+"\n"+a.Kind, b.Group+"\n"+b.Version+"\n"+b.Kind)
	})
	return out
}

func wild(s string) bool { return strings.Contains(s, "*") }

// each visits the resources of a rule, without subresources.
func each(rule admissionv1.Rule, visit func(schema.GroupVersionResource) error) error {
	for _, group := range slices.Sorted(slices.Values(rule.APIGroups)) {
		for _, version := range slices.Sorted(slices.Values(rule.APIVersions)) {
			for _, resource := range slices.Sorted(slices.Values(rule.Resources)) {
				if strings.ContainsAny(resource, "*/") {
					continue
				}
				if err := visit(schema.GroupVersionResource{Group: group, Version: version, Resource: resource}); err != nil {
					return err
				}
			}
		}
	}
	return nil
}
