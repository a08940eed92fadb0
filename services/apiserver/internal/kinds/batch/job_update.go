package batch

import (
	"fmt"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
)

func validateJobUpdate(j, old *batchv1.Job) field.ErrorList {
	allow := core.TemplateAllowances(&old.Spec.Template)
	lenient := allow.InvalidSelectorValues || metavalidation.LabelSelectorHasInvalidLabelValue(old.Spec.Selector)
	errs := validateJobSpec(specPath, &j.Spec, allow)
	errs = append(errs, validateSelector(&j.Spec, lenient)...)
	errs = append(errs, validateCompletionsUpdate(&j.Spec, &old.Spec)...)
	errs = append(errs, check.Unchanged(specPath.Child("selector"), j.Spec.Selector, old.Spec.Selector)...)
	errs = append(errs, validateTemplateUpdate(&j.Spec.Template, old)...)
	errs = append(errs, check.Unchanged(specPath.Child("completionMode"), j.Spec.CompletionMode, old.Spec.CompletionMode)...)
	errs = append(errs, check.Unchanged(specPath.Child("podFailurePolicy"), j.Spec.PodFailurePolicy, old.Spec.PodFailurePolicy)...)
	errs = append(errs, check.Unchanged(specPath.Child("backoffLimitPerIndex"), j.Spec.BackoffLimitPerIndex, old.Spec.BackoffLimitPerIndex)...)
	errs = append(errs, check.Unchanged(specPath.Child("managedBy"), j.Spec.ManagedBy, old.Spec.ManagedBy)...)
	errs = append(errs, check.Unchanged(specPath.Child("successPolicy"), j.Spec.SuccessPolicy, old.Spec.SuccessPolicy)...)
	return append(errs, validateNameForIndexes(j)...)
}

func validateCompletionsUpdate(spec, old *batchv1.JobSpec) field.ErrorList {
	at := specPath.Child("completions")
	if !isIndexed(spec) {
		return check.Unchanged(at, spec.Completions, old.Completions)
	}
	if spec.Completions == nil || equality.Semantic.DeepEqual(spec.Completions, old.Completions) || *spec.Completions == ptr.Deref(spec.Parallelism, 0) {
		return nil
	}
	return field.ErrorList{field.Invalid(at, *spec.Completions, fmt.Sprintf("can only be modified in tandem with %s", specPath.Child("parallelism")))}
}

// validateTemplateUpdate keeps the template as it is, but for a suspended Job
// without pods: a queue controller may then still say where the pods are to
// run and how much they may use.
func validateTemplateUpdate(template *corev1.PodTemplateSpec, old *batchv1.Job) field.ErrorList {
	at := specPath.Child("template")
	suspended := ptr.Deref(old.Spec.Suspend, false)
	idle := old.Status.StartTime == nil || isTrue(old, batchv1.JobSuspended)
	if !suspended || !idle || old.Status.Active != 0 {
		return check.Unchanged(at, template, &old.Spec.Template)
	}
	before := withPlacementOf(template, &old.Spec.Template)
	takeResources(before.Spec.Containers, template.Spec.Containers)
	takeResources(before.Spec.InitContainers, template.Spec.InitContainers)
	return check.Unchanged(specPath.Child("template.spec"), template.Spec, before.Spec)
}

func withPlacementOf(template, old *corev1.PodTemplateSpec) *corev1.PodTemplateSpec {
	before := old.DeepCopy()
	switch is, was := template.Spec.Affinity, before.Spec.Affinity; {
	case is == nil && was != nil:
		was.NodeAffinity = nil
		if *was == (corev1.Affinity{}) {
			before.Spec.Affinity = nil
		}
	case is != nil && was == nil:
		before.Spec.Affinity = &corev1.Affinity{NodeAffinity: is.NodeAffinity}
	case is != nil:
		was.NodeAffinity = is.NodeAffinity
	}
	before.Spec.NodeSelector = template.Spec.NodeSelector
	before.Spec.Tolerations = template.Spec.Tolerations
	before.Spec.SchedulingGates = template.Spec.SchedulingGates
	before.Annotations, before.Labels = template.Annotations, template.Labels
	return before
}

func takeResources(list, from []corev1.Container) {
	if len(list) != len(from) {
		return
	}
	for i := range list {
		if list[i].Name == from[i].Name {
			list[i].Resources = from[i].Resources
		}
	}
}
