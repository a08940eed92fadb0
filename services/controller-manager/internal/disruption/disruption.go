// Package disruption keeps the status of PodDisruptionBudgets, by which
// evictions are allowed or refused.
package disruption

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
	"coracle.local/services/controller-manager/internal/pods"
)

// state is what there is to see of one budget.
type state struct {
	Budget *policyv1.PodDisruptionBudget
	Pods   []*corev1.Pod
	// Scales is how many pods the controllers of these pods want, by UID.
	Scales map[types.UID]int32
	// Of is the controller of each pod, by its name: the one that is scaled.
	Of map[string]types.UID
}

// workloads are the kinds whose scale is known.
type workloads struct{ sets, deployments, stateful, controllers cluster.Cache }

// New is disruption-controller: the budgets, and pods that were to be deleted
// and were not.
func New(d loop.Deps) []loop.Loop {
	budgets, podCache := cluster.Of[*policyv1.PodDisruptionBudget](d.API), cluster.Of[*corev1.Pod](d.API)
	w := workloads{
		sets: cluster.Of[*appsv1.ReplicaSet](d.API), deployments: cluster.Of[*appsv1.Deployment](d.API),
		stateful: cluster.Of[*appsv1.StatefulSet](d.API), controllers: cluster.Of[*corev1.ReplicationController](d.API),
	}
	status := loop.New(d, loop.Spec[loop.Key, state]{
		Name: "disruption-controller", Component: "controllermanager",
		Sources: []loop.Source[loop.Key]{
			{Cache: budgets, Keys: owner.Self},
			{Cache: podCache, Keys: func(before, after kinds.Object) []loop.Key { return covering(budgets, before, after) }},
		},
		Reads: []cluster.Cache{w.sets, w.deployments, w.stateful, w.controllers},
		Observe: func(k loop.Key, _ time.Time) (state, bool) {
			b, ok := cluster.Get[*policyv1.PodDisruptionBudget](budgets, k.Namespace, k.Name)
			if !ok {
				return state{}, false
			}
			selector := owner.Selector(b.Spec.Selector)
			s := state{
				Budget: b, Scales: map[types.UID]int32{}, Of: map[string]types.UID{},
				Pods: cluster.List(podCache, k.Namespace, func(p *corev1.Pod) bool { return selector.Matches(labels.Set(p.Labels)) }),
			}
			for _, p := range s.Pods {
				if uid, n, ok := w.scale(p); ok {
					s.Of[p.Name], s.Scales[uid] = uid, n
				}
			}
			return s, true
		},
		Compute: compute,
	})
	stale := loop.New(d, loop.Spec[loop.Key, *corev1.Pod]{
		Name: "disruption-controller", Part: "stale", Component: "controllermanager",
		Sources: []loop.Source[loop.Key]{{Cache: podCache, Keys: func(before, after kinds.Object) []loop.Key {
			if p, ok := after.(*corev1.Pod); !ok || !condemned(p) {
				return nil
			}
			return owner.Self(before, after)
		}}},
		Observe: func(k loop.Key, _ time.Time) (*corev1.Pod, bool) {
			p, ok := cluster.Get[*corev1.Pod](podCache, k.Namespace, k.Name)
			return p, ok && condemned(p)
		},
		Compute: spare,
	})
	return []loop.Loop{status, stale}
}

// covering is the budgets that a pod was or is under.
func covering(budgets cluster.Cache, before, after kinds.Object) []loop.Key {
	o := after
	if o == nil {
		o = before
	}
	var out []loop.Key
	for _, b := range cluster.List[*policyv1.PodDisruptionBudget](budgets, o.GetNamespace()) {
		s := owner.Selector(b.Spec.Selector)
		if before != nil && s.Matches(labels.Set(before.GetLabels())) || after != nil && s.Matches(labels.Set(after.GetLabels())) {
			out = append(out, loop.Key{Namespace: b.Namespace, Name: b.Name})
		}
	}
	return out
}

// scale finds what a pod is a replica of, and how many there should be.
func (w workloads) scale(p *corev1.Pod) (types.UID, int32, bool) {
	r := metav1.GetControllerOfNoCopy(p)
	if r == nil {
		return "", 0, false
	}
	switch r.APIVersion + " " + r.Kind {
	case "v1 ReplicationController":
		if c, ok := cluster.Get[*corev1.ReplicationController](w.controllers, p.Namespace, r.Name); ok && c.UID == r.UID {
			return c.UID, ptr.Deref(c.Spec.Replicas, 1), true
		}
	case "apps/v1 StatefulSet":
		if s, ok := cluster.Get[*appsv1.StatefulSet](w.stateful, p.Namespace, r.Name); ok && s.UID == r.UID {
			return s.UID, ptr.Deref(s.Spec.Replicas, 1), true
		}
	case "apps/v1 ReplicaSet":
		s, ok := cluster.Get[*appsv1.ReplicaSet](w.sets, p.Namespace, r.Name)
		if !ok || s.UID != r.UID {
			return "", 0, false
		}
		above := metav1.GetControllerOfNoCopy(s)
		if above == nil || above.Kind != "Deployment" {
			return s.UID, ptr.Deref(s.Spec.Replicas, 1), true
		}
		if d, ok := cluster.Get[*appsv1.Deployment](w.deployments, p.Namespace, above.Name); ok && d.UID == above.UID {
			return d.UID, ptr.Deref(d.Spec.Replicas, 1), true
		}
	}
	return "", 0, false
}

// staleAfter is how long a pod may be about to be deleted.
const staleAfter = 2 * time.Minute

// condemned tells whether somebody of the control plane meant to delete a pod
// and it is still there.
func condemned(p *corev1.Pod) bool {
	c := pods.Condition(p, corev1.DisruptionTarget)
	return c != nil && c.Status == corev1.ConditionTrue && c.Reason != corev1.PodReasonTerminationByKubelet &&
		p.DeletionTimestamp == nil && !pods.Finished(p)
}

// spare takes the condition back after a while: who set it failed to delete.
func spare(p *corev1.Pod, now time.Time) plan.Plan {
	c := pods.Condition(p, corev1.DisruptionTarget)
	if left := c.LastTransitionTime.Add(staleAfter).Sub(now); left > 0 {
		return plan.Plan{After: left}
	}
	p = p.DeepCopy()
	pods.SetCondition(&p.Status, corev1.PodCondition{
		Type: corev1.DisruptionTarget, Status: corev1.ConditionFalse,
		ObservedGeneration: p.Generation, LastTransitionTime: metav1.NewTime(now),
	})
	return plan.Plan{Do: []plan.Action{plan.UpdateStatus(p)}}
}
