package deployment

import (
	"cmp"
	"math"
	"slices"

	appsv1 "k8s.io/api/apps/v1"

	"coracle.local/services/controller-manager/internal/plan"
	"coracle.local/services/controller-manager/internal/pods"
)

func sum(sets []*appsv1.ReplicaSet, of func(*appsv1.ReplicaSet) int32) int32 {
	var n int32
	for _, rs := range sets {
		n += of(rs)
	}
	return n
}

func available(rs *appsv1.ReplicaSet) int32 { return rs.Status.AvailableReplicas }
func actual(rs *appsv1.ReplicaSet) int32    { return rs.Status.Replicas }

func active(sets []*appsv1.ReplicaSet) []*appsv1.ReplicaSet {
	var out []*appsv1.ReplicaSet
	for _, rs := range sets {
		if size(rs) > 0 {
			out = append(out, rs)
		}
	}
	return out
}

// newSize is the size the fresh set may have now, rs being it.
func (r *rollout) newSize(rs *appsv1.ReplicaSet) int32 {
	if r.d.Spec.Strategy.Type == appsv1.RecreateDeploymentStrategyType {
		return r.replicas()
	}
	room := r.replicas() + maxSurge(r.d) - sum(r.sets, size)
	if room <= 0 {
		return size(rs)
	}
	return size(rs) + min(room, r.replicas()-size(rs))
}

func (r *rollout) rollingUpdate() plan.Plan {
	r.syncNew()
	if r.fresh == nil {
		return r.create()
	}
	n := size(r.fresh)
	switch {
	case n > r.replicas():
		n = r.replicas()
	case n < r.replicas():
		n = r.newSize(r.fresh)
	}
	// One move at a time, up before down: each waits for what the last brought.
	if !r.shift(n) && !r.shrinkOld() && complete(r.Self, &r.Self.Status) {
		r.cleanUp()
	}
	r.rolloutStatus()
	return r.plan()
}

// shift resizes the fresh set if that changes its size.
func (r *rollout) shift(n int32) bool { return n != size(r.fresh) && r.resize(r.fresh, n) }

// shrinkOld takes pods from old sets as far as availability allows: first those
// that are not available anyway, which cannot make matters worse.
func (r *rollout) shrinkOld() bool {
	old := active(r.old)
	least := r.replicas() - maxUnavailable(r.d)
	spare := sum(r.sets, size) - least - (size(r.fresh) - available(r.fresh))
	if len(old) == 0 || spare <= 0 {
		return false
	}
	shrunk := false
	for _, rs := range old {
		if n := min(spare, size(rs)-available(rs)); n > 0 {
			spare -= n
			shrunk = r.resize(rs, size(rs)-n) || shrunk
		}
	}
	spare = sum(r.sets, available) - least
	for _, rs := range old {
		if n := min(spare, size(rs)); n > 0 {
			spare -= n
			shrunk = r.resize(rs, size(rs)-n) || shrunk
		}
	}
	return shrunk
}

func (r *rollout) recreate() plan.Plan {
	r.syncNew()
	shrunk := false
	for _, rs := range active(r.old) {
		shrunk = r.resize(rs, 0) || shrunk
	}
	if shrunk || r.oldPodsRun() {
		r.rolloutStatus()
		return r.plan()
	}
	if r.fresh == nil {
		return r.create()
	}
	r.shift(r.replicas())
	if complete(r.Self, &r.Self.Status) {
		r.cleanUp()
	}
	r.rolloutStatus()
	return r.plan()
}

func (r *rollout) oldPodsRun() bool {
	if sum(r.old, actual) > 0 {
		return true
	}
	for _, rs := range r.old {
		for _, p := range r.Pods[rs.UID] {
			if !pods.Finished(p) {
				return true
			}
		}
	}
	return false
}

// isScaling tells whether the Deployment's size changed since its sets were
// sized, which they note in an annotation.
func (r *rollout) isScaling() bool {
	for _, rs := range active(r.sets) {
		if n, ok := count(rs, desiredAnnotation); ok && n != r.replicas() {
			return true
		}
	}
	return false
}

// scaleProportionally gives every set its part of a new size, so that scaling
// in the middle of a rollout does not hasten it.
func (r *rollout) scaleProportionally() {
	act := active(r.sets)
	switch {
	case len(r.sets) == 0:
		return
	case len(act) == 0:
		newest := r.fresh
		if newest == nil {
			newest = r.old[len(r.old)-1]
		}
		act = []*appsv1.ReplicaSet{newest}
	}
	if len(act) == 1 {
		if size(act[0]) != r.replicas() {
			r.resize(act[0], r.replicas())
		}
		return
	}
	if r.saturated() {
		for _, rs := range active(r.old) {
			r.resize(rs, 0)
		}
		return
	}
	if r.d.Spec.Strategy.Type != appsv1.RollingUpdateDeploymentStrategyType {
		return
	}
	r.distribute(act)
}

// saturated tells whether the fresh set has all pods it should, and knows it.
func (r *rollout) saturated() bool {
	if r.fresh == nil {
		return false
	}
	desired, ok := count(r.fresh, desiredAnnotation)
	return ok && size(r.fresh) == r.replicas() && desired == r.replicas() && available(r.fresh) == r.replicas()
}

func (r *rollout) distribute(act []*appsv1.ReplicaSet) {
	allowed := int32(0)
	if r.replicas() > 0 {
		allowed = r.replicas() + maxSurge(r.d)
	}
	add := allowed - sum(act, size)
	// Largest first. Of equal ones the newer grow and the older shrink first.
	slices.SortStableFunc(act, func(a, b *appsv1.ReplicaSet) int {
		if add > 0 {
			return cmp.Or(-cmp.Compare(size(a), size(b)), -byCreation(a, b))
		}
		return cmp.Or(-cmp.Compare(size(a), size(b)), byCreation(a, b))
	})
	sizes, added := make([]int32, len(act)), int32(0)
	for i, rs := range act {
		part := r.part(rs, add, added)
		sizes[i] = size(rs) + part
		added += part
	}
	sizes[0] = max(0, sizes[0]+add-added)
	for i, rs := range act {
		r.resize(rs, sizes[i])
	}
}

// part is a set's share of the pods to add, or to take if that is negative.
func (r *rollout) part(rs *appsv1.ReplicaSet, add, added int32) int32 {
	if add == 0 || add == added {
		return 0
	}
	share := r.share(rs)
	if add > 0 {
		return min(share, add-added)
	}
	return max(share, add-added)
}

func (r *rollout) share(rs *appsv1.ReplicaSet) int32 {
	if r.replicas() == 0 {
		return -size(rs)
	}
	before, ok := count(rs, maxAnnotation)
	if !ok || before == 0 {
		if before = r.Self.Status.Replicas; before == 0 {
			return 0
		}
	}
	scaled := float64(size(rs)) * float64(r.replicas()+maxSurge(r.d)) / float64(before)
	return int32(math.Round(scaled)) - size(rs)
}
