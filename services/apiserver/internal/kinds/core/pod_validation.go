package core

import (
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
)

var (
	specPath     = field.NewPath("spec")
	statusPath   = field.NewPath("status")
	metadataPath = field.NewPath("metadata")
)

// validatePod has what holds for a pod at any time.
func validatePod(pod *corev1.Pod, allow Allowances) field.ErrorList {
	errs := validatePodAnnotations(metadataPath.Child("annotations"), pod.Annotations, &pod.Spec, allow)
	errs = append(errs, validatePodSpec(specPath, &pod.Spec, &pod.ObjectMeta, allow)...)
	if pod.Spec.ServiceAccountName == "" {
		errs = append(errs, refuseTokens(&pod.Spec)...)
	}
	if seconds := pod.Spec.TerminationGracePeriodSeconds; seconds != nil {
		errs = append(errs, check.NotNegative(specPath.Child("terminationGracePeriodSeconds"), *seconds)...)
	}
	for i := range pod.Spec.Containers {
		errs = append(errs, validateImageTrimmed(specPath.Child("containers").Index(i), &pod.Spec.Containers[i])...)
	}
	for i := range pod.Spec.InitContainers {
		errs = append(errs, validateImageTrimmed(specPath.Child("initContainers").Index(i), &pod.Spec.InitContainers[i])...)
	}
	return errs
}

func refuseTokens(spec *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	for i := range spec.Volumes {
		if spec.Volumes[i].Projected == nil {
			continue
		}
		for j, source := range spec.Volumes[i].Projected.Sources {
			if source.ServiceAccountToken != nil {
				at := specPath.Child("volumes").Index(i).Child("projected", "sources").Index(j).Child("serviceAccountToken")
				errs = append(errs, field.Forbidden(at, "must not be specified when serviceAccountName is not set"))
			}
		}
	}
	return errs
}

func validatePodCreate(pod *corev1.Pod) field.ErrorList {
	errs := validatePod(pod, PodAllowances(nil))
	if len(pod.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(specPath.Child("ephemeralContainers"), "cannot be set on create"))
	}
	if pod.Spec.NodeName != "" && len(pod.Spec.SchedulingGates) > 0 {
		errs = append(errs, field.Forbidden(specPath.Child("nodeName"), "cannot be set until all schedulingGates have been cleared"))
	}
	return append(errs, validateProfilesAgree(specPath, &pod.ObjectMeta, &pod.Spec)...)
}

// ValidatePodTemplate checks the template of a workload.
func ValidatePodTemplate(p *field.Path, template *corev1.PodTemplateSpec, allow Allowances) field.ErrorList {
	errs := ValidatePodTemplateMeta(p, template, allow)
	errs = append(errs, validatePodSpec(p.Child("spec"), &template.Spec, nil, allow)...)
	errs = append(errs, validateProfilesAgree(p.Child("spec"), &template.ObjectMeta, &template.Spec)...)
	if len(template.Spec.EphemeralContainers) > 0 {
		errs = append(errs, field.Forbidden(p.Child("spec", "ephemeralContainers"), "ephemeral containers not allowed in pod template"))
	}
	return errs
}

// ValidatePodTemplateMeta is the part of ValidatePodTemplate that looks at the
// metadata.
func ValidatePodTemplateMeta(p *field.Path, template *corev1.PodTemplateSpec, allow Allowances) field.ErrorList {
	errs := metavalidation.ValidateLabels(template.Labels, p.Child("labels"))
	errs = append(errs, apivalidation.ValidateAnnotations(template.Annotations, p.Child("annotations"))...)
	return append(errs, validatePodAnnotations(p.Child("annotations"), template.Annotations, &template.Spec, allow)...)
}

// validateTemplateMeta is for metadata that becomes another object's: all but
// labels and annotations has no meaning there.
func validateTemplateMeta(p *field.Path, meta *metav1.ObjectMeta) field.ErrorList {
	errs := apivalidation.ValidateAnnotations(meta.Annotations, p.Child("annotations"))
	errs = append(errs, metavalidation.ValidateLabels(meta.Labels, p.Child("labels"))...)
	for _, m := range []member{
		{"name", meta.Name != ""},
		{"generateName", meta.GenerateName != ""},
		{"namespace", meta.Namespace != ""},
		{"selfLink", meta.SelfLink != ""},
		{"uID", meta.UID != ""},
		{"resourceVersion", meta.ResourceVersion != ""},
		{"generation", meta.Generation != 0},
		{"creationTimestamp", !meta.CreationTimestamp.IsZero()},
		{"deletionTimestamp", meta.DeletionTimestamp != nil},
		{"deletionGracePeriodSeconds", meta.DeletionGracePeriodSeconds != nil},
		{"ownerReferences", meta.OwnerReferences != nil},
		{"finalizers", meta.Finalizers != nil},
		{"managedFields", meta.ManagedFields != nil},
	} {
		if m.set {
			errs = append(errs, field.Forbidden(p.Child(m.name), "cannot be set"))
		}
	}
	return errs
}

