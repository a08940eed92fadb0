package admission

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"coracle.local/libs/quota"
)

const (
	defaultTolerationsAnnotation = "scheduler.alpha.kubernetes.io/defaultTolerations"
	whitelistAnnotation          = "scheduler.alpha.kubernetes.io/tolerationsWhitelist"
)

// tolerationRestriction gives pods the tolerations of their namespace, and
// allows no others than it lists.
type tolerationRestriction struct {
	lookup   lookup
	settings tolerationSettings
}

func (p *tolerationRestriction) Admit(ctx context.Context, a *Attributes) error {
	pod, ok := wholePod(a)
	if !ok {
		return nil
	}
	var extra []corev1.Toleration
	if a.Operation == Create {
		of, err := p.annotated(ctx, a.Namespace, defaultTolerationsAnnotation)
		if err != nil {
			return err
		}
		if of == nil {
			of = p.settings.Default
		}
		extra = slices.Clone(of)
	}
	if !quota.BestEffort(pod) {
		// Only pods that asked for memory are sure to have it.
		extra = append(extra, corev1.Toleration{
			Key: corev1.TaintNodeMemoryPressure, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule,
		})
	}
	if len(extra) > 0 {
		pod.Spec.Tolerations = mergeTolerations(pod.Spec.Tolerations, extra)
	}
	return p.Validate(ctx, a)
}

func (p *tolerationRestriction) Validate(ctx context.Context, a *Attributes) error {
	pod, ok := wholePod(a)
	if !ok || len(pod.Spec.Tolerations) == 0 {
		return nil
	}
	allowed, err := p.annotated(ctx, a.Namespace, whitelistAnnotation)
	if err != nil {
		return err
	}
	whose := "namespace"
	if allowed == nil {
		allowed, whose = p.settings.Whitelist, "cluster"
	}
	if len(allowed) == 0 {
		return nil
	}
	for _, t := range pod.Spec.Tolerations {
		if !slices.ContainsFunc(allowed, func(w corev1.Toleration) bool { return covers(w, t) }) {
			return ordinary(fmt.Errorf("pod tolerations (possibly merged with namespace default tolerations) conflict with its %s whitelist", whose))
		}
	}
	return nil
}

// wholePod is the pod of a request that writes one, not a subresource.
func wholePod(a *Attributes) (*corev1.Pod, bool) {
	pod, ok := a.Object.(*corev1.Pod)
	return pod, ok && a.on("", "pods") && a.Subresource == "" && (a.Operation == Create || a.Operation == Update)
}

// annotated reads tolerations from a namespace; nil if it says nothing, which
// is not the same as none.
func (p *tolerationRestriction) annotated(ctx context.Context, namespace, key string) ([]corev1.Toleration, error) {
	ns, err := find[*corev1.Namespace](ctx, p.lookup, "", namespace)
	if err != nil {
		if apierrors.IsNotFound(err) {
			return nil, err
		}
		return nil, apierrors.NewInternalError(err)
	}
	text, ok := ns.Annotations[key]
	if !ok {
		return nil, nil
	}
	out := []corev1.Toleration{}
	if text == "" {
		return out, nil
	}
	if err := json.Unmarshal([]byte(text), &out); err != nil {
		return nil, ordinary(err)
	}
	return out, nil
}

// extendedResourceToleration lets pods that ask for an extended resource onto
// the nodes that are kept for it.
type extendedResourceToleration struct{}

func (extendedResourceToleration) Admit(_ context.Context, a *Attributes) error {
	pod, ok := wholePod(a)
	if !ok {
		return nil
	}
	var names []string
	for _, list := range [][]corev1.Container{pod.Spec.Containers, pod.Spec.InitContainers} {
		for i := range list {
			for name := range list[i].Resources.Requests {
				if quota.IsExtended(name) {
					names = append(names, string(name))
				}
			}
		}
	}
	slices.Sort(names)
	for _, name := range slices.Compact(names) {
		addToleration(pod, corev1.Toleration{Key: name, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule})
	}
	return nil
}

// addToleration replaces those that would match the same.
func addToleration(pod *corev1.Pod, t corev1.Toleration) {
	for i := range pod.Spec.Tolerations {
		if pod.Spec.Tolerations[i].MatchToleration(&t) {
			pod.Spec.Tolerations[i] = t
			return
		}
	}
	pod.Spec.Tolerations = append(pod.Spec.Tolerations, t)
}
