package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// revertUpdatable returns a copy of the new spec in which the fields that an
// update may change have their old values again, so that what still differs
// is what may not. It checks the changes that pods which wait at a gate may
// have besides.
func revertUpdatable(pod, old *corev1.Pod) (*corev1.PodSpec, field.ErrorList) {
	spec := pod.Spec.DeepCopy()
	for i := range spec.Containers {
		spec.Containers[i].Image = old.Spec.Containers[i].Image
	}
	for i := range spec.InitContainers {
		spec.InitContainers[i].Image = old.Spec.InitContainers[i].Image
	}
	spec.ActiveDeadlineSeconds = old.Spec.ActiveDeadlineSeconds
	spec.SchedulingGates = old.Spec.SchedulingGates
	spec.Tolerations = old.Spec.Tolerations
	if was, is := old.Spec.TerminationGracePeriodSeconds, spec.TerminationGracePeriodSeconds; was != nil && *was < 0 && is != nil && *is == 1 {
		spec.TerminationGracePeriodSeconds = was
	}
	if len(old.Spec.SchedulingGates) == 0 {
		return spec, nil
	}
	var errs field.ErrorList
	if !equality.Semantic.DeepEqual(spec.NodeSelector, old.Spec.NodeSelector) {
		errs = append(errs, validateSelectorGrows(specPath.Child("nodeSelector"), spec.NodeSelector, old.Spec.NodeSelector)...)
		spec.NodeSelector = old.Spec.NodeSelector
	}
	is, was := nodeAffinity(spec), nodeAffinity(&old.Spec)
	if !equality.Semantic.DeepEqual(is, was) {
		errs = append(errs, validateAffinityNarrows(specPath.Child("affinity", "nodeAffinity"), is, was)...)
		revertNodeAffinity(spec, &old.Spec)
	}
	return spec, errs
}

func nodeAffinity(spec *corev1.PodSpec) *corev1.NodeAffinity {
	if spec.Affinity == nil {
		return nil
	}
	return spec.Affinity.NodeAffinity
}

func revertNodeAffinity(spec, old *corev1.PodSpec) {
	was := nodeAffinity(old)
	switch a := spec.Affinity; {
	case a == nil && was == nil:
	case a == nil:
		spec.Affinity = &corev1.Affinity{NodeAffinity: was}
	case old.Affinity == nil && a.PodAffinity == nil && a.PodAntiAffinity == nil:
		spec.Affinity = nil
	default:
		a.NodeAffinity = was
	}
}

func validateSelectorGrows(p *field.Path, selector, old map[string]string) field.ErrorList {
	for key, value := range old {
		if now, kept := selector[key]; !kept || now != value {
			return field.ErrorList{field.Invalid(p, selector, "only additions to spec.nodeSelector are allowed (no mutations or deletions)")}
		}
	}
	return nil
}

// validateAffinityNarrows lets requirements be added to the terms there are,
// so that the pod fits on fewer nodes than before but on no others.
func validateAffinityNarrows(p *field.Path, affinity, old *corev1.NodeAffinity) field.ErrorList {
	if old == nil || old.RequiredDuringSchedulingIgnoredDuringExecution == nil {
		return nil
	}
	at := p.Child(required, "nodeSelectorTerms")
	was := old.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	var is []corev1.NodeSelectorTerm
	if affinity != nil && affinity.RequiredDuringSchedulingIgnoredDuringExecution != nil {
		is = affinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	}
	if len(was) > 0 && len(was) != len(is) {
		return field.ErrorList{field.Invalid(at, is, "no additions/deletions to non-empty NodeSelectorTerms list are allowed")}
	}
	var errs field.ErrorList
	for i := range was {
		if !termGrows(&is[i], &was[i]) {
			errs = append(errs, field.Invalid(at.Index(i), is[i], "only additions are allowed (no mutations or deletions)"))
		}
	}
	return errs
}

func termGrows(term, old *corev1.NodeSelectorTerm) bool {
	if len(old.MatchExpressions) == 0 && len(old.MatchFields) == 0 {
		// An empty term matches nothing; with requirements it would match.
		return len(term.MatchExpressions) == 0 && len(term.MatchFields) == 0
	}
	return beginsWith(term.MatchExpressions, old.MatchExpressions) && beginsWith(term.MatchFields, old.MatchFields)
}

func beginsWith(list, beginning []corev1.NodeSelectorRequirement) bool {
	n := len(beginning)
	return n == 0 || (len(list) >= n && equality.Semantic.DeepEqual(list[:n], beginning))
}
