package admission

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
)

const nodeSelectorAnnotation = "scheduler.alpha.kubernetes.io/node-selector"

// podNodeSelector sends the pods of a namespace to the nodes that its
// annotation, or the cluster's default, selects.
type podNodeSelector struct {
	lookup   lookup
	settings nodeSelectorSettings
}

func (p *podNodeSelector) Admit(ctx context.Context, a *Attributes) error {
	pod, ok := p.pod(a)
	if !ok {
		return nil
	}
	wanted, err := p.selector(ctx, a.Namespace)
	if err != nil {
		return err
	}
	if labels.Conflicts(wanted, pod.Spec.NodeSelector) {
		return selectorRefused(a, pod, "pod node label selector conflicts with its namespace node label selector")
	}
	pod.Spec.NodeSelector = labels.Merge(wanted, pod.Spec.NodeSelector)
	return p.Validate(ctx, a)
}

func (p *podNodeSelector) Validate(ctx context.Context, a *Attributes) error {
	pod, ok := p.pod(a)
	if !ok {
		return nil
	}
	wanted, err := p.selector(ctx, a.Namespace)
	if err != nil {
		return err
	}
	if labels.Conflicts(wanted, pod.Spec.NodeSelector) {
		return selectorRefused(a, pod, "pod node label selector conflicts with its namespace node label selector")
	}
	allowed, err := p.settings.of(a.Namespace)
	if err != nil {
		return err
	}
	if len(allowed) == 0 {
		return nil
	}
	for key, value := range pod.Spec.NodeSelector {
		if have, ok := allowed[key]; !ok || have != value {
			return selectorRefused(a, pod, "pod node label selector labels conflict with its namespace whitelist")
		}
	}
	return nil
}

func selectorRefused(a *Attributes, pod *corev1.Pod, reason string) error {
	return apierrors.NewForbidden(a.Kind.GroupResource(), pod.Name, errors.New(reason))
}

func (p *podNodeSelector) pod(a *Attributes) (*corev1.Pod, bool) {
	pod, ok := a.Object.(*corev1.Pod)
	return pod, ok && a.on("", "pods") && a.Operation == Create && a.Subresource == ""
}

func (p *podNodeSelector) selector(ctx context.Context, namespace string) (labels.Set, error) {
	ns, err := find[*corev1.Namespace](ctx, p.lookup, "", namespace)
	if apierrors.IsNotFound(err) {
		err = fmt.Errorf("namespace %s does not exist", namespace)
	}
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	if text, ok := ns.Annotations[nodeSelectorAnnotation]; ok {
		return labels.ConvertSelectorToLabelsMap(text)
	}
	return p.settings.of(clusterDefault)
}
