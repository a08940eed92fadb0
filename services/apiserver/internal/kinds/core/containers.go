package core

import (
	"cmp"
	"iter"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// containers yields every container of a pod with its path: init containers
// first, then the regular and the ephemeral ones.
func containers(spec *corev1.PodSpec, p *field.Path) iter.Seq2[*corev1.Container, *field.Path] {
	return func(yield func(*corev1.Container, *field.Path) bool) {
		for i := range spec.InitContainers {
			if !yield(&spec.InitContainers[i], p.Child("initContainers").Index(i)) {
				return
			}
		}
		for i := range spec.Containers {
			if !yield(&spec.Containers[i], p.Child("containers").Index(i)) {
				return
			}
		}
		for i := range spec.EphemeralContainers {
			if !yield(asContainer(&spec.EphemeralContainers[i]), p.Child("ephemeralContainers").Index(i)) {
				return
			}
		}
	}
}

// asContainer relies on the two types having the same fields.
func asContainer(c *corev1.EphemeralContainer) *corev1.Container {
	return (*corev1.Container)(&c.EphemeralContainerCommon)
}

// isSidecar tells init containers that keep running from those that end.
func isSidecar(c *corev1.Container) bool {
	return c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways
}

// sortedKeys makes the order of errors about a map's entries certain.
func sortedKeys[K cmp.Ordered, V any](m map[K]V) []K {
	if len(m) == 0 {
		return nil
	}
	return slices.Sorted(maps.Keys(m))
}
