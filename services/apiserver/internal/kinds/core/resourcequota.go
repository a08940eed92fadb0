package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

// ResourceQuota is the behaviour of core/v1 ResourceQuota.
func ResourceQuota() strategy.Kind[*corev1.ResourceQuota] {
	return strategy.Kind[*corev1.ResourceQuota]{
		Default: func(q *corev1.ResourceQuota) {
			roundUp(q.Spec.Hard)
			roundUp(q.Status.Hard)
			roundUp(q.Status.Used)
		},
		PrepareCreate:  func(q *corev1.ResourceQuota) { q.Status = corev1.ResourceQuotaStatus{} },
		PrepareUpdate:  func(q, old *corev1.ResourceQuota) { q.Status = old.Status },
		ValidateCreate: func(q *corev1.ResourceQuota) field.ErrorList { return validateQuota(q) },
		ValidateUpdate: func(q, old *corev1.ResourceQuota) field.ErrorList {
			errs := validateQuota(q)
			if !sets.New(q.Spec.Scopes...).Equal(sets.New(old.Spec.Scopes...)) {
				errs = append(errs, field.Invalid(specPath.Child("scopes"), q.Spec.Scopes, check.Immutable))
			}
			return errs
		},
		Status: &strategy.Sub[*corev1.ResourceQuota]{
			PrepareUpdate: func(q, old *corev1.ResourceQuota) { q.Spec = old.Spec },
			ValidateUpdate: func(q, _ *corev1.ResourceQuota) field.ErrorList {
				return append(validateQuotaList(statusPath.Child("hard"), q.Status.Hard), validateQuotaList(statusPath.Child("used"), q.Status.Used)...)
			},
		},
		Warnings:                 quotaWarnings,
		AllowUnconditionalUpdate: true,
		ResetFields:              map[string][]string{"": {"status"}, "status": {"spec"}},
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Request", "Request represents a minimum amount of cpu/memory that a container may consume."),
			cells.Text("Limit", "Limits control the maximum amount of cpu/memory that a container may use independent of contention on the node."),
			cells.Age(),
		),
		Cells: quotaCells,
	}
}

func validateQuotaList(p *field.Path, list corev1.ResourceList) field.ErrorList {
	var errs field.ErrorList
	for _, name := range sortedKeys(list) {
		at := p.Key(string(name))
		wrong := validateResourceName(at, name)
		if !strings.Contains(string(name), "/") && !quotaResources.Has(name) && !isQuotaHugePages(name) {
			wrong = append(wrong, field.Invalid(at, string(name), "must be a standard resource for quota"))
		}
		errs = append(errs, wrong...)
		errs = append(errs, validateQuantity(at, name, list[name])...)
	}
	return errs
}

func validateQuota(q *corev1.ResourceQuota) field.ErrorList {
	spec := &q.Spec
	errs := validateQuotaList(specPath.Child("hard"), spec.Hard)
	at := specPath.Child("scopes")
	for _, scope := range spec.Scopes {
		if !isScope(scope) {
			errs = append(errs, field.Invalid(at, spec.Scopes, "unsupported scope"))
		}
		for range misplaced(spec.Hard, scope) {
			errs = append(errs, field.Invalid(at, spec.Scopes, "unsupported scope applied to resource"))
		}
	}
	errs = append(errs, validateScopesAgree(at, spec, spec.Scopes)...)
	if spec.ScopeSelector != nil {
		errs = append(errs, validateScopeSelector(specPath.Child("scopeSelector", "matchExpressions"), spec)...)
	}
	return errs
}

func validateScopeSelector(p *field.Path, spec *corev1.ResourceQuotaSpec) field.ErrorList {
	var errs field.ErrorList
	scopes := make([]corev1.ResourceQuotaScope, len(spec.ScopeSelector.MatchExpressions))
	for i, r := range spec.ScopeSelector.MatchExpressions {
		scopes[i] = r.ScopeName
		if !isScope(r.ScopeName) {
			errs = append(errs, field.Invalid(p.Child("scopeName"), r.ScopeName, "unsupported scope"))
		}
		for range misplaced(spec.Hard, r.ScopeName) {
			errs = append(errs, field.Invalid(p, check.Internal(spec.ScopeSelector), "unsupported scope applied to resource"))
		}
		switch r.ScopeName {
		case corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort, corev1.ResourceQuotaScopeTerminating,
			corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
			if r.Operator != corev1.ScopeSelectorOpExists {
				errs = append(errs, field.Invalid(p.Child("operator"), r.Operator, "must be 'Exists' when scope is any of ResourceQuotaScopeTerminating, "+
					"ResourceQuotaScopeNotTerminating, ResourceQuotaScopeBestEffort, ResourceQuotaScopeNotBestEffort or ResourceQuotaScopeCrossNamespacePodAffinity"))
			}
		}
		switch r.Operator {
		case corev1.ScopeSelectorOpIn, corev1.ScopeSelectorOpNotIn:
			if len(r.Values) == 0 {
				errs = append(errs, field.Required(p.Child("values"), "must be at least one value when `operator` is 'In' or 'NotIn' for scope selector"))
			}
		case corev1.ScopeSelectorOpExists, corev1.ScopeSelectorOpDoesNotExist:
			if len(r.Values) > 0 {
				errs = append(errs, field.Invalid(p.Child("values"), r.Values, "must be no value when `operator` is 'Exist' or 'DoesNotExist' for scope selector"))
			}
		default:
			errs = append(errs, field.Invalid(p.Child("operator"), r.Operator, wrongKeyword))
		}
	}
	return append(errs, validateScopesAgree(p, spec, scopes)...)
}

