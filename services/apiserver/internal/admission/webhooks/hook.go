// Package webhooks asks the webhooks that objects of the API configure about
// requests: those that may change what is written, and those that may refuse it.
package webhooks

import (
	"fmt"
	"slices"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission/request"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/expressions"
	"coracle.local/services/apiserver/internal/webhook"
)

// hook is one webhook of a configuration, ready to be asked. It is immutable.
type hook struct {
	// id tells it from all others, configuration its object's name.
	id, configuration, name string
	rules                   request.Rules
	// conditions compiles the match conditions once; nil if there are none.
	conditions  func() *expressions.Conditions
	target      webhook.Target
	timeout     time.Duration // zero is none
	ignore      bool          // failures of the call
	dry         bool          // dry runs may ask it
	noSaying    bool          // whether dry runs may ask is not said
	reinvoke    bool
	reviewForms []string // versions of AdmissionReview
}

// parts are what both kinds of webhooks have.
type parts struct {
	name       string
	client     *admissionv1.WebhookClientConfig
	rules      []admissionv1.RuleWithOperations
	policy     *admissionv1.FailurePolicyType
	match      *admissionv1.MatchPolicyType
	namespaces *metav1.LabelSelector
	labels     *metav1.LabelSelector
	effects    *admissionv1.SideEffectClass
	timeout    *int32
	forms      []string
	conditions []admissionv1.MatchCondition
}

func newHook(configuration string, index int, p parts) *hook {
	h := &hook{
		id:            fmt.Sprintf("%s/%s/%d", configuration, p.name, index),
		configuration: configuration, name: p.name,
		target:      webhook.AdmissionTarget(p.client),
		ignore:      p.policy != nil && *p.policy == admissionv1.Ignore,
		noSaying:    p.effects == nil,
		dry:         p.effects != nil && (*p.effects == admissionv1.SideEffectClassNone || *p.effects == admissionv1.SideEffectClassNoneOnDryRun),
		reviewForms: p.forms,
		rules: request.Rules{
			Equivalent: p.match != nil && *p.match == admissionv1.Equivalent,
			Namespaces: request.ParseSelector(p.namespaces), Labels: request.ParseSelector(p.labels),
		},
	}
	for i := range p.rules {
		h.rules.Include = append(h.rules.Include, admissionv1.NamedRuleWithOperations{RuleWithOperations: p.rules[i]})
	}
	if p.timeout != nil {
		h.timeout = time.Duration(*p.timeout) * time.Second
	}
	if len(p.conditions) > 0 {
		h.conditions = expressions.LazyConditions(p.conditions, p.policy)
	}
	return h
}

func mutatingHooks(c *admissionv1.MutatingWebhookConfiguration) []*hook {
	var out []*hook
	seen := map[string]int{}
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		h := newHook(c.Name, seen[w.Name], parts{
			w.Name, &w.ClientConfig, w.Rules, w.FailurePolicy, w.MatchPolicy, w.NamespaceSelector, w.ObjectSelector,
			w.SideEffects, w.TimeoutSeconds, w.AdmissionReviewVersions, w.MatchConditions,
		})
		h.reinvoke = w.ReinvocationPolicy != nil && *w.ReinvocationPolicy == admissionv1.IfNeededReinvocationPolicy
		seen[w.Name]++
		out = append(out, h)
	}
	return out
}

func validatingHooks(c *admissionv1.ValidatingWebhookConfiguration) []*hook {
	var out []*hook
	seen := map[string]int{}
	for i := range c.Webhooks {
		w := &c.Webhooks[i]
		out = append(out, newHook(c.Name, seen[w.Name], parts{
			w.Name, &w.ClientConfig, w.Rules, w.FailurePolicy, w.MatchPolicy, w.NamespaceSelector, w.ObjectSelector,
			w.SideEffects, w.TimeoutSeconds, w.AdmissionReviewVersions, w.MatchConditions,
		}))
		seen[w.Name]++
	}
	return out
}

// hooks are all webhooks of one kind of configuration, by the names of these. It
// implements auth.Observer, and costs who asks nothing but a load while there
// are none.
type hooks[T kinds.Object] struct {
	of  func(T) []*hook
	set request.Set[[]*hook]
}

func newHooks[T kinds.Object](of func(T) []*hook) *hooks[T] { return &hooks[T]{of: of} }

// Watches implements auth.Observer.
func (h *hooks[T]) Watches() []*kinds.Kind { return []*kinds.Kind{kinds.For[T]()} }

// Observe implements auth.Observer.
func (h *hooks[T]) Observe(c auth.Change) {
	if c.Object == nil {
		h.set.Delete(c.Name)
		return
	}
	if o, ok := c.Object().(T); ok {
		h.set.Put(c.Name, h.of(o))
	}
}

// now are the present webhooks, in the order in which they are asked.
func (h *hooks[T]) now() []*hook {
	sets := h.set.Now()
	if len(sets) == 1 {
		return sets[0]
	}
	return slices.Concat(sets...)
}

// numbered is the key of an audit annotation about a webhook in one round.
func numbered(prefix string, round, index int) string {
	return fmt.Sprintf("%sround_%d_index_%d", prefix, round, index)
}
