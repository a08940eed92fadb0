package statefulset

import (
	"fmt"
	"slices"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"coracle.local/services/controller-manager/internal/plan"
	"coracle.local/services/controller-manager/internal/pods"
	"coracle.local/services/controller-manager/internal/revision"
)

// update is one look at a StatefulSet.
type update struct {
	state
	now           time.Time
	revisions     []*appsv1.ControllerRevision
	current, next *appsv1.ControllerRevision
	status        *appsv1.StatefulSetStatus
	// replicas is the pods by ordinal, those that are missing as they are to
	// be made; condemned is pods of other ordinals, the highest first.
	replicas, condemned []*corev1.Pod
	do                  []plan.Action
	err                 error
}

func (u *update) ordered() bool {
	return u.Self.Spec.PodManagementPolicy != appsv1.ParallelPodManagement
}

// reconcile plans the next step, or all steps at once if order does not matter.
func (u *update) reconcile() {
	u.count()
	if u.Self.DeletionTimestamp != nil || !u.partition() {
		return
	}
	if u.Self.Spec.UpdateStrategy.Type == appsv1.RecreateStatefulSetStrategyType {
		u.err = fmt.Errorf("statefulset %s/%s uses Recreate strategy but feature gate StatefulSetRecreateStrategy is disabled", u.Self.Namespace, u.Self.Name)
		u.do = append(u.do, plan.Event{About: u.Self, Type: corev1.EventTypeWarning, Reason: "UnknownStrategy", Message: u.err.Error()})
		return
	}
	if u.each(u.replicas, u.replica) || u.each(u.condemned, u.claimsOfCondemned) {
		return
	}
	first := u.firstUnavailable()
	if u.each(u.condemned, func(p *corev1.Pod) ([]plan.Action, bool) { return u.condemn(p, first) }) {
		return
	}
	if u.Self.Spec.UpdateStrategy.Type != appsv1.OnDeleteStatefulSetStrategyType {
		u.roll()
	}
}

// each goes through pods: one after the other until a step says stop, or, if
// order does not matter, all of them at the same time.
func (u *update) each(list []*corev1.Pod, step func(*corev1.Pod) ([]plan.Action, bool)) (stop bool) {
	together := plan.Parallel{SlowStart: true}
	for _, p := range list {
		actions, stop := step(p)
		if !u.ordered() {
			if len(actions) > 0 {
				together.Parts = append(together.Parts, plan.Sequence(actions))
			}
			continue
		}
		u.do = append(u.do, actions...)
		if stop || u.err != nil {
			return true
		}
	}
	if len(together.Parts) > 0 {
		u.do = append(u.do, together)
	}
	return u.err != nil
}

// count fills the status from what is there.
func (u *update) count() {
	s := u.status
	for _, p := range u.Owned {
		s.Replicas++
		if runningReady(p) {
			s.ReadyReplicas++
			if pods.Available(p, u.Self.Spec.MinReadySeconds, u.now) {
				s.AvailableReplicas++
			}
		}
		if terminating(p) {
			continue
		}
		if podRevision(p) == u.current.Name {
			s.CurrentReplicas++
		}
		if podRevision(p) == u.next.Name {
			s.UpdatedReplicas++
		}
	}
}

// partition sorts the pods; false if a missing one cannot be made.
func (u *update) partition() bool {
	from, to := bounds(u.Self)
	u.replicas = make([]*corev1.Pod, to-from)
	for _, p := range u.Owned {
		if inRange(p, u.Self) {
			u.replicas[ordinal(p)-from] = p
		} else if ordinal(p) >= 0 {
			u.condemned = append(u.condemned, p)
		}
	}
	slices.SortFunc(u.condemned, func(a, b *corev1.Pod) int { return ordinal(b) - ordinal(a) })
	for i := range u.replicas {
		if u.replicas[i] != nil {
			continue
		}
		set, r, err := u.version(from + i)
		if err != nil {
			u.err = err
			return false
		}
		u.replicas[i] = newPod(set, from+i, r)
	}
	return true
}

// version is what a new pod of an ordinal is made from: the present template,
// or, below the partition of an update, the one before.
func (u *update) version(n int) (*appsv1.StatefulSet, string, error) {
	from, _ := bounds(u.Self)
	s := u.Self.Spec.UpdateStrategy
	old := s.Type == appsv1.RollingUpdateStatefulSetStrategyType && s.RollingUpdate == nil && n < from+int(u.Self.Status.CurrentReplicas) ||
		s.RollingUpdate != nil && n < from+int(ptr.Deref(s.RollingUpdate.Partition, 0))
	if !old || u.current == u.next {
		return u.Self, u.next.Name, nil
	}
	set, err := revision.Apply(u.Self, u.current)
	return set, u.current.Name, err
}

