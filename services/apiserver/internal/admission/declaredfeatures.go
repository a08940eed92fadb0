package admission

import (
	"context"
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/version"
	features "k8s.io/component-helpers/nodedeclaredfeatures"
)

// declaredFeatures refuses changes of a pod that its node's kubelet does not
// know how to carry out.
type declaredFeatures struct {
	lookup  lookup
	version *version.Version
}

// apiVersion is the version by which features count as new.
const apiVersion = "1.37.2"

func newDeclaredFeatures(c Config) *declaredFeatures {
	return &declaredFeatures{c.lookup(), version.MustParse(apiVersion)}
}

func (p *declaredFeatures) Validate(_ context.Context, a *Attributes) error {
	pod, ok := a.Object.(*corev1.Pod)
	if !ok || !a.on("", "pods") || a.Operation != Update || a.Subresource != "" && a.Subresource != "resize" || pod.Spec.NodeName == "" {
		return nil
	}
	old, ok := a.Old.(*corev1.Pod)
	if !ok || old.Generation == pod.Generation {
		return nil
	}
	needed, err := features.DefaultFramework.InferForPodUpdate(
		&features.PodInfo{Spec: &old.Spec, Status: &old.Status}, &features.PodInfo{Spec: &pod.Spec, Status: &pod.Status}, p.version)
	if err != nil {
		return forbidden(a, fmt.Errorf("failed to infer pod capability requirements: %w", err))
	}
	if needed.IsEmpty() {
		return nil
	}
	node, err := cached[*corev1.Node](p.lookup, "", pod.Spec.NodeName)
	if err != nil {
		if apierrors.IsNotFound(err) {
			return forbidden(a, fmt.Errorf("node %q not found", pod.Spec.NodeName))
		}
		return forbidden(a, fmt.Errorf("failed to get node %q: %w", pod.Spec.NodeName, err))
	}
	match, err := features.DefaultFramework.MatchNode(needed, node)
	if err != nil {
		return forbidden(a, fmt.Errorf("failed to match pod requirements against node %q: %w", node.Name, err))
	}
	if !match.IsMatch {
		return forbidden(a, fmt.Errorf("pod update requires features %s which are not available on node %q",
			strings.Join(match.UnsatisfiedRequirements, ", "), node.Name))
	}
	return nil
}
