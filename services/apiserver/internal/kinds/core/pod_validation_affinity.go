package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
)

const (
	required     = "requiredDuringSchedulingIgnoredDuringExecution"
	preferred    = "preferredDuringSchedulingIgnoredDuringExecution"
	wrongWeight  = "must be in the range 1-100"
	wrongKeyword = "not a valid selector operator"
)

func validateAffinity(p *field.Path, affinity *corev1.Affinity, allow Allowances) field.ErrorList {
	if affinity == nil {
		return nil
	}
	var errs field.ErrorList
	if a := affinity.NodeAffinity; a != nil {
		at := p.Child("nodeAffinity")
		if a.RequiredDuringSchedulingIgnoredDuringExecution != nil {
			errs = append(errs, validateNodeSelector(at.Child(required), a.RequiredDuringSchedulingIgnoredDuringExecution, allow.InvalidNodeAffinityValues)...)
		}
		for i, term := range a.PreferredDuringSchedulingIgnoredDuringExecution {
			errs = append(errs, validateWeight(at.Child(preferred).Index(i), term.Weight)...)
			// A preference for labels that no node can have does no harm, and
			// was always accepted.
			errs = append(errs, validateNodeSelectorTerm(at.Child(preferred).Index(i).Child("preference"), &term.Preference, true)...)
		}
	}
	if a := affinity.PodAffinity; a != nil {
		errs = append(errs, validatePodTerms(p.Child("podAffinity"), a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution, allow)...)
	}
	if a := affinity.PodAntiAffinity; a != nil {
		errs = append(errs, validatePodTerms(p.Child("podAntiAffinity"), a.RequiredDuringSchedulingIgnoredDuringExecution, a.PreferredDuringSchedulingIgnoredDuringExecution, allow)...)
	}
	return errs
}

func validateWeight(p *field.Path, weight int32) field.ErrorList {
	if weight >= 1 && weight <= 100 {
		return nil
	}
	return field.ErrorList{field.Invalid(p.Child("weight"), weight, wrongWeight)}
}

// validateNodeSelector is for pods and persistent volumes. Lenient lets label
// values through that are none.
func validateNodeSelector(p *field.Path, selector *corev1.NodeSelector, lenient bool) field.ErrorList {
	at := p.Child("nodeSelectorTerms")
	if len(selector.NodeSelectorTerms) == 0 {
		return field.ErrorList{field.Required(at, "must have at least one node selector term")}
	}
	var errs field.ErrorList
	for i := range selector.NodeSelectorTerms {
		errs = append(errs, validateNodeSelectorTerm(at.Index(i), &selector.NodeSelectorTerms[i], lenient)...)
	}
	return errs
}

func validateNodeSelectorTerm(p *field.Path, term *corev1.NodeSelectorTerm, lenient bool) field.ErrorList {
	var errs field.ErrorList
	for i := range term.MatchExpressions {
		errs = append(errs, validateNodeExpression(p.Child("matchExpressions").Index(i), &term.MatchExpressions[i], lenient)...)
	}
	for i := range term.MatchFields {
		errs = append(errs, validateNodeField(p.Child("matchFields").Index(i), &term.MatchFields[i])...)
	}
	return errs
}

func validateNodeExpression(p *field.Path, r *corev1.NodeSelectorRequirement, lenient bool) field.ErrorList {
	var errs field.ErrorList
	values := p.Child("values")
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) == 0 {
			errs = append(errs, field.Required(values, "must be specified when `operator` is 'In' or 'NotIn'"))
		}
	case corev1.NodeSelectorOpExists, corev1.NodeSelectorOpDoesNotExist:
		if len(r.Values) > 0 {
			errs = append(errs, field.Forbidden(values, "may not be specified when `operator` is 'Exists' or 'DoesNotExist'"))
		}
	case corev1.NodeSelectorOpGt, corev1.NodeSelectorOpLt:
		if len(r.Values) != 1 {
			errs = append(errs, field.Required(values, "must be specified single value when `operator` is 'Lt' or 'Gt'"))
		}
	default:
		errs = append(errs, field.Invalid(p.Child("operator"), r.Operator, wrongKeyword))
	}
	errs = append(errs, metavalidation.ValidateLabelName(r.Key, p.Child("key"))...)
	if lenient {
		return errs
	}
	for i, value := range r.Values {
		errs = append(errs, check.All(values.Index(i), value, validation.IsValidLabelValue(value))...)
	}
	return errs
}

