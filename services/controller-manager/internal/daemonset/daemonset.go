// Package daemonset runs one pod of each DaemonSet on every node that should
// have one.
package daemonset

import (
	"fmt"
	"maps"
	"reflect"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
	"coracle.local/services/controller-manager/internal/pods"
	"coracle.local/services/controller-manager/internal/revision"
)

// state is what there is to see of one DaemonSet.
type state struct {
	owner.Family[*appsv1.DaemonSet, *corev1.Pod]
	Revisions owner.Family[*appsv1.DaemonSet, *appsv1.ControllerRevision]
	Nodes     []*corev1.Node
	// Due is when the failed pods of nodes may be deleted, by node.
	Due map[string]time.Time
}

func selector(d *appsv1.DaemonSet) labels.Selector {
	if s := owner.Selector(d.Spec.Selector); !s.Empty() {
		return s
	}
	return labels.Nothing()
}

// New is daemonset-controller.
func New(d loop.Deps) loop.Loop {
	podsOf := owner.New[*appsv1.DaemonSet, *corev1.Pod](d.API, selector)
	revisionsOf := owner.New[*appsv1.DaemonSet, *appsv1.ControllerRevision](d.API, selector)
	nodes := cluster.Of[*corev1.Node](d.API)
	failures := &failures{}
	podsOf.Controllers.OnChange(func(before, after kinds.Object) {
		if after == nil {
			failures.forget(before.GetUID())
		}
	})
	sources := append(podsOf.Sources(),
		loop.Source[loop.Key]{Cache: revisionsOf.Children, Keys: revisionsOf.Parents},
		loop.Source[loop.Key]{Cache: nodes, Keys: func(before, after kinds.Object) []loop.Key { return affected(podsOf.Controllers, before, after) }})
	return loop.New(d, loop.Spec[loop.Key, state]{
		Name: "daemonset-controller", Sources: sources,
		Observe: func(k loop.Key, now time.Time) (state, bool) {
			family, ok := podsOf.Observe(k)
			if !ok {
				return state{}, false
			}
			s := state{Family: family, Nodes: cluster.List[*corev1.Node](nodes, "")}
			if s.Revisions, ok = revisionsOf.Observe(k); !ok {
				return state{}, false
			}
			s.Due = failures.observe(s.Self, s.Owned, now)
			return s, true
		},
		Compute: compute,
	})
}

// affected is the DaemonSets that a change of a node concerns.
func affected(sets cluster.Cache, before, after kinds.Object) []loop.Key {
	old, _ := before.(*corev1.Node)
	now, _ := after.(*corev1.Node)
	if old != nil && now != nil && maps.Equal(old.Labels, now.Labels) && apiequality.Semantic.DeepEqual(old.Spec.Taints, now.Spec.Taints) {
		return nil
	}
	var out []loop.Key
	for _, d := range cluster.List[*appsv1.DaemonSet](sets, "") {
		if old != nil && now != nil {
			f := newFit(d)
			oldRun, oldStay := f.on(old)
			if run, stay := f.on(now); run == oldRun && stay == oldStay {
				continue
			}
		}
		out = append(out, loop.Key{Namespace: d.Namespace, Name: d.Name})
	}
	return out
}

func compute(s state, now time.Time) plan.Plan {
	if reflect.DeepEqual(s.Self.Spec.Selector, &metav1.LabelSelector{}) {
		return plan.Plan{Do: []plan.Action{plan.Event{
			About: s.Self, Type: corev1.EventTypeWarning, Reason: "SelectingAll",
			Message: "This daemon set is selecting all pods. A non-empty selector is required.",
		}}}
	}
	if s.Self.DeletionTimestamp != nil {
		return plan.Plan{}
	}
	if claims := append(s.Claim(), s.Revisions.Claim()...); len(claims) > 0 {
		return plan.Plan{Do: claims}
	}
	r, wait := newRound(s, now)
	if wait != nil {
		return *wait
	}
	r.manage()
	if len(r.create) == 0 && len(r.remove) == 0 && s.Self.Spec.UpdateStrategy.Type == appsv1.RollingUpdateDaemonSetStrategyType {
		r.roll()
	}
	p := r.plan()
	if n := s.Self.Spec.MinReadySeconds; n > 0 {
		p.Again(pods.NextAvailable(s.Owned, n, now))
	}
	return p
}

// newRound settles the revision, as that of StatefulSets is.
func newRound(s state, now time.Time) (*round, *plan.Plan) {
	d := s.Self
	revisions := s.Revisions.Owned
	revision.Sort(revisions)
	proposed, err := revision.New(d, d.Spec.Template.Labels, revision.Next(revisions),
		func([]byte) string { return pods.TemplateHash(&d.Spec.Template, d.Status.CollisionCount) }, appsv1.DefaultDaemonSetUniqueLabelKey)
	if err != nil {
		return nil, &plan.Plan{Err: err}
	}
	current, wait := revision.Settle(revisions, proposed, func() plan.Plan {
		d := d.DeepCopy()
		d.Status.CollisionCount = ptr.To(ptr.Deref(d.Status.CollisionCount, 0) + 1)
		return plan.Plan{Do: []plan.Action{plan.UpdateStatus(d)}}
	})
	if wait != nil {
		return nil, wait
	}
	r := &round{state: s, now: now, hash: current.Labels[appsv1.DefaultDaemonSetUniqueLabelKey], fit: newFit(d), on: map[string][]*corev1.Pod{}}
	for _, p := range s.Owned {
		if pods.Finished(p) && p.DeletionTimestamp != nil {
			continue
		}
		if node := target(p); node != "" {
			r.on[node] = append(r.on[node], p)
		}
	}
	return r, nil
}

// plan is what the round decided.
func (r *round) plan() plan.Plan {
	p := plan.Plan{Do: r.events, After: r.after, Err: r.err}
	create, remove := plan.Parallel{SlowStart: true}, plan.Parallel{}
	for _, node := range r.create[:min(len(r.create), burst)] {
		create.Parts = append(create.Parts, pods.Create(r.newPod(node), r.Self))
	}
	for _, pod := range r.remove[:min(len(r.remove), burst)] {
		remove.Parts = append(remove.Parts, pods.Delete(pod, r.Self))
	}
	// A creation that fails must not keep what has to go: both are one action.
	both := plan.Parallel{}
	for _, x := range []plan.Parallel{create, remove} {
		if len(x.Parts) > 0 {
			both.Parts = append(both.Parts, x)
		}
	}
	if len(both.Parts) > 0 {
		p.Add(both)
	}
	p.Then = func(plan.Outcome) plan.Plan { return r.finish() }
	return p
}

// finish writes the status and forgets old revisions.
func (r *round) finish() plan.Plan {
	var p plan.Plan
	if status := r.status(); !apiequality.Semantic.DeepEqual(status, r.Self.Status) {
		d := r.Self.DeepCopy()
		d.Status = status
		p.Add(plan.UpdateStatus(d))
	}
	live := map[string]bool{}
	for _, pod := range r.Owned {
		live[fmt.Sprintf("%s-%s", r.Self.Name, pod.Labels[appsv1.DefaultDaemonSetUniqueLabelKey])] = true
	}
	live[fmt.Sprintf("%s-%s", r.Self.Name, r.hash)] = true
	p.Add(revision.Truncate(r.Revisions.Owned, live, int(ptr.Deref(r.Self.Spec.RevisionHistoryLimit, 10)))...)
	return p
}
