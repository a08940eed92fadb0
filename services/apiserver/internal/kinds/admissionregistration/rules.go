package admissionregistration

import (
	"fmt"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/check"
)

const wildcard = "*"

func defaultPointer[T any](value **T, otherwise T) {
	if *value == nil {
		*value = &otherwise
	}
}

func defaultRules(rules []admissionv1.RuleWithOperations) {
	for i := range rules {
		defaultPointer(&rules[i].Scope, admissionv1.AllScopes)
	}
}

func validateOperations(p *field.Path, rule *admissionv1.RuleWithOperations) field.ErrorList {
	var errs field.ErrorList
	at := p.Child("operations")
	if len(rule.Operations) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	if len(rule.Operations) > 1 && slices.Contains(rule.Operations, admissionv1.OperationAll) {
		errs = append(errs, field.Invalid(at, rule.Operations, "if '*' is present, must not specify other operations"))
	}
	for i, operation := range rule.Operations {
		errs = append(errs, check.OneOf(at.Index(i), operation,
			admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Delete, admissionv1.Update)...)
	}
	return append(errs, validateRule(p, &rule.Rule)...)
}

func validateRule(p *field.Path, rule *admissionv1.Rule) field.ErrorList {
	errs := validateAlone(p.Child("apiGroups"), rule.APIGroups, "API groups")
	errs = append(errs, validateAlone(p.Child("apiVersions"), rule.APIVersions, "API versions")...)
	for i, version := range rule.APIVersions {
		if version == "" {
			errs = append(errs, field.Required(p.Child("apiVersions").Index(i), ""))
		}
	}
	errs = append(errs, validateResources(p.Child("resources"), rule.Resources)...)
	if rule.Scope != nil {
		errs = append(errs, check.OneOf(p.Child("scope"), *rule.Scope, admissionv1.AllScopes, admissionv1.ClusterScope, admissionv1.NamespacedScope)...)
	}
	return errs
}

func validateAlone(p *field.Path, values []string, what string) field.ErrorList {
	if len(values) == 0 {
		return field.ErrorList{field.Required(p, "")}
	}
	if len(values) > 1 && slices.Contains(values, wildcard) {
		return field.ErrorList{field.Invalid(p, values, "if '*' is present, must not specify other "+what)}
	}
	return nil
}

// validateResources refuses resources that another entry includes.
func validateResources(p *field.Path, resources []string) field.ErrorList {
	if len(resources) == 0 {
		return field.ErrorList{field.Required(p, "")}
	}
	var errs field.ErrorList
	allSubresources, allResources := map[string]bool{}, map[string]bool{}
	plain := false
	for i, entry := range resources {
		if entry == "" {
			errs = append(errs, field.Required(p.Index(i), ""))
			continue
		}
		resource, sub, hasSub := strings.Cut(entry, "/")
		if !hasSub {
			plain = entry != wildcard
			continue
		}
		if allSubresources[resource] {
			errs = append(errs, field.Invalid(p.Index(i), entry, fmt.Sprintf("if '%s/*' is present, must not specify %s", resource, entry)))
		}
		if allResources[sub] {
			errs = append(errs, field.Invalid(p.Index(i), entry, fmt.Sprintf("if '*/%s' is present, must not specify %s", sub, entry)))
		}
		if sub == wildcard {
			allSubresources[resource] = true
		}
		if resource == wildcard {
			allResources[sub] = true
		}
	}
	if len(resources) > 1 && slices.Contains(resources, "*/*") {
		errs = append(errs, field.Invalid(p, resources, "if '*/*' is present, must not specify other resources"))
	}
	if plain && slices.Contains(resources, wildcard) {
		errs = append(errs, field.Invalid(p, resources, "if '*' is present, must not specify other resources without subresources"))
	}
	return errs
}

// reviewVersions are those of AdmissionReview that this server speaks.
var reviewVersions = []string{"v1", "v1beta1"}

func validateReviewVersions(p *field.Path, versions []string, recognized bool) field.ErrorList {
	known := strings.Join(reviewVersions, ", ")
	if len(versions) == 0 {
		return field.ErrorList{field.Required(p, "must specify one of "+known)}
	}
	var errs field.ErrorList
	accepted := false
	for i, version := range versions {
		if slices.Contains(versions[:i], version) {
			errs = append(errs, field.Invalid(p.Index(i), version, "duplicate version"))
			continue
		}
		errs = append(errs, check.All(p.Index(i), version, validation.IsDNS1035Label(version))...)
		accepted = accepted || slices.Contains(reviewVersions, version)
	}
	if recognized && !accepted {
		errs = append(errs, field.Invalid(p, versions, "must include at least one of "+known))
	}
	return errs
}

func defaultClient(client *admissionv1.WebhookClientConfig) {
	if client.Service != nil {
		defaultPointer(&client.Service.Port, 443)
	}
}

func validateClient(p *field.Path, client *admissionv1.WebhookClientConfig) field.ErrorList {
	switch {
	case (client.URL == nil) == (client.Service == nil):
		return field.ErrorList{field.Required(p, "exactly one of url or service is required")}
	case client.URL != nil:
		return check.WebhookURL(p.Child("url"), *client.URL)
	}
	s := client.Service
	return check.WebhookService(p.Child("service"), s.Name, s.Namespace, s.Path, ptr.Deref(s.Port, 0))
}
