package catalog

import (
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// Siblings selects the pods that belong together with a pod: those that all
// its services select, and that its controller does.
func (c *Catalog) Siblings(p *corev1.Pod) labels.Selector {
	merged := labels.Set{}
	for _, s := range c.services.List(p.Namespace, nil) {
		// A service without a selector has its endpoints made by hand.
		if s.Spec.Selector != nil && matches(s.Spec.Selector, p.Labels) {
			merged = labels.Merge(merged, s.Spec.Selector)
		}
	}
	owner := metav1.GetControllerOfNoCopy(p)
	if owner == nil {
		return merged.AsSelector()
	}
	switch owner.APIVersion + " " + owner.Kind {
	case "v1 ReplicationController":
		if r, ok := c.controllers.Get(p.Namespace, owner.Name); ok {
			merged = labels.Merge(merged, r.Spec.Selector)
		}
	case "apps/v1 ReplicaSet":
		if r, ok := c.replicaSets.Get(p.Namespace, owner.Name); ok {
			return add(merged.AsSelector(), r.Spec.Selector)
		}
	case "apps/v1 StatefulSet":
		if s, ok := c.stateful.Get(p.Namespace, owner.Name); ok {
			return add(merged.AsSelector(), s.Spec.Selector)
		}
	}
	return merged.AsSelector()
}

func matches(selector, set map[string]string) bool {
	for key, value := range selector {
		if have, ok := set[key]; !ok || have != value {
			return false
		}
	}
	return true
}

func add(s labels.Selector, more *metav1.LabelSelector) labels.Selector {
	parsed, err := metav1.LabelSelectorAsSelector(more)
	if err != nil {
		return s
	}
	requirements, selectable := parsed.Requirements()
	if !selectable {
		return s
	}
	return s.Add(requirements...)
}
