// Package cluster is what the scheduler knows: nodes, the pods on them, and
// the log of their changes. Nodes and pods are immutable values, so that a
// view of the cluster can be handed to anybody.
package cluster

import (
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	resourcehelper "k8s.io/component-helpers/resource"
)

// MinimalMilliCPU and MinimalMemory stand in scores for the requests of a
// container that names none, so that such pods do not pile up on one node.
const (
	MinimalMilliCPU = 100
	MinimalMemory   = 200 * 1024 * 1024
)

// Resources are amounts in the units that filters compare: thousandths of a
// CPU, bytes, and pieces of everything else.
type Resources struct {
	MilliCPU         int64
	Memory           int64
	EphemeralStorage int64
	// Scalar holds extended resources, huge pages and attachable volumes. It is
	// shared between values and never modified in place.
	Scalar map[corev1.ResourceName]int64
}

// IsScalar tells whether the scheduler counts a resource in whole pieces.
func IsScalar(name corev1.ResourceName) bool {
	s := string(name)
	return strings.Contains(s, "/") ||
		strings.HasPrefix(s, corev1.ResourceHugePagesPrefix) ||
		strings.HasPrefix(s, corev1.ResourceAttachableVolumesPrefix)
}

// ResourcesOf converts a list. Resources that no filter counts are left out.
func ResourcesOf(list corev1.ResourceList) Resources {
	var r Resources
	for name, q := range list {
		switch name {
		case corev1.ResourceCPU:
			r.MilliCPU = q.MilliValue()
		case corev1.ResourceMemory:
			r.Memory = q.Value()
		case corev1.ResourceEphemeralStorage:
			r.EphemeralStorage = q.Value()
		default:
			if !IsScalar(name) {
				continue
			}
			if r.Scalar == nil {
				r.Scalar = map[corev1.ResourceName]int64{}
			}
			r.Scalar[name] = q.Value()
		}
	}
	return r
}

// Plus adds other, sign times.
func (r Resources) Plus(other Resources, sign int64) Resources {
	r.MilliCPU += sign * other.MilliCPU
	r.Memory += sign * other.Memory
	r.EphemeralStorage += sign * other.EphemeralStorage
	if len(other.Scalar) == 0 {
		return r
	}
	sum := maps.Clone(r.Scalar)
	if sum == nil {
		sum = make(map[corev1.ResourceName]int64, len(other.Scalar))
	}
	for name, n := range other.Scalar {
		sum[name] += sign * n
	}
	r.Scalar = sum
	return r
}

// Equal tells whether both are the same amounts.
func (r Resources) Equal(other Resources) bool {
	return r.MilliCPU == other.MilliCPU && r.Memory == other.Memory &&
		r.EphemeralStorage == other.EphemeralStorage && maps.Equal(r.Scalar, other.Scalar)
}

// IsZero tells whether nothing is asked for.
func (r Resources) IsZero() bool {
	return r.MilliCPU == 0 && r.Memory == 0 && r.EphemeralStorage == 0 && len(r.Scalar) == 0
}

// requestsOf sums a pod's containers, init containers, sidecars and overhead,
// once as they are and once with the minimal stand-ins for scoring.
func requestsOf(pod *corev1.Pod) (requests, scored Resources) {
	opts := resourcehelper.PodResourcesOptions{
		UseStatusResources: true,
		InPlacePodLevelResourcesVerticalScalingEnabled: true,
	}
	requests = ResourcesOf(resourcehelper.PodRequests(pod, opts))
	if everyContainerAsks(pod) {
		return requests, Resources{MilliCPU: requests.MilliCPU, Memory: requests.Memory}
	}
	opts.NonMissingContainerRequests = corev1.ResourceList{
		corev1.ResourceCPU:    *resource.NewMilliQuantity(MinimalMilliCPU, resource.DecimalSI),
		corev1.ResourceMemory: *resource.NewQuantity(MinimalMemory, resource.BinarySI),
	}
	padded := ResourcesOf(resourcehelper.PodRequests(pod, opts))
	return requests, Resources{MilliCPU: padded.MilliCPU, Memory: padded.Memory}
}

// everyContainerAsks spares the second sum for pods whose containers all name
// both requests.
func everyContainerAsks(pod *corev1.Pod) bool {
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			requests := list[i].Resources.Requests
			if _, ok := requests[corev1.ResourceCPU]; !ok {
				return false
			}
			if _, ok := requests[corev1.ResourceMemory]; !ok {
				return false
			}
		}
	}
	return true
}
