package admissionregistration

import (
	"fmt"
	"reflect"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
)

const defaultTimeout = 10

// webhook is what the webhooks of both kinds have in common.
type webhook struct {
	name              string
	client            *admissionv1.WebhookClientConfig
	rules             []admissionv1.RuleWithOperations
	failurePolicy     **admissionv1.FailurePolicyType
	matchPolicy       **admissionv1.MatchPolicyType
	namespaceSelector **metav1.LabelSelector
	objectSelector    **metav1.LabelSelector
	sideEffects       *admissionv1.SideEffectClass
	timeout           **int32
	versions          []string
	conditions        []admissionv1.MatchCondition
}

func validating(h *admissionv1.ValidatingWebhook) *webhook {
	return &webhook{
		h.Name, &h.ClientConfig, h.Rules, &h.FailurePolicy, &h.MatchPolicy, &h.NamespaceSelector, &h.ObjectSelector,
		h.SideEffects, &h.TimeoutSeconds, h.AdmissionReviewVersions, h.MatchConditions,
	}
}

func mutating(h *admissionv1.MutatingWebhook) *webhook {
	return &webhook{
		h.Name, &h.ClientConfig, h.Rules, &h.FailurePolicy, &h.MatchPolicy, &h.NamespaceSelector, &h.ObjectSelector,
		h.SideEffects, &h.TimeoutSeconds, h.AdmissionReviewVersions, h.MatchConditions,
	}
}

func (h *webhook) setDefaults() {
	defaultRules(h.rules)
	defaultClient(h.client)
	defaultPointer(h.failurePolicy, admissionv1.Fail)
	defaultPointer(h.matchPolicy, admissionv1.Equivalent)
	defaultPointer(h.namespaceSelector, metav1.LabelSelector{})
	defaultPointer(h.objectSelector, metav1.LabelSelector{})
	defaultPointer(h.timeout, defaultTimeout)
}

// allowances are what an update is forgiven because a stored webhook has it.
type allowances struct {
	sideEffects, reviewVersion, sameName, selectorValue bool
	// sameConditions says that no match condition is new, conditions which ones
	// are there.
	sameConditions bool
	conditions     []string
}

func allowancesFor(old, hooks []*webhook) allowances {
	allow := allowances{sameConditions: len(old) == len(hooks)}
	for i := range old {
		allow.sameConditions = allow.sameConditions && reflect.DeepEqual(old[i].conditions, hooks[i].conditions)
		for _, c := range old[i].conditions {
			allow.conditions = append(allow.conditions, c.Expression)
		}
	}
	seen := map[string]bool{}
	for _, h := range old {
		if h.sideEffects == nil || !strings.HasPrefix(string(*h.sideEffects), string(admissionv1.SideEffectClassNone)) {
			allow.sideEffects = true
		}
		if len(h.versions) > 0 && len(validateReviewVersions(nil, h.versions, true)) > len(validateReviewVersions(nil, h.versions, false)) {
			allow.reviewVersion = true
		}
		allow.sameName = allow.sameName || seen[h.name]
		seen[h.name] = true
		allow.selectorValue = allow.selectorValue ||
			metavalidation.LabelSelectorHasInvalidLabelValue(*h.namespaceSelector) || metavalidation.LabelSelectorHasInvalidLabelValue(*h.objectSelector)
	}
	return allow
}

// validateWebhooks checks all webhooks of a configuration; more checks what is
// particular to the kind, between the others.
func validateWebhooks(hooks []*webhook, allow allowances, more func(p *field.Path, i int) field.ErrorList) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, h := range hooks {
		p := field.NewPath("webhooks").Index(i)
		errs = append(errs, h.validate(p, allow)...)
		if more != nil {
			errs = append(errs, more(p, i)...)
		}
		errs = append(errs, validateClient(p.Child("clientConfig"), h.client)...)
		if !allow.sameConditions {
			errs = append(errs, validateConditions(p.Child("matchConditions"), h.conditions, false, allow.conditions)...)
		}
		errs = append(errs, validateReviewVersions(p.Child("admissionReviewVersions"), h.versions, !allow.reviewVersion)...)
		if h.name != "" && !allow.sameName && seen[h.name] {
			errs = append(errs, field.Duplicate(p.Child("name"), h.name))
		}
		seen[h.name] = true
	}
	return errs
}

func (h *webhook) validate(p *field.Path, allow allowances) field.ErrorList {
	errs := validation.IsFullyQualifiedName(p.Child("name"), h.name)
	for i := range h.rules {
		errs = append(errs, validateOperations(p.Child("rules").Index(i), &h.rules[i])...)
	}
	if policy := *h.failurePolicy; policy != nil {
		errs = append(errs, check.OneOf(p.Child("failurePolicy"), *policy, admissionv1.Fail, admissionv1.Ignore)...)
	}
	if policy := *h.matchPolicy; policy != nil {
		errs = append(errs, check.OneOf(p.Child("matchPolicy"), *policy, admissionv1.Equivalent, admissionv1.Exact)...)
	}
	effects := []admissionv1.SideEffectClass{admissionv1.SideEffectClassNone, admissionv1.SideEffectClassNoneOnDryRun}
	if allow.sideEffects {
		effects = append(effects, admissionv1.SideEffectClassSome, admissionv1.SideEffectClassUnknown)
	}
	if h.sideEffects == nil {
		errs = append(errs, field.Required(p.Child("sideEffects"), fmt.Sprintf("must specify one of %v", join(effects))))
	} else {
		errs = append(errs, check.OneOf(p.Child("sideEffects"), *h.sideEffects, effects...)...)
	}
	if timeout := *h.timeout; timeout != nil && (*timeout > 30 || *timeout < 1) {
		errs = append(errs, field.Invalid(p.Child("timeoutSeconds"), *timeout, "the timeout value must be between 1 and 30 seconds"))
	}
	errs = append(errs, check.Selector(p.Child("namespaceSelector"), *h.namespaceSelector, allow.selectorValue)...)
	return append(errs, check.Selector(p.Child("objectSelector"), *h.objectSelector, allow.selectorValue)...)
}

func join(effects []admissionv1.SideEffectClass) string {
	names := make([]string, len(effects))
	for i, effect := range effects {
		names[i] = string(effect)
	}
	return strings.Join(names, ", ")
}
