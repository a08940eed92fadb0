package batch

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
)

const (
	maxIndexedParallel  = 100_000
	maxFailedIndexes    = 100_000
	maxFailedOfMany     = 10_000
	maxManagedBy        = 63
	needsIndexed        = "requires indexed completion mode"
	atMostForMany       = "must be less than or equal to %d when completions are above %d and used with backoff limit per index"
	labelsDoNotMatch    = "`selector` does not match template `labels`"
	selectorNotFromUID  = "`selector` not auto-generated"
	selectorIsGenerated = "`selector` will be auto-generated"
)

func validateJobCreate(j *batchv1.Job) field.ErrorList {
	errs := validateGeneratedSelector(j)
	errs = append(errs, validateJobSpec(specPath, &j.Spec, core.TemplateAllowances(nil))...)
	errs = append(errs, validateSelector(&j.Spec, false)...)
	return append(errs, validateNameForIndexes(j)...)
}

// validateGeneratedSelector checks that what generateSelector does has come
// out right whatever labels the client had set.
func validateGeneratedSelector(j *batchv1.Job) field.ErrorList {
	if ptr.Deref(j.Spec.ManualSelector, false) || j.Spec.Selector == nil {
		return nil
	}
	var errs field.ErrorList
	if j.UID == "" {
		errs = append(errs, field.Required(metadataPath.Child("uid"), ""))
	}
	generated := labels.Set{
		legacyUIDLabel:             string(j.UID),
		legacyNameLabel:            j.Name,
		batchv1.ControllerUidLabel: string(j.UID),
		batchv1.JobNameLabel:       j.Name,
	}
	for _, key := range []string{legacyUIDLabel, legacyNameLabel, batchv1.ControllerUidLabel, batchv1.JobNameLabel} {
		at := specPath.Child("template", "metadata", "labels").Key(key)
		value, set := j.Spec.Template.Labels[key]
		switch {
		case !set:
			errs = append(errs, field.Required(at, fmt.Sprintf("must be '%s'", generated[key])))
		case value != generated[key]:
			errs = append(errs, field.Invalid(at, j.Spec.Template.Labels, fmt.Sprintf("must be '%s'", generated[key])))
		}
	}
	if selector, err := metav1.LabelSelectorAsSelector(j.Spec.Selector); err == nil && !selector.Matches(generated) {
		errs = append(errs, field.Invalid(specPath.Child("selector"), j.Spec.Selector, selectorNotFromUID))
	}
	return errs
}

func validateSelector(spec *batchv1.JobSpec, lenient bool) field.ErrorList {
	var errs field.ErrorList
	at := specPath.Child("selector")
	if spec.Selector == nil {
		errs = append(errs, field.Required(at, ""))
	} else {
		errs = append(errs, check.Selector(at, spec.Selector, lenient)...)
	}
	selector, err := metav1.LabelSelectorAsSelector(spec.Selector)
	if err == nil && !selector.Matches(labels.Set(spec.Template.Labels)) {
		errs = append(errs, field.Invalid(specPath.Child("template", "metadata", "labels"), spec.Template.Labels, labelsDoNotMatch))
	}
	return errs
}

// validateNameForIndexes refuses a name that is too long for the host names of
// its pods, which end in their index.
func validateNameForIndexes(j *batchv1.Job) field.ErrorList {
	completions := ptr.Deref(j.Spec.Completions, 0)
	if !isIndexed(&j.Spec) || completions <= 0 {
		return nil
	}
	longest := fmt.Sprintf("%s-%d", j.Name, completions-1)
	if len(validation.IsDNS1123Label(longest)) == 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(metadataPath.Child("name"), j.Name, "will not able to create pod with invalid DNS label: "+longest)}
}

func isIndexed(spec *batchv1.JobSpec) bool {
	return ptr.Deref(spec.CompletionMode, batchv1.NonIndexedCompletion) == batchv1.IndexedCompletion
}

// validateJobSpec checks all of a Job's spec but its selector, which the
// template of a CronJob has none of.
func validateJobSpec(p *field.Path, spec *batchv1.JobSpec, allow core.Allowances) field.ErrorList {
	errs := validateLimits(p, spec)
	if spec.ManagedBy != nil {
		at := p.Child("managedBy")
		errs = append(errs, validation.IsDomainPrefixedPath(at, *spec.ManagedBy)...)
		if len(*spec.ManagedBy) > maxManagedBy {
			errs = append(errs, field.TooLong(at, "", maxManagedBy))
		}
	}
	errs = append(errs, validateCompletionMode(p, spec)...)
	if spec.PodFailurePolicy != nil {
		errs = append(errs, validateFailurePolicy(p.Child("podFailurePolicy", "rules"), spec)...)
	}
	if at := p.Child("successPolicy"); spec.SuccessPolicy != nil && !isIndexed(spec) {
		errs = append(errs, field.Invalid(at, check.Internal(spec.SuccessPolicy), needsIndexed))
	} else if spec.SuccessPolicy != nil {
		errs = append(errs, validateSuccessPolicy(at.Child("rules"), spec)...)
	}
	if policy := spec.PodReplacementPolicy; policy != nil {
		supported := []batchv1.PodReplacementPolicy{batchv1.Failed}
		if spec.PodFailurePolicy == nil {
			supported = append(supported, batchv1.TerminatingOrFailed)
		}
		errs = append(errs, check.OneOf(p.Child("podReplacementPolicy"), *policy, supported...)...)
	}
	errs = append(errs, core.ValidatePodTemplate(p.Child("template"), &spec.Template, allow)...)
	return append(errs, validateRestartPolicy(p.Child("template", "spec", "restartPolicy"), spec)...)
}

