package registry

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/kinds/check"
)

// Bind places a pod on a node, once. Labels and annotations of the binding are
// added to the pod's.
func (r *Registry) Bind(ctx context.Context, namespace string, b *corev1.Binding, dryRun bool) (*corev1.Pod, error) {
	k := kinds.For[*corev1.Pod]()
	w := &write{kind: k, namespace: namespace, name: b.Name, subresource: "binding", options: WriteOptions{DryRun: dryRun}}
	a := w.attributes(ctx, admission.Create, b, nil)
	if err := r.Admission.Admit(ctx, a); err != nil {
		return nil, err
	}
	if errs := validateBinding(b); len(errs) > 0 {
		return nil, internal(errs.ToAggregate().Error())
	}
	if err := r.Admission.Validate(ctx, a); err != nil {
		return nil, err
	}
	for live := false; ; live = true {
		current, revision, err := r.current(ctx, w, live)
		if err != nil {
			return nil, err
		}
		if current == nil {
			return nil, apierrors.NewNotFound(k.GroupResource(), b.Name)
		}
		pod := current.(*corev1.Pod)
		if b.UID != "" && b.UID != pod.UID {
			return nil, otherUID(w, b.UID, pod.UID)
		}
		old := pod.DeepCopy()
		if err := r.place(pod, b); err != nil {
			// As upstream, of the subresource and not of the pod.
			return nil, apierrors.NewConflict(corev1.Resource("pods/binding"), pod.Name, err)
		}
		obj, err := r.put(ctx, w, pod, old, revision)
		if errors.Is(err, errRetry) {
			continue
		}
		if err != nil {
			return nil, err
		}
		return obj.(*corev1.Pod), nil
	}
}

func validateBinding(b *corev1.Binding) (errs field.ErrorList) {
	target := field.NewPath("target")
	if b.Target.Kind != "" && b.Target.Kind != "Node" {
		errs = append(errs, field.NotSupported(target.Child("kind"), b.Target.Kind, []string{"Node", "<empty>"}))
	}
	if b.Target.Name == "" {
		errs = append(errs, field.Required(target.Child("name"), ""))
	} else {
		errs = append(errs, check.Name(target.Child("name"), b.Target.Name, validation.NameIsDNSSubdomain)...)
	}
	return errs
}

func (r *Registry) place(pod *corev1.Pod, b *corev1.Binding) error {
	switch {
	case pod.DeletionTimestamp != nil:
		return fmt.Errorf("pod %s is being deleted, cannot be assigned to a host", pod.Name)
	case pod.Spec.NodeName != "":
		return fmt.Errorf("pod %v is already assigned to node %q", pod.Name, pod.Spec.NodeName)
	case len(pod.Spec.SchedulingGates) > 0:
		return fmt.Errorf("pod %v has non-empty .spec.schedulingGates", pod.Name)
	}
	pod.Spec.NodeName = b.Target.Name
	pod.Status.NominatedNodeName = "" // it has done its duty
	for key, value := range b.Annotations {
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, key, value)
	}
	for key, value := range b.Labels {
		metav1.SetMetaDataLabel(&pod.ObjectMeta, key, value)
	}
	r.setCondition(pod, corev1.PodCondition{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, ObservedGeneration: observed(pod)})
	return nil
}

// setCondition adds a condition or replaces the one of its type. Its time is
// that of the last change of its status.
func (r *Registry) setCondition(pod *corev1.Pod, c corev1.PodCondition) {
	c.LastTransitionTime = metav1.NewTime(r.Clock.Now()).Rfc3339Copy()
	for i := range pod.Status.Conditions {
		old := &pod.Status.Conditions[i]
		if old.Type != c.Type {
			continue
		}
		if old.Status == c.Status {
			c.LastTransitionTime = old.LastTransitionTime
		}
		*old = c
		return
	}
	pod.Status.Conditions = append(pod.Status.Conditions, c)
}

// observed is the generation that a condition speaks of, where conditions of
// this pod carry one.
func observed(pod *corev1.Pod) int64 {
	if pod.Status.ObservedGeneration != 0 {
		return pod.Generation
	}
	return 0
}