func validateScopesAgree(p *field.Path, spec *corev1.ResourceQuotaSpec, scopes []corev1.ResourceQuotaScope) field.ErrorList {
	var errs field.ErrorList
	for _, pair := range [][2]corev1.ResourceQuotaScope{
		{corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort},
		{corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating},
	} {
		if slices.Contains(scopes, pair[0]) && slices.Contains(scopes, pair[1]) {
			errs = append(errs, field.Invalid(p, spec.Scopes, "conflicting scopes"))
		}
	}
	return errs
}

func isScope(scope corev1.ResourceQuotaScope) bool {
	switch scope {
	case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating,
		corev1.ResourceQuotaScopeBestEffort, corev1.ResourceQuotaScopeNotBestEffort,
		corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeVolumeAttributesClass,
		corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		return true
	}
	return false
}

// misplaced are the resources of a quota to which a scope does not apply.
func misplaced(hard corev1.ResourceList, scope corev1.ResourceQuotaScope) []corev1.ResourceName {
	pods := []corev1.ResourceName{corev1.ResourcePods}
	compute := append(slices.Clone(pods), corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceLimitsCPU,
		corev1.ResourceLimitsMemory, corev1.ResourceRequestsCPU, corev1.ResourceRequestsMemory)
	var fits []corev1.ResourceName
	switch scope {
	case corev1.ResourceQuotaScopeTerminating, corev1.ResourceQuotaScopeNotTerminating, corev1.ResourceQuotaScopeNotBestEffort,
		corev1.ResourceQuotaScopePriorityClass, corev1.ResourceQuotaScopeCrossNamespacePodAffinity:
		fits = compute
	case corev1.ResourceQuotaScopeBestEffort:
		fits = pods
	case corev1.ResourceQuotaScopeVolumeAttributesClass:
		fits = []corev1.ResourceName{corev1.ResourcePersistentVolumeClaims, corev1.ResourceRequestsStorage}
	default:
		return nil
	}
	var wrong []corev1.ResourceName
	for _, name := range sortedKeys(hard) {
		if (quotaResources.Has(name) || isQuotaHugePages(name)) && !slices.Contains(fits, name) {
			wrong = append(wrong, name)
		}
	}
	return wrong
}

func quotaWarnings(q, old *corev1.ResourceQuota) []string {
	if old != nil {
		return nil
	}
	var warnings []string
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceStorage, corev1.ResourceEphemeralStorage} {
		requested := "requests." + name
		request, set := q.Spec.Hard[requested]
		if !set && (name == corev1.ResourceCPU || name == corev1.ResourceMemory) {
			requested = name
			request, set = q.Spec.Hard[name]
		}
		limit, limited := q.Spec.Hard["limits."+name]
		if set && limited && request.Cmp(limit) > 0 {
			warnings = append(warnings, fmt.Sprintf("ResourceQuota %s (%s) should be less than limits.%s (%s)", requested, request.String(), name, limit.String()))
		}
	}
	return warnings
}

func quotaCells(q *corev1.ResourceQuota) []any {
	var requests, limits []string
	for _, name := range sortedKeys(q.Status.Hard) {
		used, hard := q.Status.Used[name], q.Status.Hard[name]
		entry := fmt.Sprintf("%s: %s/%s", name, used.String(), hard.String())
		if strings.HasPrefix(string(name), "limits.") {
			limits = append(limits, entry)
		} else {
			requests = append(requests, entry)
		}
	}
	return []any{q.Name, strings.Join(requests, ", "), strings.Join(limits, ", "), cells.AgeOf(q)}
}
