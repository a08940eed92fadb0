package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
)

// Upstream's patience with a pod or budget that others write too.
const (
	evictTries = 20
	evictPause = 500 * time.Millisecond
)

// eviction is one eviction on its way. Its options are the client's.
type eviction struct {
	*write
	delete *metav1.DeleteOptions
}

// pinned tells whether the client means one version of the pod alone.
func (e *eviction) pinned() bool {
	return e.delete.Preconditions != nil && e.delete.Preconditions.ResourceVersion != nil
}

// at is the client's options, for one version of the pod.
func (e *eviction) at(version string) *metav1.DeleteOptions {
	o := e.delete.DeepCopy()
	if o.Preconditions == nil {
		o.Preconditions = &metav1.Preconditions{}
	}
	o.Preconditions.ResourceVersion = &version
	return o
}

// Evict deletes a pod unless a disruption budget forbids it; that is a
// TooManyRequests error.
func (r *Registry) Evict(ctx context.Context, namespace string, order *policyv1.Eviction) error {
	o := order.DeleteOptions
	if o == nil {
		o = &metav1.DeleteOptions{}
	}
	e := &eviction{delete: o, write: &write{
		kind: kinds.For[*corev1.Pod](), namespace: namespace, name: order.Name, subresource: "eviction",
		options: WriteOptions{DryRun: len(o.DryRun) > 0},
	}}
	a := e.attributes(ctx, admission.Create, order, nil)
	if err := r.Admission.Admit(ctx, a); err != nil {
		return err
	}
	if err := r.Admission.Validate(ctx, a); err != nil {
		return err
	}
	pod, err := r.evictUnguarded(ctx, e)
	if pod == nil || err != nil {
		return err
	}
	budget, free, err := r.budgetOf(pod)
	if err != nil {
		return err
	}
	switch {
	case budget == nil:
		return r.disrupt(ctx, e, o)
	case !free:
		if err := r.spend(ctx, e, budget); err != nil {
			return err
		}
		return r.disrupt(ctx, e, o)
	}
	// The pod may become ready, and then counts.
	err = r.disrupt(ctx, e, e.at(pod.ResourceVersion))
	if apierrors.IsConflict(err) && !e.pinned() {
		return unobserved(budget)
	}
	return err
}

// evictUnguarded evicts a pod that no budget counts. One that is counted is
// returned instead.
func (r *Registry) evictUnguarded(ctx context.Context, e *eviction) (guarded *corev1.Pod, err error) {
	for try := 1; ; try++ {
		i := r.Cache.Get(e.kind, e.namespace, e.name)
		if i == nil {
			return nil, apierrors.NewNotFound(e.kind.GroupResource(), e.name)
		}
		pod := i.Object().(*corev1.Pod)
		if !uncounted(pod) {
			return pod, nil
		}
		o := e.delete
		if pod.DeletionTimestamp == nil && pod.Status.Phase == corev1.PodPending && !e.pinned() {
			o = e.at(pod.ResourceVersion) // lest it starts meanwhile
		}
		err := r.disrupt(ctx, e, o)
		if !apierrors.IsConflict(err) || e.pinned() || try == evictTries || !r.pause(ctx) {
			return nil, err
		}
	}
}

// uncounted tells whether budgets leave the pod out: one that has ended, does
// not yet run or is going is nobody's loss.
func uncounted(pod *corev1.Pod) bool {
	switch pod.Status.Phase {
	case corev1.PodSucceeded, corev1.PodFailed, corev1.PodPending:
		return true
	}
	return pod.DeletionTimestamp != nil
}

func (r *Registry) pause(ctx context.Context) bool {
	select {
	case <-ctx.Done():
		return false
	case <-time.After(evictPause):
		return true
	}
}

// disrupt notes on the pod why it goes, and deletes it.
func (r *Registry) disrupt(ctx context.Context, e *eviction, o *metav1.DeleteOptions) error {
	if !e.options.DryRun {
		noted, err := r.note(ctx, e, o)
		if err != nil {
			return err
		}
		if o.Preconditions != nil && o.Preconditions.ResourceVersion != nil {
			// The note made a new version of the one that was meant.
			o = e.at(noted.GetResourceVersion())
		}
	}
	w := *e.write
	w.subresource, w.options.Options, w.judged = "", o, true
	_, _, err := r.end(ctx, &w, o)
	return err
}

func (r *Registry) note(ctx context.Context, e *eviction, o *metav1.DeleteOptions) (kinds.Object, error) {
	for live := false; ; live = true {
		current, revision, err := r.current(ctx, e.write, live)
		if err != nil {
			return nil, err
		}
		if current == nil {
			return nil, apierrors.NewNotFound(e.kind.GroupResource(), e.name)
		}
		if err := checkPreconditions(e.write, current, o.Preconditions); err != nil {
			if !live {
				continue
			}
			return nil, err
		}
		old := current.DeepCopyObject().(kinds.Object)
		r.setCondition(current.(*corev1.Pod), corev1.PodCondition{
			Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue,
			Reason: "EvictionByEvictionAPI", Message: "Eviction API: evicting",
		})
		noted, err := r.put(ctx, e.write, current, old, revision)
		if !errors.Is(err, errRetry) {
			return noted, err
		}
	}
}

// unobserved is the answer while a budget does not say yet what it allows.
func unobserved(b *policyv1.PodDisruptionBudget) error {
	err := apierrors.NewTooManyRequests("Cannot evict pod as it would violate the pod's disruption budget.", 10)
	return because(err, fmt.Sprintf("The disruption budget %s is still being processed by the server.", b.Name))
}

func because(err *apierrors.StatusError, cause string) error {
	err.ErrStatus.Details.Causes = append(err.ErrStatus.Details.Causes, metav1.StatusCause{Type: policyv1.DisruptionBudgetCause, Message: cause})
	return err
}
