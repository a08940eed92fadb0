package core

import (
	"encoding/json"
	"iter"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// podTerms yields all terms that are about other pods.
func podTerms(affinity *corev1.Affinity) iter.Seq[*corev1.PodAffinityTerm] {
	return func(yield func(*corev1.PodAffinityTerm) bool) {
		var must [][]corev1.PodAffinityTerm
		var should [][]corev1.WeightedPodAffinityTerm
		if affinity != nil && affinity.PodAffinity != nil {
			must = append(must, affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
			should = append(should, affinity.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
		}
		if affinity != nil && affinity.PodAntiAffinity != nil {
			must = append(must, affinity.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution)
			should = append(should, affinity.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
		}
		for i := range must {
			for j := range must[i] {
				if !yield(&must[i][j]) {
					return
				}
			}
			for j := range should[i] {
				if !yield(&should[i][j].PodAffinityTerm) {
					return
				}
			}
		}
	}
}

// mergeLabelKeys writes what matchLabelKeys mean for this pod into the
// selectors beside them, so that the scheduler need not know of the pod's
// labels. A selector that is nil matches nothing and stays so.
func mergeLabelKeys(pod *corev1.Pod) {
	for term := range podTerms(pod.Spec.Affinity) {
		if term.LabelSelector != nil {
			mergeKeys(term.LabelSelector, term.MatchLabelKeys, metav1.LabelSelectorOpIn, pod.Labels)
			mergeKeys(term.LabelSelector, term.MismatchLabelKeys, metav1.LabelSelectorOpNotIn, pod.Labels)
		}
	}
	for i := range pod.Spec.TopologySpreadConstraints {
		if c := &pod.Spec.TopologySpreadConstraints[i]; c.LabelSelector != nil {
			mergeKeys(c.LabelSelector, c.MatchLabelKeys, metav1.LabelSelectorOpIn, pod.Labels)
		}
	}
}

func mergeKeys(selector *metav1.LabelSelector, keys []string, operator metav1.LabelSelectorOperator, labels map[string]string) {
	for _, key := range keys {
		if value, ok := labels[key]; ok {
			selector.MatchExpressions = append(selector.MatchExpressions,
				metav1.LabelSelectorRequirement{Key: key, Operator: operator, Values: []string{value}})
		}
	}
}

// tolerationsAnnotation is where tolerations stood before they were a field.
const tolerationsAnnotation = "scheduler.alpha.kubernetes.io/tolerations"

func validateTolerationsAnnotation(p *field.Path, annotations map[string]string) field.ErrorList {
	encoded := annotations[tolerationsAnnotation]
	if encoded == "" {
		return nil
	}
	var tolerations []corev1.Toleration
	if err := json.Unmarshal([]byte(encoded), &tolerations); err != nil {
		return field.ErrorList{field.Invalid(p, tolerationsAnnotation, err.Error())}
	}
	return ValidateTolerations(p.Child(tolerationsAnnotation), tolerations)
}