func validateNodeField(p *field.Path, r *corev1.NodeSelectorRequirement) field.ErrorList {
	var errs field.ErrorList
	switch r.Operator {
	case corev1.NodeSelectorOpIn, corev1.NodeSelectorOpNotIn:
		if len(r.Values) != 1 {
			errs = append(errs, field.Required(p.Child("values"), "must be only one value when `operator` is 'In' or 'NotIn' for node field selector"))
		}
	default:
		errs = append(errs, field.Invalid(p.Child("operator"), r.Operator, wrongKeyword))
	}
	if r.Key != metav1.ObjectNameField {
		return append(errs, field.Invalid(p.Child("key"), r.Key, "not a valid field selector key"))
	}
	for i, value := range r.Values {
		errs = append(errs, check.Name(p.Child("values").Index(i), value, apivalidation.NameIsDNSSubdomain)...)
	}
	return errs
}

func validatePodTerms(p *field.Path, must []corev1.PodAffinityTerm, should []corev1.WeightedPodAffinityTerm, allow Allowances) field.ErrorList {
	var errs field.ErrorList
	for i := range must {
		errs = append(errs, validatePodTerm(p.Child(required).Index(i), &must[i], allow)...)
	}
	for i := range should {
		at := p.Child(preferred).Index(i)
		errs = append(errs, validateWeight(at, should[i].Weight)...)
		errs = append(errs, validatePodTerm(at.Child("podAffinityTerm"), &should[i].PodAffinityTerm, allow)...)
	}
	return errs
}

func validatePodTerm(p *field.Path, term *corev1.PodAffinityTerm, allow Allowances) field.ErrorList {
	errs := validatePodTermSelectors(p, term, allow.InvalidSelectorValues)
	for _, namespace := range term.Namespaces {
		errs = append(errs, check.Name(p.Child("namespace"), namespace, apivalidation.ValidateNamespaceName)...)
	}
	errs = append(errs, validateMatchLabelKeys(p, term.MatchLabelKeys, term.MismatchLabelKeys, term.LabelSelector)...)
	if term.TopologyKey == "" {
		errs = append(errs, field.Required(p.Child("topologyKey"), "can not be empty"))
	}
	return append(errs, metavalidation.ValidateLabelName(term.TopologyKey, p.Child("topologyKey"))...)
}

func validatePodTermSelectors(p *field.Path, term *corev1.PodAffinityTerm, lenient bool) field.ErrorList {
	errs := check.Selector(p.Child("labelSelector"), term.LabelSelector, lenient)
	return append(errs, check.Selector(p.Child("namespaceSelector"), term.NamespaceSelector, lenient)...)
}

// validateMatchLabelKeys checks keys whose values are taken from the pod. On
// creation they were already merged into the selector: a key that the user
// had put there too is there twice now.
func validateMatchLabelKeys(p *field.Path, match, mismatch []string, selector *metav1.LabelSelector) field.ErrorList {
	errs := validateLabelKeys(p.Child("matchLabelKeys"), match, selector)
	errs = append(errs, validateLabelKeys(p.Child("mismatchLabelKeys"), mismatch, selector)...)
	if selector != nil {
		index := map[string]int{}
		for i, key := range match {
			index[key] = i
		}
		seen := sets.KeySet(selector.MatchLabels)
		for _, expression := range selector.MatchExpressions {
			if i, ok := index[expression.Key]; ok && seen.Has(expression.Key) {
				errs = append(errs, field.Invalid(p.Index(i), expression.Key, "exists in both matchLabelKeys and labelSelector"))
			}
			seen.Insert(expression.Key)
		}
	}
	both := sets.New(mismatch...)
	for i, key := range match {
		if both.Has(key) {
			errs = append(errs, field.Invalid(p.Child("matchLabelKeys").Index(i), key, "exists in both matchLabelKeys and mismatchLabelKeys"))
		}
	}
	return errs
}

