package deployment

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/utils/ptr"

	"coracle.local/services/controller-manager/internal/plan"
)

// rollout is one look at a Deployment. It changes copies; plan turns what
// changed into one update an object.
type rollout struct {
	state
	now time.Time
	// d is a copy of Self that gets the new status and annotations.
	d *appsv1.Deployment
	// sets is copies of the owned ReplicaSets, oldest first; fresh is the one
	// with the present template, nil if there is none, and old is the others.
	sets, old []*appsv1.ReplicaSet
	fresh     *appsv1.ReplicaSet
	// before is the sets as they were, by name.
	before map[string]*appsv1.ReplicaSet
	// changed is the sets that were changed, in order.
	changed []*appsv1.ReplicaSet
	remove  []plan.Action
	after   time.Duration
}

func newRollout(s state, now time.Time) *rollout {
	r := &rollout{state: s, now: now, d: s.Self.DeepCopy(), before: map[string]*appsv1.ReplicaSet{}}
	for _, rs := range s.Owned {
		r.before[rs.Name] = rs
		r.sets = append(r.sets, rs.DeepCopy())
	}
	slices.SortStableFunc(r.sets, byCreation)
	for _, rs := range r.sets {
		// The oldest of several equal ones, so that the choice stays.
		if r.fresh == nil && sameTemplate(&rs.Spec.Template, &r.d.Spec.Template) {
			r.fresh = rs
			continue
		}
		r.old = append(r.old, rs)
	}
	return r
}

func byCreation(a, b *appsv1.ReplicaSet) int {
	return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
}

// sameTemplate compares templates without the label that tells sets apart.
func sameTemplate(a, b *corev1.PodTemplateSpec) bool {
	a, b = a.DeepCopy(), b.DeepCopy()
	delete(a.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	delete(b.Labels, appsv1.DefaultDeploymentUniqueLabelKey)
	return apiequality.Semantic.DeepEqual(a, b)
}

func size(rs *appsv1.ReplicaSet) int32 { return ptr.Deref(rs.Spec.Replicas, 1) }

func (r *rollout) replicas() int32 { return ptr.Deref(r.d.Spec.Replicas, 1) }

func (r *rollout) change(rs *appsv1.ReplicaSet) {
	if !slices.Contains(r.changed, rs) {
		r.changed = append(r.changed, rs)
	}
}

// resize sets the size of a set, and notes what it was made for.
func (r *rollout) resize(rs *appsv1.ReplicaSet, n int32) bool {
	resized := size(rs) != n
	if setReplicasAnnotations(rs, r.replicas(), r.replicas()+maxSurge(r.d)) || resized {
		rs.Spec.Replicas = &n
		r.change(rs)
	}
	return resized
}

// plan is what has to be written.
func (r *rollout) plan() plan.Plan {
	p := plan.Plan{After: r.after}
	for _, rs := range r.changed {
		u := plan.Update{Object: rs}
		if from, to := size(r.before[rs.Name]), size(rs); from != to {
			direction := "down"
			if to > from {
				direction = "up"
			}
			u.Say = plan.Say{About: r.d, Done: plan.Note{
				Reason: "ScalingReplicaSet",
				Format: fmt.Sprintf("Scaled %s replica set %%s from %d to %d", direction, from, to),
			}}
		}
		p.Add(u)
	}
	p.Add(r.remove...)
	p.Add(r.status()...)
	return p
}

// status is the update of the Deployment itself. Upstream's status updates
// carry the revision annotation as well.
func (r *rollout) status() []plan.Action {
	if apiequality.Semantic.DeepEqual(r.d.Status, r.Self.Status) && maps.Equal(r.d.Annotations, r.Self.Annotations) {
		return nil
	}
	return []plan.Action{plan.UpdateStatus(r.d)}
}

// cleanUp deletes old sets beyond the history limit that have no pods.
func (r *rollout) cleanUp() {
	if r.d.Spec.RevisionHistoryLimit == nil {
		return
	}
	var alive []*appsv1.ReplicaSet
	for _, rs := range r.old {
		if rs.DeletionTimestamp == nil {
			alive = append(alive, rs)
		}
	}
	excess := len(alive) - int(*r.d.Spec.RevisionHistoryLimit)
	if excess <= 0 {
		return
	}
	slices.SortStableFunc(alive, func(a, b *appsv1.ReplicaSet) int {
		return cmp.Or(cmp.Compare(revision(a), revision(b)), byCreation(a, b))
	})
	for _, rs := range alive[:excess] {
		if rs.Status.Replicas == 0 && size(rs) == 0 && rs.Generation <= rs.Status.ObservedGeneration {
			r.remove = append(r.remove, plan.DeleteOf(rs))
		}
	}
}
