package strategy

import (
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/fields"

	"coracle.local/libs/kinds"
)

// Selectable names the fields of a kind that can be selected beyond its name
// and namespace; nil if there are none.
func Selectable(k *kinds.Kind, s *Erased) []string {
	if s == nil || s.Fields == nil {
		return nil
	}
	names := []string{}
	for name := range s.Fields(k.New()) {
		names = append(names, name)
	}
	return names
}

// CheckFields holds a field selector to the fields that a kind has, which are
// known beyond its name and namespace, and refuses others in upstream's words.
func CheckFields(k *kinds.Kind, known []string, s fields.Selector) (fields.Selector, error) {
	return s.Transform(func(label, value string) (string, string, error) {
		switch {
		case k.Custom() && slices.Contains(known, label):
			return label, value, nil
		case k.Custom() && label != "metadata.name" && (label != "metadata.namespace" || !k.Namespaced):
			return "", "", fmt.Errorf("field label not supported: %s", label)
		case k.Kind == "PodCertificateRequest" && label == "metadata.namespace":
			return "", "", fmt.Errorf("field label not supported: %s", label) // though it has one
		case label == "metadata.name", label == "metadata.namespace" && (k.Namespaced || known == nil), slices.Contains(known, label):
			return label, value, nil
		case label == "spec.host" && k.Kind == "Pod":
			return "spec.nodeName", value, nil // what it was called once
		case known == nil, k.Kind == "ReplicaSet" && k.Group == "apps":
			return "", "", fmt.Errorf("%q is not a known field selector: only \"metadata.name\", \"metadata.namespace\"", label)
		case k.Kind == "Job":
			return "", "", fmt.Errorf("field label %q not supported for Job", label)
		case k.Kind == "ResourceSlice":
			return "", "", fmt.Errorf("field label not supported for %s: %s", k.GroupVersionKind(), label)
		}
		return "", "", fmt.Errorf("field label not supported: %s", label)
	})
}
