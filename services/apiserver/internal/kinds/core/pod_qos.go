package core

import (
	corev1 "k8s.io/api/core/v1"
	resourcehelper "k8s.io/component-helpers/resource"
)

// QOSClass computes the class from the pod's own resources if it has any,
// else from those of its containers: all guaranteed, all best effort, or
// burstable.
func QOSClass(pod *corev1.Pod) corev1.PodQOSClass {
	if resourcehelper.IsPodLevelResourcesSet(pod) {
		return qosOf(pod.Spec.Resources)
	}
	var class corev1.PodQOSClass
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			class = combineQOS(class, qosOf(&list[i].Resources))
		}
	}
	if class == "" {
		return corev1.PodQOSBestEffort
	}
	return class
}

func qosOf(r *corev1.ResourceRequirements) corev1.PodQOSClass {
	var class corev1.PodQOSClass
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		request, limit := r.Requests[name], r.Limits[name]
		switch {
		case !request.Equal(limit):
			class = corev1.PodQOSBurstable
		case request.IsZero():
			class = combineQOS(class, corev1.PodQOSBestEffort)
		default:
			class = combineQOS(class, corev1.PodQOSGuaranteed)
		}
	}
	return class
}

// combineQOS: classes that differ make a burstable whole.
func combineQOS(a, b corev1.PodQOSClass) corev1.PodQOSClass {
	if a == "" || a == b {
		return b
	}
	return corev1.PodQOSBurstable
}
