package replicas

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
	"coracle.local/services/controller-manager/internal/pods"
)

// burst bounds how many pods one look creates or deletes.
const burst = 500

// state is what there is to see of one controller.
type state[C kinds.Object] struct {
	owner.Family[C, *corev1.Pod]
	// Related is the pods of the sets that have the same owner, which is what
	// other ReplicaSets of a Deployment run. Deletion prefers crowded nodes.
	Related []*corev1.Pod
}

// ReplicaSets is replicaset-controller.
func ReplicaSets(d loop.Deps) loop.Loop {
	sets := cluster.Of[*appsv1.ReplicaSet](d.API)
	sets.Index(cluster.ByController, cluster.ControllerIndex)
	podCache := cluster.Of[*corev1.Pod](d.API)
	return newLoop(d, "replicaset-controller", "replicaset-controller", replicaSets, func(rs *appsv1.ReplicaSet) []*corev1.Pod {
		ref := metav1.GetControllerOfNoCopy(rs)
		if ref == nil {
			return nil
		}
		var out []*corev1.Pod
		for _, sibling := range cluster.By[*appsv1.ReplicaSet](sets, cluster.ByController, string(ref.UID)) {
			s := owner.Selector(sibling.Spec.Selector)
			out = append(out, cluster.List(podCache, sibling.Namespace, func(p *corev1.Pod) bool { return s.Matches(labels.Set(p.Labels)) })...)
		}
		return out
	})
}

// ReplicationControllers is replicationcontroller-controller.
func ReplicationControllers(d loop.Deps) loop.Loop {
	return newLoop(d, "replicationcontroller-controller", "replication-controller", replicationControllers,
		func(*corev1.ReplicationController) []*corev1.Pod { return nil })
}

func newLoop[C kinds.Object](d loop.Deps, name, component string, f form[C], related func(C) []*corev1.Pod) loop.Loop {
	of := owner.New[C, *corev1.Pod](d.API, f.selector)
	return loop.New(d, loop.Spec[loop.Key, state[C]]{
		Name: name, Component: component, Sources: of.Sources(),
		Observe: func(k loop.Key, _ time.Time) (state[C], bool) {
			family, ok := of.Observe(k)
			if !ok {
				return state[C]{}, false
			}
			s := state[C]{Family: family}
			if int(pods.Count(s.Owned, pods.Active)) > int(f.spec(s.Self).replicas) {
				if s.Related = related(s.Self); s.Related == nil {
					s.Related = s.Owned
				}
			}
			return s, true
		},
		Compute: f.compute,
	})
}

func (f form[C]) compute(s state[C], now time.Time) plan.Plan {
	if claims := s.Claim(); len(claims) > 0 {
		return plan.Plan{Do: claims}
	}
	matching := pods.Filter(s.Owned, s.Match)
	active := pods.Filter(matching, pods.Active)
	var p plan.Plan
	if s.Self.GetDeletionTimestamp() == nil {
		p.Do = f.scale(s, active, now)
	}
	p.Then = func(out plan.Outcome) plan.Plan {
		status := f.next(s.Self, matching, active, out.Err, now)
		if apiequality.Semantic.DeepEqual(f.status(s.Self), status) {
			return plan.Plan{}
		}
		return plan.Plan{Do: []plan.Action{plan.UpdateStatus(f.with(s.Self, status))}}
	}
	if out := f.spec(s.Self); out.minReadySeconds > 0 {
		p.Again(pods.NextAvailable(active, out.minReadySeconds, now))
	}
	return p
}

// scale creates what is missing or deletes what is too much.
func (f form[C]) scale(s state[C], active []*corev1.Pod, now time.Time) []plan.Action {
	want := f.spec(s.Self)
	diff := len(active) - int(want.replicas)
	switch {
	case diff < 0:
		create := plan.Parallel{SlowStart: true}
		for range min(-diff, burst) {
			create.Parts = append(create.Parts, pods.Create(pods.FromTemplate(want.template, s.Self), s.Self))
		}
		return []plan.Action{create}
	case diff > 0:
		if diff < len(active) {
			pods.DeletionOrder(active, pods.OnNodes(s.Related), now)
		}
		remove := plan.Parallel{}
		for _, p := range active[:min(diff, burst)] {
			remove.Parts = append(remove.Parts, pods.Delete(p, s.Self))
		}
		return []plan.Action{remove}
	}
	return nil
}

// next is the status that what was seen makes, with a failure to scale.
func (f form[C]) next(self C, matching, active []*corev1.Pod, failure error, now time.Time) *appsv1.ReplicaSetStatus {
	want, status := f.spec(self), f.status(self).DeepCopy()
	labeled := labels.Set(want.template.Labels).AsSelectorPreValidated()
	status.Replicas = int32(len(active))
	status.FullyLabeledReplicas = pods.Count(active, func(p *corev1.Pod) bool { return labeled.Matches(labels.Set(p.Labels)) })
	status.ReadyReplicas = pods.Count(active, pods.Ready)
	status.AvailableReplicas = pods.Count(active, func(p *corev1.Pod) bool { return pods.Available(p, want.minReadySeconds, now) })
	status.TerminatingReplicas = nil
	if f.terminating {
		n := pods.Count(matching, pods.Terminating)
		status.TerminatingReplicas = &n
	}
	status.ObservedGeneration = self.GetGeneration()
	failed := -1
	for i, c := range status.Conditions {
		if c.Type == appsv1.ReplicaSetReplicaFailure {
			failed = i
		}
	}
	switch {
	case failure != nil && failed < 0:
		reason := "FailedCreate"
		if len(active) > int(want.replicas) {
			reason = "FailedDelete"
		}
		status.Conditions = append(status.Conditions, appsv1.ReplicaSetCondition{
			Type:   appsv1.ReplicaSetReplicaFailure,
			Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(now), Reason: reason, Message: plan.Cause(failure).Error(),
		})
	case failure == nil && failed >= 0:
		status.Conditions = append(status.Conditions[:failed:failed], status.Conditions[failed+1:]...)
	}
	return status
}
