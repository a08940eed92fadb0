package registry

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/cache"
)

// maxDisrupted is how many evictions may wait for the disruption controller to
// notice them, as upstream.
const maxDisrupted = 2000

// budgetOf finds the budget that guards a pod; nil if none does. free tells that
// the pod's end takes nothing from it, because the pod is not ready.
func (r *Registry) budgetOf(pod *corev1.Pod) (budget *policyv1.PodDisruptionBudget, free bool, err error) {
	var found []*policyv1.PodDisruptionBudget
	r.Cache.List(kinds.For[*policyv1.PodDisruptionBudget](), cache.Selector{Namespace: pod.Namespace}, "", func(i *cache.Item) bool {
		b := i.Object().(*policyv1.PodDisruptionBudget)
		// A selector that is none selects nothing.
		if selector, err := metav1.LabelSelectorAsSelector(b.Spec.Selector); err == nil && selector.Matches(labels.Set(pod.Labels)) {
			found = append(found, b)
		}
		return true
	})
	switch len(found) {
	case 0:
		return nil, false, nil
	case 1:
		return found[0], !ready(pod) && sparesUnready(found[0]), nil
	}
	return nil, false, plain(http.StatusInternalServerError,
		"This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.")
}

func ready(pod *corev1.Pod) bool {
	for _, c := range pod.Status.Conditions {
		if c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}

// sparesUnready tells whether pods that are not ready may be evicted freely: by
// the budget's policy, or while enough others are healthy.
func sparesUnready(b *policyv1.PodDisruptionBudget) bool {
	if p := b.Spec.UnhealthyPodEvictionPolicy; p != nil && *p == policyv1.AlwaysAllow {
		return true
	}
	return b.Status.DesiredHealthy > 0 && b.Status.CurrentHealthy >= b.Status.DesiredHealthy
}

// spend takes one disruption from a budget.
func (r *Registry) spend(ctx context.Context, e *eviction, b *policyv1.PodDisruptionBudget) error {
	w := &write{kind: kinds.For[*policyv1.PodDisruptionBudget](), namespace: b.Namespace, name: b.Name, subresource: "status", options: e.options}
	for try := 1; ; try++ {
		current, revision, err := r.current(ctx, w, try > 1)
		if err != nil {
			return err
		}
		if current == nil {
			return apierrors.NewNotFound(w.kind.GroupResource(), w.name)
		}
		old := current.DeepCopyObject().(kinds.Object)
		if err := r.take(current.(*policyv1.PodDisruptionBudget), e.name); err != nil {
			return err
		}
		_, err = r.put(ctx, w, current, old, revision)
		if !errors.Is(err, errRetry) {
			return err
		}
		if try == evictTries || !r.pause(ctx) {
			return apierrors.NewTimeoutError(fmt.Sprintf("couldn't update PodDisruptionBudget %q due to conflicts", b.Name), 10)
		}
	}
}

// take changes the budget, or tells why it allows nothing.
func (r *Registry) take(b *policyv1.PodDisruptionBudget, pod string) error {
	forbidden := func(why, cause string) error {
		err := apierrors.NewForbidden(policyv1.Resource("poddisruptionbudget"), b.Name, errors.New(why))
		return because(err, fmt.Sprintf("The disruption budget %s does not allow evicting pods currently: %s", b.Name, cause))
	}
	switch {
	case b.Status.ObservedGeneration < b.Generation:
		return unobserved(b)
	case b.Status.DisruptionsAllowed < 0:
		return forbidden("pdb disruptions allowed is negative", "pdb disruptions allowed is negative")
	case len(b.Status.DisruptedPods) > maxDisrupted:
		return forbidden("DisruptedPods map too big - too many evictions not confirmed by PDB controller",
			"too many pending evictions not confirmed by PDB controller")
	case b.Status.DisruptionsAllowed == 0:
		return because(apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 0), exhausted(b))
	}
	b.Status.DisruptionsAllowed--
	if b.Status.DisruptionsAllowed == 0 {
		meta.SetStatusCondition(&b.Status.Conditions, metav1.Condition{
			Type: policyv1.DisruptionAllowedCondition, Status: metav1.ConditionFalse,
			Reason: policyv1.InsufficientPodsReason, ObservedGeneration: b.Status.ObservedGeneration,
		})
	}
	if b.Status.DisruptedPods == nil {
		b.Status.DisruptedPods = map[string]metav1.Time{}
	}
	b.Status.DisruptedPods[pod] = metav1.NewTime(r.Clock.Now())
	return nil
}

// exhausted tells why a budget allows no disruption.
func exhausted(b *policyv1.PodDisruptionBudget) string {
	c := meta.FindStatusCondition(b.Status.Conditions, policyv1.DisruptionAllowedCondition)
	told := c != nil && c.Status == metav1.ConditionFalse && c.Message != ""
	switch {
	case told && c.Reason == policyv1.SyncFailedReason:
		// Without a sync the numbers mean nothing.
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently because it failed sync: %s", b.Name, c.Message)
	case b.Status.CurrentHealthy <= b.Status.DesiredHealthy:
		return fmt.Sprintf("The disruption budget %s needs %d healthy pods and has %d currently", b.Name, b.Status.DesiredHealthy, b.Status.CurrentHealthy)
	case told:
		return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently (%s): %s", b.Name, c.Reason, c.Message)
	}
	return fmt.Sprintf("The disruption budget %s does not allow evicting pods currently", b.Name)
}
