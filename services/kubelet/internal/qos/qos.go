// Package qos sorts pods by how much of their resources they were promised,
// and derives from that who goes first when a node runs out of memory.
package qos

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
)

// Of is a pod's class: what the API server wrote, else computed.
func Of(pod *corev1.Pod) corev1.PodQOSClass {
	if pod.Status.QOSClass != "" {
		return pod.Status.QOSClass
	}
	if pod.Spec.Resources != nil && resource.IsPodLevelResourcesSet(pod) {
		return ofRequirements(pod.Spec.Resources)
	}
	var class corev1.PodQOSClass
	for _, list := range [][]corev1.Container{pod.Spec.InitContainers, pod.Spec.Containers} {
		for i := range list {
			c := ofRequirements(&list[i].Resources)
			if class == "" {
				class = c
			}
			if c != class || c == corev1.PodQOSBurstable {
				return corev1.PodQOSBurstable
			}
		}
	}
	if class == "" {
		return corev1.PodQOSBestEffort
	}
	return class
}

func ofRequirements(r *corev1.ResourceRequirements) corev1.PodQOSClass {
	var class corev1.PodQOSClass
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		request, limit := r.Requests[name], r.Limits[name]
		c := corev1.PodQOSGuaranteed
		switch {
		case !request.Equal(limit):
			return corev1.PodQOSBurstable
		case request.IsZero():
			c = corev1.PodQOSBestEffort
		}
		if class != "" && c != class {
			return corev1.PodQOSBurstable
		}
		class = c
	}
	return class
}

// Scores of the kernel's out-of-memory killer; the higher go first.
const (
	guaranteedScore = -997
	bestEffortScore = 1000
	// Pods of this priority and above keep the node alive.
	nodeCriticalPriority = 2000001000
)

// OOMScoreAdj is a container's adjustment, by upstream's rule: a burstable
// container that asked for a tenth of the memory starts at 900, so that one
// which uses more than it asked for outranks the others.
func OOMScoreAdj(pod *corev1.Pod, c *corev1.Container, memory int64) int {
	if p := pod.Spec.Priority; p != nil && *p >= nodeCriticalPriority {
		return guaranteedScore
	}
	switch Of(pod) {
	case corev1.PodQOSGuaranteed:
		return guaranteedScore
	case corev1.PodQOSBestEffort:
		return bestEffortScore
	}
	if memory <= 0 {
		return bestEffortScore - 1
	}
	request := c.Resources.Requests.Memory().Value()
	if isSidecar(pod, c) {
		// A sidecar must not go before the containers it serves.
		request = max(request, smallestRequest(pod))
	}
	score := 1000 - int(1000*request/memory)
	// The guaranteed stay below the burstable, and those below the best-effort.
	return min(max(score, 1000+guaranteedScore), bestEffortScore-1)
}

func isSidecar(pod *corev1.Pod, c *corev1.Container) bool {
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == c.Name {
			return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
		}
	}
	return false
}

func smallestRequest(pod *corev1.Pod) int64 {
	smallest := int64(-1)
	for i := range pod.Spec.Containers {
		if v := pod.Spec.Containers[i].Resources.Requests.Memory().Value(); smallest < 0 || v < smallest {
			smallest = v
		}
	}
	return smallest
}