func validateLabelKeys(p *field.Path, keys []string, selector *metav1.LabelSelector) field.ErrorList {
	if len(keys) == 0 {
		return nil
	}
	if selector == nil {
		return field.ErrorList{field.Forbidden(p, "must not be specified when labelSelector is not set")}
	}
	var errs field.ErrorList
	for i, key := range keys {
		errs = append(errs, metavalidation.ValidateLabelName(key, p.Index(i))...)
	}
	return errs
}

func validateSpread(p *field.Path, constraints []corev1.TopologySpreadConstraint, allow Allowances) field.ErrorList {
	var errs field.ErrorList
	for i := range constraints {
		c, at := &constraints[i], p.Index(i)
		errs = append(errs, check.Positive(at.Child("maxSkew"), c.MaxSkew)...)
		if c.TopologyKey == "" {
			errs = append(errs, field.Required(at.Child("topologyKey"), "can not be empty"))
		}
		errs = append(errs, check.OneOf(at.Child("whenUnsatisfiable"), c.WhenUnsatisfiable, corev1.DoNotSchedule, corev1.ScheduleAnyway)...)
		for _, other := range constraints[i+1:] {
			if other.TopologyKey == c.TopologyKey && other.WhenUnsatisfiable == c.WhenUnsatisfiable {
				errs = append(errs, field.Duplicate(at.Child("{topologyKey, whenUnsatisfiable}"), fmt.Sprintf("{%v, %v}", c.TopologyKey, c.WhenUnsatisfiable)))
				break
			}
		}
		if domains := c.MinDomains; domains != nil {
			errs = append(errs, check.Positive(at.Child("minDomains"), *domains)...)
			if c.WhenUnsatisfiable != corev1.DoNotSchedule {
				errs = append(errs, field.Invalid(at.Child("minDomains"), *domains,
					fmt.Sprintf("can only use minDomains if whenUnsatisfiable=%s, not %s", corev1.DoNotSchedule, c.WhenUnsatisfiable)))
			}
		}
		if c.NodeAffinityPolicy != nil {
			errs = append(errs, check.OneOf(at.Child("nodeAffinityPolicy"), *c.NodeAffinityPolicy, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)...)
		}
		if c.NodeTaintsPolicy != nil {
			errs = append(errs, check.OneOf(at.Child("nodeTaintsPolicy"), *c.NodeTaintsPolicy, corev1.NodeInclusionPolicyHonor, corev1.NodeInclusionPolicyIgnore)...)
		}
		if allow.UnmergedSpreadKeys {
			errs = append(errs, validateUnmergedKeys(at.Child("matchLabelKeys"), c.MatchLabelKeys, c.LabelSelector)...)
		} else {
			errs = append(errs, validateMatchLabelKeys(at, c.MatchLabelKeys, nil, c.LabelSelector)...)
		}
		if !allow.InvalidSpreadSelector {
			errs = append(errs, check.Selector(at.Child("labelSelector"), c.LabelSelector, false)...)
		}
	}
	return errs
}

// validateUnmergedKeys is the rule for pods from before matchLabelKeys were
// merged into the selector: there, a key may not occur in both.
func validateUnmergedKeys(p *field.Path, keys []string, selector *metav1.LabelSelector) field.ErrorList {
	if len(keys) == 0 {
		return nil
	}
	var errs field.ErrorList
	selected := sets.Set[string]{}
	if selector == nil {
		errs = append(errs, field.Forbidden(p, "must not be specified when labelSelector is not set"))
	} else {
		selected = sets.KeySet(selector.MatchLabels)
		for _, expression := range selector.MatchExpressions {
			selected.Insert(expression.Key)
		}
	}
	for i, key := range keys {
		errs = append(errs, metavalidation.ValidateLabelName(key, p.Index(i))...)
		if selected.Has(key) {
			errs = append(errs, field.Invalid(p.Index(i), key, "exists in both matchLabelKeys and labelSelector"))
		}
	}
	return errs
}

// ValidateNodeSelector is for the kinds of other groups that choose nodes.
func ValidateNodeSelector(p *field.Path, selector *corev1.NodeSelector) field.ErrorList {
	return validateNodeSelector(p, selector, false)
}
