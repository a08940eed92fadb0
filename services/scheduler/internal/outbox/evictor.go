package outbox

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/services/scheduler/internal/engine"
)

// PodDeleter patches and deletes pods, as client.Client[*corev1.Pod] does.
type PodDeleter interface {
	Patcher
	Delete(ctx context.Context, namespace, name string, o metav1.DeleteOptions) error
}

// Evictor deletes the victims of preemption, after noting in their status why.
type Evictor struct {
	Pods       PodDeleter
	Recorder   engine.Recorder
	Background *Background
	// Now is the time of the conditions.
	Now func() time.Time
}

// Evict is engine.Evictor.
func (e *Evictor) Evict(victims []*corev1.Pod, preemptor *corev1.Pod, node string, done func(error)) {
	var mu sync.Mutex
	var errs []error
	left := len(victims)
	for _, v := range victims {
		e.Background.run(func(ctx context.Context) error { return e.evict(ctx, v, preemptor, node) }, func(err error) {
			mu.Lock()
			errs = append(errs, err)
			left--
			last := left == 0
			mu.Unlock()
			if last {
				done(errors.Join(errs...))
			}
		})
	}
}

func (e *Evictor) evict(ctx context.Context, v, preemptor *corev1.Pod, node string) error {
	patch, err := statusPatch(v.UID, engine.StatusChange{Condition: &corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: corev1.PodReasonPreemptionByScheduler,
		Message:            fmt.Sprintf("%s: preempting to accommodate a higher priority pod", preemptor.Spec.SchedulerName),
		ObservedGeneration: v.Generation, LastTransitionTime: metav1.NewTime(e.Now()),
	}})
	if err != nil {
		return err
	}
	_, err = e.Pods.Patch(ctx, v.Namespace, v.Name, types.StrategicMergePatchType, patch, "status")
	if err == nil {
		err = e.Pods.Delete(ctx, v.Namespace, v.Name, metav1.DeleteOptions{Preconditions: &metav1.Preconditions{UID: &v.UID}})
	}
	switch {
	case apierrors.IsNotFound(err):
		return nil
	case err != nil:
		return fmt.Errorf("preempt pod %s/%s: %w", v.Namespace, v.Name, err)
	}
	e.Recorder.Event(v, corev1.EventTypeNormal, "Preempted", fmt.Sprintf("Preempted by pod %v on node %v", preemptor.UID, node))
	return nil
}
