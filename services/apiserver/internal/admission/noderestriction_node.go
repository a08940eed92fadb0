package admission

import (
	"fmt"
	"sort"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// restrictNode lets a kubelet write its own Node, without what would let it
// draw pods or rights to itself: taints, owners, restricted labels.
func restrictNode(name string, a *Attributes) error {
	if a.Name != name {
		return forbidden(a, fmt.Errorf("node %q is not allowed to modify node %q", name, a.Name))
	}
	if a.Operation != Create && a.Operation != Update {
		return nil
	}
	node, err := typed[*corev1.Node](a, a.Object)
	if err != nil {
		return err
	}
	if a.Operation == Create {
		if node.Spec.ConfigSource != nil {
			return forbidden(a, fmt.Errorf("node %q is not allowed to create pods with a non-nil configSource", name))
		}
		if labels := forbiddenLabels(node.Labels, nil); len(labels) > 0 {
			return forbidden(a, fmt.Errorf("node %q is not allowed to set the following labels: %s", name, strings.Join(labels, ", ")))
		}
		return nil
	}
	old, err := typed[*corev1.Node](a, a.Old)
	if err != nil {
		return err
	}
	switch {
	case node.Spec.ConfigSource != nil && !equality.Semantic.DeepEqual(node.Spec.ConfigSource, old.Spec.ConfigSource):
		return forbidden(a, fmt.Errorf("node %q is not allowed to update configSource to a new non-nil configSource", name))
	case !equality.Semantic.DeepEqual(node.Spec.Taints, old.Spec.Taints):
		return forbidden(a, fmt.Errorf("node %q is not allowed to modify taints", name))
	case !equality.Semantic.DeepEqual(node.OwnerReferences, old.OwnerReferences):
		return forbidden(a, fmt.Errorf("node %q is not allowed to modify ownerReferences", name))
	}
	if labels := forbiddenLabels(node.Labels, old.Labels); len(labels) > 0 {
		return forbidden(a, fmt.Errorf("is not allowed to modify labels: %s", strings.Join(labels, ", ")))
	}
	return nil
}

// forbiddenLabels returns the labels that differ and are not a kubelet's to
// set, sorted.
func forbiddenLabels(now, old map[string]string) []string {
	changed := map[string]bool{}
	for key, value := range now {
		if before, ok := old[key]; !ok || before != value {
			changed[key] = true
		}
	}
	for key := range old {
		if _, ok := now[key]; !ok {
			changed[key] = true
		}
	}
	var out []string
	for key := range changed {
		domain := labelDomain(key)
		restricted := below(domain, corev1.LabelNamespaceNodeRestriction)
		kubernetes := below(domain, "kubernetes.io") || below(domain, "k8s.io")
		if restricted || (kubernetes && !kubeletLabel(key, domain)) {
			out = append(out, key)
		}
	}
	sort.Strings(out)
	return out
}

// kubeletLabel tells whether a label of Kubernetes' own domains is one that
// kubelets set on their node.
func kubeletLabel(key, domain string) bool {
	switch key {
	case corev1.LabelHostname, corev1.LabelTopologyZone, corev1.LabelTopologyRegion,
		corev1.LabelFailureDomainBetaZone, corev1.LabelFailureDomainBetaRegion,
		corev1.LabelInstanceType, corev1.LabelInstanceTypeStable,
		corev1.LabelOSStable, corev1.LabelArchStable, "beta.kubernetes.io/os", "beta.kubernetes.io/arch":
		return true
	}
	return below(domain, corev1.LabelNamespaceSuffixKubelet) || below(domain, corev1.LabelNamespaceSuffixNode)
}

func labelDomain(key string) string {
	domain, _, ok := strings.Cut(key, "/")
	if !ok {
		return ""
	}
	return domain
}

func below(domain, parent string) bool {
	return domain == parent || strings.HasSuffix(domain, "."+parent)
}
