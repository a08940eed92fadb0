// Package statefulset runs StatefulSets: pods with names that stay, made and
// ended in order.
package statefulset

import (
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
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

// state is what there is to see of one StatefulSet.
type state struct {
	owner.Family[*appsv1.StatefulSet, *corev1.Pod]
	Revisions owner.Family[*appsv1.StatefulSet, *appsv1.ControllerRevision]
	// Claims of the namespace that some pod of the set may use, by name.
	Claims map[string]*corev1.PersistentVolumeClaim
}

func selector(s *appsv1.StatefulSet) labels.Selector { return owner.Selector(s.Spec.Selector) }

// New is statefulset-controller.
func New(d loop.Deps) loop.Loop {
	podsOf := owner.New[*appsv1.StatefulSet, *corev1.Pod](d.API, selector)
	byLabels := podsOf.Match
	podsOf.Match = func(s *appsv1.StatefulSet) func(*corev1.Pod) bool {
		match := byLabels(s)
		return func(p *corev1.Pod) bool {
			parent, _ := parse(p.Name)
			return parent == s.Name && match(p)
		}
	}
	revisionsOf := owner.New[*appsv1.StatefulSet, *appsv1.ControllerRevision](d.API, selector)
	claims := cluster.Of[*corev1.PersistentVolumeClaim](d.API)
	sources := append(podsOf.Sources(),
		loop.Source[loop.Key]{Cache: revisionsOf.Children, Keys: revisionsOf.Parents},
		loop.Source[loop.Key]{Cache: claims, Keys: func(before, after kinds.Object) []loop.Key { return claimants(podsOf.Controllers, before, after) }})
	return loop.New(d, loop.Spec[loop.Key, state]{
		Name: "statefulset-controller", Sources: sources,
		Observe: func(k loop.Key, _ time.Time) (state, bool) {
			family, ok := podsOf.Observe(k)
			if !ok {
				return state{}, false
			}
			s := state{Family: family, Claims: map[string]*corev1.PersistentVolumeClaim{}}
			if s.Revisions, ok = revisionsOf.Observe(k); !ok {
				return state{}, false
			}
			if len(s.Self.Spec.VolumeClaimTemplates) > 0 {
				for _, c := range cluster.List[*corev1.PersistentVolumeClaim](claims, k.Namespace) {
					s.Claims[c.Name] = c
				}
			}
			return s, true
		},
		Compute: compute,
	})
}

// claimants is the sets that may wait for a claim to be gone.
func claimants(sets cluster.Cache, before, after kinds.Object) []loop.Key {
	if after != nil {
		return nil
	}
	var out []loop.Key
	for _, s := range cluster.List[*appsv1.StatefulSet](sets, before.GetNamespace()) {
		name, n := parse(before.GetName())
		for i := range s.Spec.VolumeClaimTemplates {
			if n >= 0 && name == s.Spec.VolumeClaimTemplates[i].Name+"-"+s.Name {
				out = append(out, loop.Key{Namespace: s.Namespace, Name: s.Name})
			}
		}
	}
	return out
}

func compute(s state, now time.Time) plan.Plan {
	if claims := append(s.Claim(), s.Revisions.Claim()...); len(claims) > 0 {
		return plan.Plan{Do: claims}
	}
	u, wait := newUpdate(s, now)
	if wait != nil {
		return *wait
	}
	u.reconcile()
	p := plan.Plan{Do: u.do, Err: u.err, Then: func(plan.Outcome) plan.Plan { return u.finish() }}
	if n := s.Self.Spec.MinReadySeconds; n > 0 {
		p.Again(pods.NextAvailable(s.Owned, n, now))
	}
	return p
}

// newUpdate settles which revision the set is going to. Until that revision is
// seen in the cache there is a plan to wait for, and nothing else happens.
func newUpdate(s state, now time.Time) (*update, *plan.Plan) {
	set := s.Self
	revisions := s.Revisions.Owned
	revision.Sort(revisions)
	collisions := ptr.Deref(set.Status.CollisionCount, 0)
	proposed, err := revision.New(set, set.Spec.Template.Labels, revision.Next(revisions),
		func(data []byte) string { return revision.Hash(data, &collisions) }, revision.HashLabel)
	if err != nil {
		return nil, &plan.Plan{Err: err}
	}
	next, wait := revision.Settle(revisions, proposed, func() plan.Plan {
		set := set.DeepCopy()
		set.Status.CollisionCount = ptr.To(collisions + 1)
		return plan.Plan{Do: []plan.Action{plan.UpdateStatus(set)}}
	})
	if wait != nil {
		return nil, wait
	}
	u := &update{state: s, now: now, revisions: revisions, next: next, current: next, status: &appsv1.StatefulSetStatus{
		ObservedGeneration: set.Generation, CollisionCount: &collisions, Conditions: set.Status.Conditions,
	}}
	for _, r := range revisions {
		if r.Name == set.Status.CurrentRevision {
			u.current = r
		}
	}
	u.status.CurrentRevision, u.status.UpdateRevision = u.current.Name, u.next.Name
	return u, nil
}

// finish writes the status and forgets old revisions.
func (u *update) finish() plan.Plan {
	replicas := ptr.Deref(u.Self.Spec.Replicas, 1)
	if s := u.status; s.UpdatedReplicas == replicas && s.ReadyReplicas == replicas && s.Replicas == replicas {
		s.CurrentReplicas, s.CurrentRevision = s.UpdatedReplicas, s.UpdateRevision
	}
	var p plan.Plan
	if !apiequality.Semantic.DeepEqual(u.Self.Status, *u.status) {
		set := u.Self.DeepCopy()
		set.Status = *u.status
		p.Add(plan.UpdateStatus(set))
	}
	live := map[string]bool{u.current.Name: true, u.next.Name: true}
	for _, pod := range u.Owned {
		live[podRevision(pod)] = true
	}
	p.Add(revision.Truncate(u.revisions, live, int(ptr.Deref(u.Self.Spec.RevisionHistoryLimit, 10)))...)
	return p
}
