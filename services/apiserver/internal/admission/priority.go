package admission

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"coracle.local/services/apiserver/internal/auth"
)

// priority turns the name of a pod's priority class into numbers.
type priority struct{ lookup lookup }

func (p *priority) Admit(ctx context.Context, a *Attributes) error {
	pod, ok := a.Object.(*corev1.Pod)
	if !ok || !a.on("", "pods") || a.Subresource != "" {
		return nil
	}
	switch a.Operation {
	case Create:
		return p.set(ctx, a, pod)
	case Update:
		// What was computed at creation stays, also if the writer left it out.
		if old, ok := a.Old.(*corev1.Pod); ok {
			if pod.Spec.Priority == nil {
				pod.Spec.Priority = old.Spec.Priority
			}
			if pod.Spec.PreemptionPolicy == nil {
				pod.Spec.PreemptionPolicy = old.Spec.PreemptionPolicy
			}
		}
	}
	return nil
}

func (p *priority) set(ctx context.Context, a *Attributes, pod *corev1.Pod) error {
	value, policy := int32(0), corev1.PreemptLowerPriority
	preemption := &policy
	class, err := p.class(ctx, a, pod.Spec.PriorityClassName)
	if err != nil {
		return err
	}
	if class != nil {
		pod.Spec.PriorityClassName, value, preemption = class.Name, class.Value, class.PreemptionPolicy
	}
	if pod.Spec.Priority != nil && *pod.Spec.Priority != value {
		return forbidden(a, fmt.Errorf("the integer value of priority (%d) must not be provided in pod spec; priority admission controller computed %d from the given PriorityClass name", *pod.Spec.Priority, value))
	}
	pod.Spec.Priority = &value
	if preemption == nil {
		return nil
	}
	if pod.Spec.PreemptionPolicy != nil && *pod.Spec.PreemptionPolicy != *preemption {
		return forbidden(a, fmt.Errorf("the string value of PreemptionPolicy (%s) must not be provided in pod spec; priority admission controller computed %s from the given PriorityClass name", *pod.Spec.PreemptionPolicy, *preemption))
	}
	computed := *preemption
	pod.Spec.PreemptionPolicy = &computed
	return nil
}

// class returns the class of the name, or the default one; nil if there is
// none.
func (p *priority) class(ctx context.Context, a *Attributes, name string) (*schedulingv1.PriorityClass, error) {
	if name == "" {
		return p.defaultClass(), nil
	}
	class, err := find[*schedulingv1.PriorityClass](ctx, p.lookup, "", name)
	switch {
	case apierrors.IsNotFound(err):
		return nil, forbidden(a, fmt.Errorf("no PriorityClass with name %v was found", name))
	case err != nil:
		return nil, fmt.Errorf("failed to resolve PriorityClass with name %s: %w", name, err)
	}
	return class, nil
}

// defaultClass returns the class that is marked as the default; of several,
// which two writers at once can make, the lowest.
func (p *priority) defaultClass() *schedulingv1.PriorityClass {
	var out *schedulingv1.PriorityClass
	for _, class := range auth.List[*schedulingv1.PriorityClass](p.lookup.reader, "") {
		if class.GlobalDefault && (out == nil || out.Value > class.Value) {
			out = class
		}
	}
	return out
}

func (p *priority) Validate(_ context.Context, a *Attributes) error {
	class, ok := a.Object.(*schedulingv1.PriorityClass)
	if !ok || a.Subresource != "" || !class.GlobalDefault || (a.Operation != Create && a.Operation != Update) {
		return nil
	}
	other := p.defaultClass()
	if other != nil && (a.Operation == Create || other.Name != class.Name) {
		return forbidden(a, fmt.Errorf("PriorityClass %v is already marked as default. Only one default can exist", other.Name))
	}
	return nil
}
