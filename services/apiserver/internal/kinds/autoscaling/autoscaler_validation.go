package autoscaling

import (
	"errors"
	"fmt"

	autoscalingv2 "k8s.io/api/autoscaling/v2"
	"k8s.io/apimachinery/pkg/api/validate/content"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/check"
)

const (
	maxScalingPeriod = 1800
	maxWindow        = 3600
)

// referenceRule says what a reference to an object may leave out. The core
// group has an empty name, so an apiVersion of it looks like none.
type referenceRule struct{ anyVersion, coreGroup bool }

func validateAutoscaler(a, old *autoscalingv2.HorizontalPodAutoscaler) field.ErrorList {
	spec := &a.Spec
	target, described := referenceRules(a, old)
	var errs field.ErrorList
	least := ptr.Deref(spec.MinReplicas, 0)
	if spec.MinReplicas != nil && spec.MaxReplicas < least {
		errs = append(errs, field.Invalid(specPath.Child("maxReplicas"), spec.MaxReplicas, "must be greater than or equal to `minReplicas`"))
	}
	errs = append(errs, validateReference(specPath.Child("scaleTargetRef"), spec.ScaleTargetRef, target)...)
	errs = append(errs, validateMetrics(specPath.Child("metrics"), spec, described)...)
	if b := spec.Behavior; b != nil {
		errs = append(errs, validateRules(specPath.Child("behavior", "scaleUp"), b.ScaleUp)...)
		errs = append(errs, validateRules(specPath.Child("behavior", "scaleDown"), b.ScaleDown)...)
	}
	if least < 0 {
		errs = append(errs, field.Invalid(specPath.Child("minReplicas"), least, "must be greater than or equal to 0"))
	}
	switch {
	case spec.MaxReplicas == 0:
		errs = append(errs, field.Required(specPath.Child("maxReplicas"), ""))
	case spec.MaxReplicas < 0:
		errs = append(errs, field.Invalid(specPath.Child("maxReplicas"), spec.MaxReplicas, "must be greater than or equal to 1"))
	}
	return errs
}

// referenceRules forgive an update what the stored object has already.
func referenceRules(a, old *autoscalingv2.HorizontalPodAutoscaler) (target, described referenceRule) {
	is := a.Spec.ScaleTargetRef
	described = referenceRule{coreGroup: true}
	if old == nil {
		return referenceRule{coreGroup: is.Kind == "ReplicationController"}, described
	}
	was := old.Spec.ScaleTargetRef
	target.anyVersion = was.APIVersion == is.APIVersion && was.Kind == is.Kind
	target.coreGroup = is.Kind == "ReplicationController"
	for i := range old.Spec.Metrics {
		m := &old.Spec.Metrics[i]
		if m.Type == autoscalingv2.ObjectMetricSourceType && m.Object != nil && validateVersion(m.Object.DescribedObject.APIVersion, described) != nil {
			described.anyVersion = true
		}
	}
	return target, described
}

func validateReference(p *field.Path, ref autoscalingv2.CrossVersionObjectReference, rule referenceRule) field.ErrorList {
	var errs field.ErrorList
	for _, part := range []struct{ child, value string }{{"kind", ref.Kind}, {"name", ref.Name}} {
		if part.value == "" {
			errs = append(errs, field.Required(p.Child(part.child), ""))
			continue
		}
		errs = append(errs, check.All(p.Child(part.child), part.value, content.IsPathSegmentName(part.value))...)
	}
	if err := validateVersion(ref.APIVersion, rule); err != nil {
		errs = append(errs, field.Invalid(p.Child("apiVersion"), ref.APIVersion, err.Error()))
	}
	return errs
}

func validateVersion(apiVersion string, rule referenceRule) error {
	if rule.anyVersion {
		return nil
	}
	gv, err := schema.ParseGroupVersion(apiVersion)
	if err == nil && !rule.coreGroup && gv.Group == "" {
		err = errors.New("apiVersion must specify API group")
	}
	return err
}

func validateRules(p *field.Path, rules *autoscalingv2.HPAScalingRules) field.ErrorList {
	if rules == nil {
		return nil
	}
	var errs field.ErrorList
	if window, at := rules.StabilizationWindowSeconds, p.Child("stabilizationWindowSeconds"); window != nil {
		if *window < 0 {
			errs = append(errs, field.Invalid(at, *window, "must be greater than or equal to zero"))
		}
		if *window > maxWindow {
			errs = append(errs, field.Invalid(at, *window, fmt.Sprintf("must be less than or equal to %v", maxWindow)))
		}
	}
	if rules.SelectPolicy != nil {
		errs = append(errs, check.OneOf(p.Child("selectPolicy"), *rules.SelectPolicy,
			autoscalingv2.DisabledPolicySelect, autoscalingv2.MaxChangePolicySelect, autoscalingv2.MinChangePolicySelect)...)
	}
	if len(rules.Policies) == 0 {
		errs = append(errs, field.Required(p.Child("policies"), "must specify at least one Policy"))
	}
	for i := range rules.Policies {
		errs = append(errs, validatePolicy(p.Child("policies").Index(i), &rules.Policies[i])...)
	}
	if rules.Tolerance != nil {
		errs = append(errs, check.QuantityNotNegative(p.Child("tolerance"), *rules.Tolerance)...)
	}
	return errs
}

func validatePolicy(p *field.Path, policy *autoscalingv2.HPAScalingPolicy) field.ErrorList {
	errs := check.OneOf(p.Child("type"), policy.Type, autoscalingv2.PercentScalingPolicy, autoscalingv2.PodsScalingPolicy)
	errs = append(errs, check.Positive(p.Child("value"), policy.Value)...)
	errs = append(errs, check.Positive(p.Child("periodSeconds"), policy.PeriodSeconds)...)
	if policy.PeriodSeconds > maxScalingPeriod {
		errs = append(errs, field.Invalid(p.Child("periodSeconds"), policy.PeriodSeconds, fmt.Sprintf("must be less than or equal to %v", maxScalingPeriod)))
	}
	return errs
}
