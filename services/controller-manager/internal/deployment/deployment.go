// Package deployment rolls Deployments out over ReplicaSets.
package deployment

import (
	"fmt"
	"reflect"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
)

// state is what there is to see of one Deployment.
type state struct {
	owner.Family[*appsv1.Deployment, *appsv1.ReplicaSet]
	// Pods of each owned ReplicaSet, for the strategy Recreate only.
	Pods map[types.UID][]*corev1.Pod
}

func selector(d *appsv1.Deployment) labels.Selector {
	if s := owner.Selector(d.Spec.Selector); !s.Empty() {
		return s
	}
	return labels.Nothing()
}

// New is deployment-controller.
func New(d loop.Deps) loop.Loop {
	of := owner.New[*appsv1.Deployment, *appsv1.ReplicaSet](d.API, selector)
	podCache := cluster.Of[*corev1.Pod](d.API)
	podCache.Index(cluster.ByController, cluster.ControllerIndex)
	return loop.New(d, loop.Spec[loop.Key, state]{
		Name: "deployment-controller",
		Sources: append(of.Sources(), loop.Source[loop.Key]{Cache: podCache, Keys: func(before, after kinds.Object) []loop.Key {
			return recreated(of, before, after)
		}}),
		Observe: func(k loop.Key, _ time.Time) (state, bool) {
			family, ok := of.Observe(k)
			if !ok {
				return state{}, false
			}
			s := state{Family: family, Pods: map[types.UID][]*corev1.Pod{}}
			if s.Self.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
				for _, rs := range s.Owned {
					s.Pods[rs.UID] = cluster.By[*corev1.Pod](podCache, cluster.ByController, string(rs.UID))
				}
			}
			return s, true
		},
		Compute: compute,
	})
}

// recreated is the Deployments that wait for a pod to be gone.
func recreated(of owner.Of[*appsv1.Deployment, *appsv1.ReplicaSet], before, after kinds.Object) []loop.Key {
	if after != nil {
		return nil
	}
	ref := metav1.GetControllerOfNoCopy(before)
	if ref == nil || ref.Kind != "ReplicaSet" {
		return nil
	}
	rs, ok := cluster.Get[*appsv1.ReplicaSet](of.Children, before.GetNamespace(), ref.Name)
	if !ok {
		return nil
	}
	var out []loop.Key
	for _, k := range of.Parents(nil, rs) {
		d, ok := cluster.Get[*appsv1.Deployment](of.Controllers, k.Namespace, k.Name)
		if ok && d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
			out = append(out, k)
		}
	}
	return out
}

func compute(s state, now time.Time) plan.Plan {
	if reflect.DeepEqual(s.Self.Spec.Selector, &metav1.LabelSelector{}) {
		return selectingAll(s.Self)
	}
	if claims := s.Claim(); len(claims) > 0 {
		return plan.Plan{Do: claims}
	}
	r := newRollout(s, now)
	if s.Self.DeletionTimestamp != nil {
		r.syncStatus()
		return r.plan()
	}
	r.checkPaused()
	if s.Self.Spec.Paused || r.isScaling() {
		r.syncNew()
		r.scaleProportionally()
		if s.Self.Spec.Paused {
			r.cleanUp()
		}
		r.syncStatus()
		return r.plan()
	}
	switch s.Self.Spec.Strategy.Type {
	case appsv1.RecreateDeploymentStrategyType:
		return r.recreate()
	case appsv1.RollingUpdateDeploymentStrategyType:
		return r.rollingUpdate()
	}
	return plan.Plan{Err: fmt.Errorf("unexpected deployment strategy type: %s", s.Self.Spec.Strategy.Type)}
}

func selectingAll(d *appsv1.Deployment) plan.Plan {
	p := plan.Plan{Do: []plan.Action{plan.Event{
		About: d, Type: corev1.EventTypeWarning, Reason: "SelectingAll",
		Message: "This deployment is selecting all pods. A non-empty selector is required.",
	}}}
	if d.Status.ObservedGeneration < d.Generation {
		d = d.DeepCopy()
		d.Status.ObservedGeneration = d.Generation
		p.Add(plan.UpdateStatus(d))
	}
	return p
}