func validateLimits(p *field.Path, spec *batchv1.JobSpec) field.ErrorList {
	errs := check.NotNegative(p.Child("parallelism"), ptr.Deref(spec.Parallelism, 0))
	errs = append(errs, check.NotNegative(p.Child("completions"), ptr.Deref(spec.Completions, 0))...)
	errs = append(errs, check.NotNegative(p.Child("activeDeadlineSeconds"), ptr.Deref(spec.ActiveDeadlineSeconds, 0))...)
	errs = append(errs, check.NotNegative(p.Child("backoffLimit"), ptr.Deref(spec.BackoffLimit, 0))...)
	errs = append(errs, check.NotNegative(p.Child("ttlSecondsAfterFinished"), ptr.Deref(spec.TTLSecondsAfterFinished, 0))...)
	errs = append(errs, check.NotNegative(p.Child("backoffLimitPerIndex"), ptr.Deref(spec.BackoffLimitPerIndex, 0))...)
	errs = append(errs, check.NotNegative(p.Child("maxFailedIndexes"), ptr.Deref(spec.MaxFailedIndexes, 0))...)
	if spec.MaxFailedIndexes != nil && spec.BackoffLimitPerIndex == nil {
		errs = append(errs, field.Required(p.Child("backoffLimitPerIndex"), "when maxFailedIndexes is specified"))
	}
	return errs
}

func validateCompletionMode(p *field.Path, spec *batchv1.JobSpec) field.ErrorList {
	var errs field.ErrorList
	if spec.CompletionMode != nil {
		errs = append(errs, check.OneOf(p.Child("completionMode"), *spec.CompletionMode, batchv1.NonIndexedCompletion, batchv1.IndexedCompletion)...)
	}
	if isIndexed(spec) {
		return append(errs, validateIndexed(p, spec)...)
	}
	if spec.CompletionMode != nil && *spec.CompletionMode != batchv1.NonIndexedCompletion {
		return errs
	}
	if spec.BackoffLimitPerIndex != nil {
		errs = append(errs, field.Invalid(p.Child("backoffLimitPerIndex"), *spec.BackoffLimitPerIndex, needsIndexed))
	}
	if spec.MaxFailedIndexes != nil {
		errs = append(errs, field.Invalid(p.Child("maxFailedIndexes"), *spec.MaxFailedIndexes, needsIndexed))
	}
	return errs
}

func validateIndexed(p *field.Path, spec *batchv1.JobSpec) field.ErrorList {
	var errs field.ErrorList
	completions, parallelism, failed := ptr.Deref(spec.Completions, 0), ptr.Deref(spec.Parallelism, 0), ptr.Deref(spec.MaxFailedIndexes, 0)
	if spec.Completions == nil {
		errs = append(errs, field.Required(p.Child("completions"), fmt.Sprintf("when completion mode is %s", batchv1.IndexedCompletion)))
	}
	if parallelism > maxIndexedParallel {
		errs = append(errs, field.Invalid(p.Child("parallelism"), parallelism,
			fmt.Sprintf("must be less than or equal to %d when completion mode is %s", maxIndexedParallel, batchv1.IndexedCompletion)))
	}
	if spec.Completions != nil && failed > completions {
		errs = append(errs, field.Invalid(p.Child("maxFailedIndexes"), failed, "must be less than or equal to completions"))
	}
	if failed > maxFailedIndexes {
		errs = append(errs, field.Invalid(p.Child("maxFailedIndexes"), failed, fmt.Sprintf("must be less than or equal to %d", maxFailedIndexes)))
	}
	if completions <= manyCompletions || spec.BackoffLimitPerIndex == nil {
		return errs
	}
	if spec.MaxFailedIndexes == nil {
		errs = append(errs, field.Required(p.Child("maxFailedIndexes"), fmt.Sprintf("must be specified when completions is above %d", manyCompletions)))
	}
	if parallelism > manyParallel {
		errs = append(errs, field.Invalid(p.Child("parallelism"), parallelism, fmt.Sprintf(atMostForMany, manyParallel, manyCompletions)))
	}
	if failed > maxFailedOfMany {
		errs = append(errs, field.Invalid(p.Child("maxFailedIndexes"), failed, fmt.Sprintf(atMostForMany, maxFailedOfMany, manyCompletions)))
	}
	return errs
}

// validateRestartPolicy wants the policy named: the default would restart the
// pods for ever.
func validateRestartPolicy(p *field.Path, spec *batchv1.JobSpec) field.ErrorList {
	switch policy := spec.Template.Spec.RestartPolicy; {
	case policy == corev1.RestartPolicyAlways || policy == "":
		return field.ErrorList{field.Required(p, fmt.Sprintf("valid values: %q, %q", corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever))}
	case policy != corev1.RestartPolicyOnFailure && policy != corev1.RestartPolicyNever:
		return field.ErrorList{field.NotSupported(p, policy, []corev1.RestartPolicy{corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever})}
	case spec.PodFailurePolicy != nil && policy != corev1.RestartPolicyNever:
		return field.ErrorList{field.Invalid(p, policy, fmt.Sprintf("only %q is supported when podFailurePolicy is specified", corev1.RestartPolicyNever))}
	}
	return nil
}
