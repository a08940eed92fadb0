package core

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/strategy"
)

// Pod is the behaviour of core/v1 Pod.
func Pod() strategy.Kind[*corev1.Pod] {
	return strategy.Kind[*corev1.Pod]{
		Default:         defaultPod,
		PrepareWarnings: appArmorWarnings,
		PrepareCreate:   preparePod,
		PrepareUpdate:   preparePodUpdate,
		ValidateCreate:  validatePodCreate,
		ValidateUpdate:  validatePodUpdate,
		Warnings:        podWarnings,
		Status: &strategy.Sub[*corev1.Pod]{
			PrepareUpdate:  preparePodStatus,
			ValidateUpdate: validatePodStatus,
			Warnings:       podStatusWarnings,
		},
		Subresources: map[string]*strategy.Sub[*corev1.Pod]{
			"ephemeralcontainers": {PrepareUpdate: prepareEphemeral, ValidateUpdate: validateEphemeralUpdate},
			"resize":              {PrepareUpdate: prepareResize, ValidateUpdate: validateResize},
		},
		Fields:                   podFields,
		GracefulDelete:           gracefulPodDelete,
		AllowUnconditionalUpdate: true,
		Columns:                  podColumns(),
		Cells:                    podCells,
		RowConditions:            podRowConditions,
		ResetFields: map[string][]string{
			"":       {"status"},
			"status": {"spec", "metadata.deletionTimestamp", "metadata.ownerReferences"},
		},
	}
}

func preparePod(pod *corev1.Pod) {
	pod.Generation = 1
	pod.Status = corev1.PodStatus{Phase: corev1.PodPending}
	dropDisabledFields(&pod.Spec)
	dropInitAnnotations(pod.Annotations)
	if len(pod.Spec.SchedulingGates) > 0 {
		pod.Status.Conditions = []corev1.PodCondition{{
			Type:               corev1.PodScheduled,
			Status:             corev1.ConditionFalse,
			Reason:             corev1.PodReasonSchedulingGated,
			Message:            "Scheduling is blocked due to non-empty scheduling gates",
			LastTransitionTime: metav1.Now(),
		}}
	}
	mergeLabelKeys(pod)
	adoptAppArmorAnnotations(pod)
	defaultPodResources(pod)
	pod.Status.QOSClass = QOSClass(pod)
}

func preparePodUpdate(pod, old *corev1.Pod) {
	pod.Status = old.Status
	if pod.Spec.Resources == nil {
		// Clients that do not know the field drop it.
		pod.Spec.Resources = old.Spec.Resources.DeepCopy()
	}
	dropDisabledFields(&pod.Spec)
	dropInitAnnotations(pod.Annotations)
	raisePodGeneration(pod, old)
}

func raisePodGeneration(pod, old *corev1.Pod) {
	strategy.Generation(pod, old, !equality.Semantic.DeepEqual(pod.Spec, old.Spec))
}

func podFields(pod *corev1.Pod) fields.Set {
	ip := ""
	if len(pod.Status.PodIPs) > 0 {
		ip = pod.Status.PodIPs[0].IP
	}
	return fields.Set{
		"spec.nodeName":            pod.Spec.NodeName,
		"spec.restartPolicy":       string(pod.Spec.RestartPolicy),
		"spec.schedulerName":       pod.Spec.SchedulerName,
		"spec.serviceAccountName":  pod.Spec.ServiceAccountName,
		"spec.hostNetwork":         strconv.FormatBool(pod.Spec.HostNetwork),
		"status.phase":             string(pod.Status.Phase),
		"status.podIP":             ip,
		"status.nominatedNodeName": pod.Status.NominatedNodeName,
	}
}

// gracefulPodDelete always marks a pod first. It goes at once, as a grace
// period of zero, if there is no kubelet that would confirm its end.
func gracefulPodDelete(pod *corev1.Pod, opts *metav1.DeleteOptions) (seconds int64, graceful bool) {
	switch {
	case opts != nil && opts.GracePeriodSeconds != nil:
		seconds = *opts.GracePeriodSeconds
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		seconds = *pod.Spec.TerminationGracePeriodSeconds
	}
	ended := pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded
	switch {
	case pod.Spec.NodeName == "" || ended:
		seconds = 0
	case seconds < 0:
		seconds = 1
	}
	return seconds, seconds > 0
}

func podWarnings(pod, old *corev1.Pod) []string {
	if old != nil {
		// Nobody reads what a controller is told at every update.
		return nil
	}
	var warnings []string
	if wrong := validation.IsDNS1123Label(pod.Name); len(wrong) > 0 {
		warnings = append(warnings, fmt.Sprintf(
			"metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: %v", wrong))
	}
	return append(warnings, podSpecWarnings(nil, &pod.Spec, &pod.ObjectMeta)...)
}

func podStatusWarnings(pod, _ *corev1.Pod) []string {
	var warnings []string
	for i, ip := range pod.Status.PodIPs {
		warnings = append(warnings, validation.GetWarningsForIP(statusPath.Child("podIPs").Index(i).Child("ip"), ip.IP)...)
	}
	for i, ip := range pod.Status.HostIPs {
		warnings = append(warnings, validation.GetWarningsForIP(statusPath.Child("hostIPs").Index(i).Child("ip"), ip.IP)...)
	}
	return warnings
}

// resetMetaForStatus lets a subresource change only what belongs to it: the
// rest of the metadata is the main resource's.
func resetMetaForStatus(meta, old *metav1.ObjectMeta) { metav1.ResetObjectMetaForStatus(meta, old) }

func prepareEphemeral(pod, old *corev1.Pod) {
	added := pod.Spec.EphemeralContainers
	old.Spec.DeepCopyInto(&pod.Spec)
	pod.Spec.EphemeralContainers = added
	pod.Status = old.Status
	resetMetaForStatus(&pod.ObjectMeta, &old.ObjectMeta)
	dropDisabledFields(&pod.Spec)
	raisePodGeneration(pod, old)
}

func validateEphemeralUpdate(pod, old *corev1.Pod) field.ErrorList {
	if isMirror(&old.ObjectMeta) {
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods do not support ephemeral containers")}
	}
	allow := PodAllowances(old)
	errs := validatePod(pod, allow)
	errs = append(errs, validatePodAnnotationUpdate(pod, old, allow)...)
	now := make(map[string]*corev1.EphemeralContainer, len(pod.Spec.EphemeralContainers))
	for i := range pod.Spec.EphemeralContainers {
		now[pod.Spec.EphemeralContainers[i].Name] = &pod.Spec.EphemeralContainers[i]
	}
	at := specPath.Child("ephemeralContainers")
	for i := range old.Spec.EphemeralContainers {
		was := &old.Spec.EphemeralContainers[i]
		is := now[was.Name]
		if is == nil {
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("existing ephemeral containers %q may not be removed\n", was.Name)))
			continue
		}
		if !equality.Semantic.DeepEqual(was, is) {
			errs = append(errs, field.Forbidden(at, fmt.Sprintf("existing ephemeral containers %q may not be changed\n%v", was.Name, diffOf(was, is))))
		}
	}
	return errs
}
