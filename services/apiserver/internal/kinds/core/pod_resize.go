package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func addResource(list *corev1.ResourceList, name corev1.ResourceName, quantity resource.Quantity) {
	if *list == nil {
		*list = corev1.ResourceList{}
	}
	if _, set := (*list)[name]; !set {
		(*list)[name] = quantity
	}
}

// prepareResize keeps nothing of the new pod but its resources. A write that
// would add, drop, rename or reorder containers is left as it is, for the
// validation to refuse it.
func prepareResize(pod, old *corev1.Pod) {
	if len(pod.Spec.Containers) == len(old.Spec.Containers) && len(pod.Spec.InitContainers) == len(old.Spec.InitContainers) {
		whole := pod.Spec.Resources
		list := keepResources(pod.Spec.Containers, old.Spec.Containers)
		initList := keepResources(pod.Spec.InitContainers, old.Spec.InitContainers)
		old.Spec.DeepCopyInto(&pod.Spec)
		pod.Spec.Resources, pod.Spec.Containers, pod.Spec.InitContainers = whole, list, initList
		pod.Status = old.Status
		resetMetaForStatus(&pod.ObjectMeta, &old.ObjectMeta)
	}
	if pod.Spec.Resources == nil {
		pod.Spec.Resources = old.Spec.Resources.DeepCopy()
	}
	defaultPodResources(pod)
	dropDisabledFields(&pod.Spec)
	raisePodGeneration(pod, old)
}

func keepResources(list, old []corev1.Container) []corev1.Container {
	if !sameNames(list, old) {
		return list
	}
	kept := make([]corev1.Container, len(old))
	for i := range old {
		old[i].DeepCopyInto(&kept[i])
		kept[i].Resources, kept[i].ResizePolicy = list[i].Resources, list[i].ResizePolicy
	}
	if len(kept) == 0 {
		return list
	}
	return kept
}

func validateResize(pod, old *corev1.Pod) field.ErrorList {
	switch {
	case isMirror(&old.ObjectMeta):
		return field.ErrorList{field.Forbidden(field.NewPath(""), "static pods cannot be resized")}
	case old.Spec.OS != nil && old.Spec.OS.Name == corev1.Windows:
		return field.ErrorList{field.Forbidden(field.NewPath(""), "windows pods cannot be resized")}
	}
	errs := validatePod(pod, PodAllowances(old))
	class := old.Status.QOSClass
	if class == "" {
		class = QOSClass(old)
	}
	if class != QOSClass(pod) {
		errs = append(errs, field.Invalid(specPath, string(pod.Status.QOSClass), "Pod QOS Class may not change as a result of resizing"))
	}
	if !nodeResizes(old) {
		errs = append(errs, field.Forbidden(specPath, "Pod running on node without support for resize"))
	}
	reverted := pod.Spec.DeepCopy()
	errs = append(errs, validateWholeResize(pod, old, reverted)...)
	if wrong := validateSameContainers(&pod.Spec, &old.Spec); len(wrong) > 0 {
		return append(errs, wrong...)
	}
	errs = append(errs, validateNothingRemoved("initContainers", pod.Spec.InitContainers, old.Spec.InitContainers)...)
	errs = append(errs, validateNothingRemoved("containers", pod.Spec.Containers, old.Spec.Containers)...)
	errs = append(errs, revertContainerResize(reverted, &old.Spec)...)
	errs = append(errs, revertInitResize(reverted, &pod.Spec, &old.Spec)...)
	if !equality.Semantic.DeepEqual(pod.Spec.Volumes, old.Spec.Volumes) {
		errs = append(errs, field.Forbidden(specPath.Child("volumes"),
			"volumes are immutable on resize when InPlacePodVerticalScalingMemoryBackedVolumes feature gate is disabled"))
	}
	if len(errs) == 0 && !equality.Semantic.DeepEqual(*reverted, old.Spec) {
		errs = append(errs, field.Forbidden(specPath, "only cpu and memory resources are mutable"))
	}
	return errs
}

// nodeResizes looks at whether the kubelet reports the resources of a running
// container, which those that can change them do.
func nodeResizes(pod *corev1.Pod) bool {
	for i := range pod.Status.ContainerStatuses {
		if c := &pod.Status.ContainerStatuses[i]; c.State.Running != nil {
			return c.Resources != nil
		}
	}
	return true
}

