package registry

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/cache"
)

// Bind places a pod on a node, once. Labels and annotations of the binding are
// added to the pod's.
func (r *Registry) Bind(ctx context.Context, namespace string, b *corev1.Binding, dryRun bool) (*corev1.Pod, error) {
	k := kinds.For[*corev1.Pod]()
	if errs := validateBinding(b); len(errs) > 0 {
		return nil, apierrors.NewInvalid(k.GroupVersionKind().GroupKind(), b.Name, errs)
	}
	w := &write{kind: k, namespace: namespace, name: b.Name, subresource: "binding", options: WriteOptions{DryRun: dryRun}}
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
			return nil, conflict(w, fmt.Sprintf("Precondition failed: UID in precondition: %v, UID in object meta: %v", b.UID, pod.UID))
		}
		old := pod.DeepCopy()
		if err := r.place(w, pod, b); err != nil {
			return nil, err
		}
		if err := r.Admission.Validate(ctx, w.attributes(ctx, admission.Create, b, nil)); err != nil {
			return nil, err
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
	}
	return errs
}

func (r *Registry) place(w *write, pod *corev1.Pod, b *corev1.Binding) error {
	switch {
	case pod.DeletionTimestamp != nil:
		return conflict(w, fmt.Sprintf("pod %s is being deleted, cannot be assigned to a host", pod.Name))
	case pod.Spec.NodeName != "":
		return conflict(w, fmt.Sprintf("pod %v is already assigned to node %q", pod.Name, pod.Spec.NodeName))
	case len(pod.Spec.SchedulingGates) > 0:
		return conflict(w, fmt.Sprintf("pod %v has non-empty .spec.schedulingGates", pod.Name))
	}
	pod.Spec.NodeName = b.Target.Name
	for key, value := range b.Annotations {
		metav1.SetMetaDataAnnotation(&pod.ObjectMeta, key, value)
	}
	for key, value := range b.Labels {
		metav1.SetMetaDataLabel(&pod.ObjectMeta, key, value)
	}
	scheduled := corev1.PodCondition{
		Type: corev1.PodScheduled, Status: corev1.ConditionTrue,
		LastTransitionTime: metav1.NewTime(r.Clock.Now()).Rfc3339Copy(), ObservedGeneration: observed(pod),
	}
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == corev1.PodScheduled {
			if pod.Status.Conditions[i].Status == corev1.ConditionTrue {
				scheduled.LastTransitionTime = pod.Status.Conditions[i].LastTransitionTime
			}
			pod.Status.Conditions[i] = scheduled
			return nil
		}
	}
	pod.Status.Conditions = append(pod.Status.Conditions, scheduled)
	return nil
}

// observed is the generation that a condition speaks of, where conditions of
// this pod carry one.
func observed(pod *corev1.Pod) int64 {
	if pod.Status.ObservedGeneration != 0 {
		return pod.Generation
	}
	return 0
}

// evictTries is how often an eviction is tried against a budget that others
// write too.
const evictTries = 20

// Evict deletes a pod unless a disruption budget forbids it; that is a
// TooManyRequests error.
func (r *Registry) Evict(ctx context.Context, namespace string, e *policyv1.Eviction) error {
	k := kinds.For[*corev1.Pod]()
	o := e.DeleteOptions
	if o == nil {
		o = &metav1.DeleteOptions{}
	}
	i := r.Cache.Get(k, namespace, e.Name)
	if i == nil {
		return apierrors.NewNotFound(k.GroupResource(), e.Name)
	}
	pod := i.Object().(*corev1.Pod)
	if !guarded(pod) {
		_, _, err := r.Delete(ctx, k, namespace, e.Name, o)
		return err
	}
	budgets, err := r.budgets(pod)
	if err != nil {
		return err
	}
	if len(budgets) > 1 {
		return internal("This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.")
	}
	for _, b := range budgets {
		if err := r.spend(ctx, b, pod, len(o.DryRun) > 0); err != nil {
			return err
		}
	}
	_, _, err = r.Delete(ctx, k, namespace, e.Name, o)
	return err
}

// guarded tells whether budgets count the pod: one that has ended, does not yet
// run or is going is nobody's loss.
func guarded(pod *corev1.Pod) bool {
	switch pod.Status.Phase {
	case corev1.PodSucceeded, corev1.PodFailed, corev1.PodPending:
		return false
	}
	return pod.DeletionTimestamp == nil
}

func (r *Registry) budgets(pod *corev1.Pod) ([]*policyv1.PodDisruptionBudget, error) {
	var out []*policyv1.PodDisruptionBudget
	var failed error
	r.Cache.List(kinds.For[*policyv1.PodDisruptionBudget](), cache.Selector{Namespace: pod.Namespace}, "", func(i *cache.Item) bool {
		b := i.Object().(*policyv1.PodDisruptionBudget)
		selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector)
		if err != nil {
			failed = fmt.Errorf("selector of PodDisruptionBudget %s: %w", b.Name, err)
			return false
		}
		if selector.Matches(labels.Set(pod.Labels)) {
			out = append(out, b)
		}
		return true
	})
	return out, failed
}

// spend takes one disruption from a budget.
func (r *Registry) spend(ctx context.Context, b *policyv1.PodDisruptionBudget, pod *corev1.Pod, dryRun bool) error {
	take := func(current kinds.Object) (kinds.Object, error) {
		b := current.(*policyv1.PodDisruptionBudget)
		if err := allowed(b); err != nil {
			return nil, err
		}
		b.Status.DisruptionsAllowed--
		if b.Status.DisruptedPods == nil {
			b.Status.DisruptedPods = map[string]metav1.Time{}
		}
		b.Status.DisruptedPods[pod.Name] = metav1.NewTime(r.Clock.Now())
		b.ResourceVersion = ""
		return b, nil
	}
	for range evictTries {
		_, _, err := r.Update(ctx, kinds.For[*policyv1.PodDisruptionBudget](), b.Namespace, b.Name, "status", take, UpdateOptions{WriteOptions: WriteOptions{DryRun: dryRun}})
		if !apierrors.IsConflict(err) {
			return err
		}
	}
	return apierrors.NewTooManyRequests("Cannot evict pod as the disruption budget changes too fast.", 10)
}

func allowed(b *policyv1.PodDisruptionBudget) error {
	refuse := func(message, cause string) error {
		err := apierrors.NewTooManyRequests(message, 0)
		err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: cause})
		return err
	}
	switch {
	case b.Status.ObservedGeneration < b.Generation:
		return refuse("Cannot evict pod as it would violate the pod's disruption budget.",
			fmt.Sprintf("The disruption budget %s is still being processed by the server.", b.Name))
	case b.Status.DisruptionsAllowed <= 0:
		return refuse("Cannot evict pod as it would violate the pod's disruption budget.",
			fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, b.Status.DesiredHealthy, b.Status.CurrentHealthy))
	}
	return nil
}