const podUpdatable = "pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`," +
	"`spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations)," +
	"`spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)"

func validatePodUpdate(pod, old *corev1.Pod) field.ErrorList {
	allow := PodAllowances(old)
	errs := validatePod(pod, allow)
	errs = append(errs, validatePodAnnotationUpdate(pod, old, allow)...)
	for _, list := range []struct {
		child    string
		new, old []corev1.Container
	}{
		{"containers", pod.Spec.Containers, old.Spec.Containers},
		{"initContainers", pod.Spec.InitContainers, old.Spec.InitContainers},
	} {
		if len(list.new) != len(list.old) {
			return append(errs, field.Forbidden(specPath.Child(list.child), "pod updates may not add or remove containers"))
		}
		for i := range list.new {
			errs = append(errs, check.Set(specPath.Child(list.child).Index(i), "image", list.new[i].Image)...)
			errs = append(errs, validateImageTrimmed(specPath.Child(list.child).Index(i), &list.new[i])...)
		}
	}
	wrong, stop := validateDeadlineUpdate(specPath.Child("activeDeadlineSeconds"), pod.Spec.ActiveDeadlineSeconds, old.Spec.ActiveDeadlineSeconds)
	errs = append(errs, wrong...)
	if stop {
		return errs
	}
	errs = append(errs, validateTolerationsKept(specPath.Child("tolerations"), pod.Spec.Tolerations, old.Spec.Tolerations)...)
	errs = append(errs, validateGatesOnlyRemoved(specPath.Child("schedulingGates"), pod.Spec.SchedulingGates, old.Spec.SchedulingGates)...)
	if equality.Semantic.DeepEqual(pod.Spec, old.Spec) {
		return errs
	}
	reverted, wrong := revertUpdatable(pod, old)
	errs = append(errs, wrong...)
	if !equality.Semantic.DeepEqual(*reverted, old.Spec) {
		errs = append(errs, field.Forbidden(specPath, fmt.Sprintf("%s\n%v", podUpdatable, check.Diff(old.Spec, *reverted))))
	}
	return errs
}

// validateDeadlineUpdate lets a deadline be set once and then only come
// nearer. If stop is set, upstream says no more about the update.
func validateDeadlineUpdate(p *field.Path, value, old *int64) (errs field.ErrorList, stop bool) {
	switch {
	case value == nil && old != nil:
		return field.ErrorList{field.Invalid(p, value, "must not update from a positive integer to nil value")}, false
	case value == nil:
		return nil, false
	case *value < 0 || *value > math.MaxInt32:
		return field.ErrorList{field.Invalid(p, *value, validation.InclusiveRangeError(0, math.MaxInt32))}, true
	case old != nil && *old < *value:
		return field.ErrorList{field.Invalid(p, *value, "must be less than or equal to previous value")}, true
	}
	return nil, false
}

func validateGatesOnlyRemoved(p *field.Path, gates, old []corev1.PodSchedulingGate) field.ErrorList {
	before := map[string]bool{}
	for _, gate := range old {
		before[gate.Name] = true
	}
	var errs field.ErrorList
	for i, gate := range gates {
		again := slices.Contains(gates[i+1:], gate) // said once, of the last
		if !before[gate.Name] && !again {
			errs = append(errs, field.Forbidden(p.Index(i).Child("name"), fmt.Sprintf("only deletion is allowed, but found new scheduling gate '%s'", gate.Name)))
		}
	}
	return errs
}

func validatePodAnnotationUpdate(pod, old *corev1.Pod, allow Allowances) field.ErrorList {
	p := metadataPath.Child("annotations")
	var errs field.ErrorList
	refuse := func(key, verb string) {
		switch {
		case strings.HasPrefix(key, appArmorPrefix):
			errs = append(errs, field.Forbidden(p.Key(key), "may not "+verb+" AppArmor annotations"))
		case key == corev1.MirrorPodAnnotationKey:
			errs = append(errs, field.Forbidden(p.Key(key), "may not "+verb+" mirror pod annotation"))
		}
	}
	for _, key := range sortedKeys(old.Annotations) {
		if value, kept := pod.Annotations[key]; !kept || value != old.Annotations[key] {
			refuse(key, "remove or update")
		}
	}
	for _, key := range sortedKeys(pod.Annotations) {
		if _, was := old.Annotations[key]; !was {
			refuse(key, "add")
		}
	}
	return append(errs, validatePodAnnotations(p, pod.Annotations, &pod.Spec, allow)...)
}

// ValidateTemplateMeta checks the metadata of what a template makes.
func ValidateTemplateMeta(p *field.Path, meta *metav1.ObjectMeta) field.ErrorList {
	return validateTemplateMeta(p, meta)
}
