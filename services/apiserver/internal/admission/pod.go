package admission

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podresource "k8s.io/component-helpers/resource"
)

const defaultTolerationSeconds = 300

// defaultTolerations lets a pod stay for a while on a node that fails.
type defaultTolerations struct{ notReady, unreachable int64 }

func newDefaultTolerations(c Config) defaultTolerations {
	p := defaultTolerations{defaultTolerationSeconds, defaultTolerationSeconds}
	if c.NotReadyTolerationSeconds != nil {
		p.notReady = *c.NotReadyTolerationSeconds
	}
	if c.UnreachableTolerationSeconds != nil {
		p.unreachable = *c.UnreachableTolerationSeconds
	}
	return p
}

func (p defaultTolerations) Admit(_ context.Context, a *Attributes) error {
	pod, ok := a.Object.(*corev1.Pod)
	if !ok || !a.on("", "pods") || a.Subresource != "" || (a.Operation != Create && a.Operation != Update) {
		return nil
	}
	add := func(key string, seconds int64) {
		for i := range pod.Spec.Tolerations {
			t := &pod.Spec.Tolerations[i]
			if (t.Key == key || t.Key == "") && (t.Effect == corev1.TaintEffectNoExecute || t.Effect == "") {
				return
			}
		}
		pod.Spec.Tolerations = append(pod.Spec.Tolerations, corev1.Toleration{
			Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds,
		})
	}
	add(corev1.TaintNodeNotReady, p.notReady)
	add(corev1.TaintNodeUnreachable, p.unreachable)
	return nil
}

// taintNodes marks a new node as not ready, so that no pod is scheduled to it
// before the node controller has looked at it.
type taintNodes struct{}

func (taintNodes) Admit(_ context.Context, a *Attributes) error {
	node, ok := a.Object.(*corev1.Node)
	if !ok || a.Operation != Create || a.Subresource != "" {
		return nil
	}
	taint := corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoSchedule}
	for i := range node.Spec.Taints {
		if node.Spec.Taints[i].MatchTaint(&taint) {
			return nil
		}
	}
	node.Spec.Taints = append(node.Spec.Taints, taint)
	return nil
}

// topologyLabels copies a node's zone and region to the pods bound to it.
type topologyLabels struct{ lookup lookup }

func (p *topologyLabels) Admit(_ context.Context, a *Attributes) error {
	if !a.on("", "pods") || a.Operation != Create {
		return nil
	}
	var meta *metav1.ObjectMeta
	node := ""
	switch o := a.Object.(type) {
	case *corev1.Pod:
		if a.Subresource == "" {
			meta, node = &o.ObjectMeta, o.Spec.NodeName
		}
	case *corev1.Binding:
		if a.Subresource == "binding" && o.Target.Kind == "Node" {
			meta, node = &o.ObjectMeta, o.Target.Name
		}
	}
	if node == "" {
		return nil
	}
	object, err := cached[*corev1.Node](p.lookup, "", node)
	if err != nil {
		return nil // a pod may be bound to a node that is not there yet
	}
	labels := map[string]string{}
	for _, key := range []string{corev1.LabelTopologyZone, corev1.LabelTopologyRegion} {
		if value, ok := object.Labels[key]; ok {
			labels[key] = value
		}
	}
	if len(labels) == 0 {
		return nil
	}
	if meta.Labels == nil {
		meta.Labels = map[string]string{}
	}
	maps.Copy(meta.Labels, labels)
	return nil
}

// podResize refuses resizes that the pod's node can never satisfy.
type podResize struct{ lookup lookup }

func (p *podResize) Validate(_ context.Context, a *Attributes) error {
	pod, ok := a.Object.(*corev1.Pod)
	if !ok || !a.on("", "pods") || a.Operation != Update || a.Subresource != "resize" || pod.Spec.NodeName == "" {
		return nil
	}
	if old, ok := a.Old.(*corev1.Pod); ok && equality.Semantic.DeepEqual(old.Spec, pod.Spec) {
		return nil
	}
	node, err := cached[*corev1.Node](p.lookup, "", pod.Spec.NodeName)
	if err != nil {
		return forbidden(a, fmt.Errorf("node %q not found", pod.Spec.NodeName))
	}
	if system, ok := node.Labels[corev1.LabelOSStable]; ok && system != "linux" {
		return resizeRefusal(a, "UnsupportedPlatform", fmt.Errorf("pod resize is only supported on linux nodes, node %q is %q", node.Name, system))
	}
	requests := podresource.PodRequests(pod, podresource.PodResourcesOptions{})
	cpu, memory := requests[corev1.ResourceCPU], requests[corev1.ResourceMemory]
	allocatable := node.Status.Allocatable
	var over []string
	if cpu.Cmp(*allocatable.Cpu()) > 0 {
		over = append(over, fmt.Sprintf("cpu, requested: %d, allocatable: %d", cpu.MilliValue(), allocatable.Cpu().MilliValue()))
	}
	if memory.Cmp(*allocatable.Memory()) > 0 {
		over = append(over, fmt.Sprintf("memory, requested: %d, allocatable: %d", memory.Value(), allocatable.Memory().Value()))
	}
	if len(over) == 0 {
		return nil
	}
	return resizeRefusal(a, "NodeCapacity", fmt.Errorf("node didn't have enough allocatable resources: %s", strings.Join(over, "; ")))
}

func resizeRefusal(a *Attributes, cause metav1.CauseType, err error) error {
	refusal := forbidden(a, err)
	var status *apierrors.StatusError
	if errors.As(refusal, &status) {
		status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{Type: cause})
	}
	return refusal
}

// denyExternalIPs refuses Services that claim addresses for themselves.
type denyExternalIPs struct{}

func (denyExternalIPs) Validate(_ context.Context, a *Attributes) error {
	service, ok := a.Object.(*corev1.Service)
	if !ok || a.Subresource != "" || (a.Operation != Create && a.Operation != Update) {
		return nil
	}
	had := map[string]bool{}
	if old, ok := a.Old.(*corev1.Service); ok {
		for _, ip := range old.Spec.ExternalIPs {
			had[ip] = true
		}
	}
	for _, ip := range service.Spec.ExternalIPs {
		if !had[ip] {
			return forbidden(a, errors.New("Use of external IPs is denied by admission control"))
		}
	}
	return nil
}