func (u *update) say(verb string) plan.Say {
	return plan.Say{
		About:  u.Self,
		Done:   plan.Note{Reason: "Successful" + verb, Format: fmt.Sprintf("%s Pod %%s in StatefulSet %s successful", verb, u.Self.Name)},
		Failed: plan.Note{Reason: "Failed" + verb, Format: fmt.Sprintf("%s Pod in StatefulSet %s failed error: %%v", verb, u.Self.Name)},
	}
}

func (u *update) delete(p *corev1.Pod) plan.Action {
	d := plan.DeleteOf(p)
	d.Say = u.say("Delete")
	d.Say.Failed.Format = fmt.Sprintf("Delete Pod %s in StatefulSet %s failed error: %%v", p.Name, u.Self.Name)
	return d
}

// replica brings one pod forward. It tells whether the next has to wait.
func (u *update) replica(p *corev1.Pod) ([]plan.Action, bool) {
	switch {
	case pods.Finished(p):
		if terminating(p) {
			return nil, true
		}
		return []plan.Action{u.delete(p)}, true
	case !created(p):
		if u.claimIsStale(p) {
			return nil, true
		}
		claims := u.missingClaims(p)
		if u.err != nil {
			return nil, true
		}
		say := u.say("Create")
		say.Failed.Format = fmt.Sprintf("Create Pod %s in StatefulSet %s failed error: %%v", p.Name, u.Self.Name)
		return append(claims, plan.Create{Object: p, Say: say}), u.ordered()
	}
	var out []plan.Action
	if p.Status.Phase == corev1.PodPending {
		out = append(out, u.missingClaims(p)...)
	}
	if u.ordered() && (terminating(p) || !runningReady(p) || !pods.Available(p, u.Self.Spec.MinReadySeconds, u.now)) {
		return out, true
	}
	out = append(out, u.fixClaims(p)...)
	if !identified(u.Self, p) || !stored(u.Self, p) {
		p = p.DeepCopy()
		identify(u.Self, p)
		store(u.Self, p)
		out = append(out, plan.Update{Object: p, Say: u.say("Update")})
	}
	return out, false
}

func (u *update) claimsOfCondemned(p *corev1.Pod) ([]plan.Action, bool) { return u.fixClaims(p), false }

// firstUnavailable is the pod that others have to wait for.
func (u *update) firstUnavailable() *corev1.Pod {
	for _, p := range u.replicas {
		if unavailable(p, u.Self.Spec.MinReadySeconds, u.now) {
			return p
		}
	}
	for _, p := range slices.Backward(u.condemned) {
		if unavailable(p, u.Self.Spec.MinReadySeconds, u.now) {
			return p
		}
	}
	return nil
}

// condemn ends a pod that there is no place for any more.
func (u *update) condemn(p, first *corev1.Pod) ([]plan.Action, bool) {
	healthy := runningReady(p) && pods.Available(p, u.Self.Spec.MinReadySeconds, u.now)
	if terminating(p) || u.ordered() && !healthy && p != first {
		return nil, true
	}
	return []plan.Action{u.delete(p)}, true
}

// roll ends pods of older revisions, from the highest ordinal down to the
// partition, as many as may be unavailable at once.
func (u *update) roll() {
	least, most := 0, 1
	if r := u.Self.Spec.UpdateStrategy.RollingUpdate; r != nil {
		least = int(ptr.Deref(r.Partition, 0))
		n, err := intstr.GetScaledValueFromIntOrPercent(intstr.ValueOrDefault(r.MaxUnavailable, intstr.FromInt32(1)), len(u.replicas), false)
		if err != nil {
			u.err = err
			return
		}
		most = max(1, n)
	}
	down := func(p *corev1.Pod) bool { return unavailable(p, u.Self.Spec.MinReadySeconds, u.now) }
	old := func(p *corev1.Pod) bool { return podRevision(p) != u.next.Name && !terminating(p) }
	budget := most
	for _, p := range u.replicas {
		if down(p) {
			budget--
		}
	}
	var targets []*corev1.Pod
	for _, p := range slices.Backward(u.replicas[min(least, len(u.replicas)):]) {
		if created(p) && old(p) {
			targets = append(targets, p)
		}
	}
	if !u.ordered() {
		// Those that are down already cost nothing.
		for _, p := range targets {
			if down(p) {
				u.replace(p)
			}
		}
	}
	for _, p := range targets {
		if budget <= 0 {
			return
		}
		if u.ordered() || !down(p) {
			u.replace(p)
			budget--
		}
	}
}

func (u *update) replace(p *corev1.Pod) {
	u.do = append(u.do, u.delete(p))
	u.status.CurrentReplicas--
}
