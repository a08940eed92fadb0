// Package spread counts pods by topology domain for the constraints that ask
// to spread them evenly. The filter and the score of that name share it.
package spread

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"coracle.local/services/scheduler/internal/cluster"
)

// Constraint is a topology spread constraint with its selector parsed.
type Constraint struct {
	Key        string
	MaxSkew    int64
	MinDomains int
	Selector   labels.Selector
	// HonorAffinity leaves nodes out that the pod's node affinity excludes,
	// HonorTaints those whose taints it does not tolerate.
	HonorAffinity, HonorTaints bool
}

// Of returns the pod's own constraints of one kind.
func Of(pod *corev1.Pod, action corev1.UnsatisfiableConstraintAction) ([]Constraint, error) {
	var out []Constraint
	for i := range pod.Spec.TopologySpreadConstraints {
		c := &pod.Spec.TopologySpreadConstraints[i]
		if c.WhenUnsatisfiable != action {
			continue
		}
		selector, err := metav1.LabelSelectorAsSelector(c.LabelSelector)
		if err != nil {
			return nil, fmt.Errorf("read the selector of topology spread constraint %q: %w", c.TopologyKey, err)
		}
		parsed := Constraint{
			Key: c.TopologyKey, MaxSkew: int64(c.MaxSkew), MinDomains: 1,
			Selector:      withLabels(selector, c.MatchLabelKeys, pod.Labels),
			HonorAffinity: c.NodeAffinityPolicy == nil || *c.NodeAffinityPolicy == corev1.NodeInclusionPolicyHonor,
			HonorTaints:   c.NodeTaintsPolicy != nil && *c.NodeTaintsPolicy == corev1.NodeInclusionPolicyHonor,
		}
		if c.MinDomains != nil {
			parsed.MinDomains = int(*c.MinDomains)
		}
		out = append(out, parsed)
	}
	return out, nil
}

// withLabels adds the pod's own values of some labels to a selector.
func withLabels(s labels.Selector, keys []string, values map[string]string) labels.Selector {
	set := labels.Set{}
	for _, key := range keys {
		if value, ok := values[key]; ok {
			set[key] = value
		}
	}
	requirements, selectable := s.Requirements()
	if len(set) == 0 || !selectable {
		return s
	}
	return labels.SelectorFromSet(set).Add(requirements...)
}

// Default returns the preferences that hold for pods without constraints of
// their own: spread the pods of a service or controller over nodes, and over
// zones.
func Default(pod *corev1.Pod, w cluster.Workloads) []Constraint {
	selector := w.Siblings(pod)
	if selector == nil || selector.Empty() {
		return nil
	}
	return []Constraint{
		{Key: corev1.LabelHostname, MaxSkew: 3, MinDomains: 1, Selector: selector, HonorAffinity: true},
		{Key: corev1.LabelTopologyZone, MaxSkew: 5, MinDomains: 1, Selector: selector, HonorAffinity: true},
	}
}

// Keys lists the topology keys of constraints.
func Keys(constraints []Constraint) []string {
	keys := make([]string, len(constraints))
	for i := range constraints {
		keys[i] = constraints[i].Key
	}
	return keys
}

// hasAll tells whether a node has a label for every key.
func hasAll(node *corev1.Node, keys []string) bool {
	return !slices.ContainsFunc(keys, func(key string) bool {
		_, ok := node.Labels[key]
		return !ok
	})
}