func validateWholeResize(pod, old *corev1.Pod, reverted *corev1.PodSpec) field.ErrorList {
	is, was := pod.Spec.Resources, old.Spec.Resources
	if !hasResources(is) && !hasResources(was) {
		return nil
	}
	var errs field.ErrorList
	at := specPath.Child("resources")
	if was != nil {
		if is == nil {
			return field.ErrorList{field.Forbidden(at, "pod-level resources cannot be removed")}
		}
		if anyRemoved(is.Requests, was.Requests) {
			errs = append(errs, field.Forbidden(at.Child("requests"), "pod-level resource requests cannot be removed"))
		}
		if anyRemoved(is.Limits, was.Limits) {
			errs = append(errs, field.Forbidden(at.Child("limits"), "pod-level resource limits cannot be removed"))
		}
	}
	if r := reverted.Resources; r != nil {
		before := was
		if before == nil {
			before = &corev1.ResourceRequirements{}
		}
		r.Requests, r.Limits = revertCompute(r.Requests, before.Requests), revertCompute(r.Limits, before.Limits)
		if was == nil && len(r.Requests) == 0 && len(r.Limits) == 0 && len(r.Claims) == 0 {
			reverted.Resources = nil
		}
	}
	if !equality.Semantic.DeepEqual(reverted.Resources, was) {
		errs = append(errs, field.Forbidden(specPath, "only cpu and memory resources are mutable at pod-level"))
	}
	return errs
}

func hasResources(r *corev1.ResourceRequirements) bool {
	return r != nil && len(r.Requests)+len(r.Limits) > 0
}

func anyRemoved(list, old corev1.ResourceList) bool {
	for name := range old {
		if _, kept := list[name]; !kept {
			return true
		}
	}
	return false
}

// revertCompute gives processor and memory their old values again.
func revertCompute(list, old corev1.ResourceList) corev1.ResourceList {
	if list == nil && old == nil {
		return nil
	}
	reverted := corev1.ResourceList{}
	for name, quantity := range list {
		reverted[name] = quantity
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory} {
		delete(reverted, name)
		if quantity, was := old[name]; was {
			reverted[name] = quantity
		}
	}
	return reverted
}

func validateSameContainers(spec, old *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	for _, list := range []struct {
		child    string
		new, old []corev1.Container
	}{
		{"containers", spec.Containers, old.Containers},
		{"initContainers", spec.InitContainers, old.InitContainers},
	} {
		if len(list.new) != len(list.old) {
			errs = append(errs, field.Forbidden(specPath.Child(list.child), list.child+" may not be added or removed on resize"))
			continue
		}
		for i := range list.new {
			if list.new[i].Name != list.old[i].Name {
				errs = append(errs, field.Forbidden(specPath.Child(list.child).Index(i).Child("name"), list.child+" may not be renamed or reordered on resize"))
			}
		}
	}
	return errs
}

func validateNothingRemoved(child string, list, old []corev1.Container) field.ErrorList {
	var errs field.ErrorList
	for i := range list {
		at := specPath.Child(child).Index(i).Child("resources")
		if anyRemoved(list[i].Resources.Requests, old[i].Resources.Requests) {
			errs = append(errs, field.Forbidden(at.Child("requests"), "resource requests cannot be removed"))
		}
		if anyRemoved(list[i].Resources.Limits, old[i].Resources.Limits) {
			errs = append(errs, field.Forbidden(at.Child("limits"), "resource limits cannot be removed"))
		}
	}
	return errs
}

func revertContainerResize(reverted, old *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	for i := range reverted.Containers {
		revertContainer(&reverted.Containers[i], &old.Containers[i])
		if !equality.Semantic.DeepEqual(reverted.Containers[i], old.Containers[i]) {
			errs = append(errs, field.Forbidden(specPath, "only cpu and memory resources are mutable"))
		}
	}
	return errs
}

func revertContainer(c, old *corev1.Container) {
	c.Resources.Limits = revertCompute(c.Resources.Limits, old.Resources.Limits)
	c.Resources.Requests = revertCompute(c.Resources.Requests, old.Resources.Requests)
}

func revertInitResize(reverted, spec, old *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	for i := range reverted.InitContainers {
		c, at := &reverted.InitContainers[i], specPath.Child("initContainers").Index(i)
		changed := !equality.Semantic.DeepEqual(spec.InitContainers[i], old.InitContainers[i])
		revertContainer(c, &old.InitContainers[i])
		if !equality.Semantic.DeepEqual(*c, old.InitContainers[i]) {
			errs = append(errs, field.Forbidden(at, "only cpu and memory resources for init or sidecar containers are mutable"))
		}
		if !changed || isSidecar(c) {
			continue
		}
		for _, policy := range c.ResizePolicy {
			if policy.RestartPolicy == corev1.RestartContainer {
				errs = append(errs, field.Forbidden(at, "non-sidecar init containers with a resize policy of RestartContainer cannot be resized"))
			}
		}
	}
	return errs
}
