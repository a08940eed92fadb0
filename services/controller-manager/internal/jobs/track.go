package jobs

import (
	"cmp"
	"slices"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
)

// maxUncounted bounds status.uncountedTerminatedPods.
const maxUncounted = 500

// track counts finished pods, so that each counts once whatever fails between:
// their UIDs go to the status, then the finalizers come off, then the UIDs turn
// into numbers.
func (l *look) track() plan.Plan {
	status := &l.job.Status
	held := sets.New[types.UID]()
	for _, p := range l.pods {
		if tracked(p) {
			held.Insert(p.UID)
		}
	}
	settleUncounted(status, held)
	free, more := l.takeUncounted()
	if indexed(l.job) {
		status.Succeeded, status.CompletedIndexes = int32(l.done.total()), l.done.String()
		status.FailedIndexes = nil
		if perIndex(l.job) {
			status.FailedIndexes = ptr.To(l.lost.String())
		}
	}
	final := l.interim()

	p := plan.Plan{}
	if !apiequality.Semantic.DeepEqual(l.self.Status, *status) {
		p.Add(plan.UpdateStatus(l.job))
	}
	flushed := len(p.Do) > 0
	p.Add(l.events...)
	if len(free) > 0 {
		p.Add(l.free(free))
	}
	if len(p.Do) == 0 && final == nil {
		return p
	}
	p.Then = func(out plan.Outcome) plan.Plan {
		job := l.job
		if flushed {
			if len(out.Results) == 0 || out.Results[0].Object == nil {
				return plan.Plan{} // the status could not be written; nothing is lost
			}
			job = out.Results[0].Object.(*batchv1.Job)
		}
		if len(free) > 0 {
			for i, r := range out.Results[len(out.Results)-1].Each {
				if r.Err == nil {
					held.Delete(free[i].UID)
				}
			}
		}
		if more || out.Err != nil {
			final = nil
		}
		return l.conclude(job, held, final)
	}
	return p
}

func (l *look) free(list []*corev1.Pod) plan.Action {
	var out plan.Parallel
	for _, p := range list {
		out.Parts = append(out.Parts, owner.RemoveFinalizer(p, batchv1.JobTrackingFinalizer))
	}
	return out
}

// settleUncounted turns the UIDs of pods that nothing holds into numbers.
func settleUncounted(s *batchv1.JobStatus, held sets.Set[types.UID]) {
	u := s.UncountedTerminatedPods
	if u == nil {
		return
	}
	keep := func(list []types.UID, n *int32) []types.UID {
		var out []types.UID
		for _, uid := range list {
			if held.Has(uid) {
				out = append(out, uid)
			} else {
				*n++
			}
		}
		return out
	}
	u.Succeeded, u.Failed = keep(u.Succeeded, &s.Succeeded), keep(u.Failed, &s.Failed)
}

// takeUncounted puts finished pods on the list and returns those whose
// finalizer may come off; more tells that not all had room.
func (l *look) takeUncounted() (free []*corev1.Pod, more bool) {
	u := l.job.Status.UncountedTerminatedPods
	order := slices.Clone(l.pods)
	slices.SortStableFunc(order, func(a, b *corev1.Pod) int { return cmp.Compare(indexOf(a), indexOf(b)) })
	done := l.prevDone
	for _, p := range order {
		if !tracked(p) || !l.mayFree(p) {
			continue
		}
		free = append(free, p)
		switch {
		case p.Status.Phase == corev1.PodSucceeded && !l.uncountedFailed.Has(p.UID):
			if indexed(l.job) {
				if validIndex(p, l.job) {
					done = done.with(indexOf(p))
				}
			} else if !l.uncountedSucceeded.Has(p.UID) {
				u.Succeeded = append(u.Succeeded, p.UID)
			}
		case failed(p, l.job) || l.finish != nil && l.finish.Type != batchv1.JobSuccessCriteriaMet:
			if !l.uncountedFailed.Has(p.UID) && (!indexed(l.job) || validIndex(p, l.job)) && match(l.job.Spec.PodFailurePolicy, p).counts {
				u.Failed = append(u.Failed, p.UID)
			}
		}
		if len(free) >= maxUncounted || len(u.Succeeded)+len(u.Failed) >= maxUncounted {
			more = true
			break
		}
	}
	if indexed(l.job) {
		l.done = done
	}
	return free, more
}

// mayFree tells whether a pod's end can be counted.
func (l *look) mayFree(p *corev1.Pod) bool {
	if l.job.DeletionTimestamp != nil || l.finish != nil || p.Status.Phase == corev1.PodSucceeded {
		return true
	}
	if !failed(p, l.job) {
		return false
	}
	d := l.delayed[indexOf(p)]
	return d == nil || d.UID != p.UID
}

// interim notes how the Job will end, before anything is taken off its pods,
// and returns the condition that says that it has.
func (l *look) interim() *batchv1.JobCondition {
	c := l.finish
	if c == nil {
		return nil
	}
	if c.Type != batchv1.JobFailed && condition(l.job, c.Type) == nil {
		l.job.Status.Conditions = append(l.job.Status.Conditions, *c)
	}
	if c.Type == batchv1.JobSuccessCriteriaMet {
		return l.condition(batchv1.JobComplete, c.Reason, c.Message)
	}
	return l.condition(batchv1.JobFailed, c.Reason, c.Message)
}

// conclude writes the numbers, and the end of a Job of which nothing is left
// to count or to wait for.
func (l *look) conclude(job *batchv1.Job, held sets.Set[types.UID], final *batchv1.JobCondition) plan.Plan {
	before := job
	job = job.DeepCopy()
	settleUncounted(&job.Status, held)
	var events []plan.Action
	u := job.Status.UncountedTerminatedPods
	if final != nil && (u == nil || len(u.Succeeded)+len(u.Failed) == 0) && l.nTerminating == 0 {
		job.Status.Conditions = append(job.Status.Conditions, *final)
		events = l.tell(job, final)
		if final.Type == batchv1.JobComplete {
			job.Status.CompletionTime = &final.LastTransitionTime
		}
	}
	if apiequality.Semantic.DeepEqual(before.Status, job.Status) {
		return plan.Plan{}
	}
	return plan.Plan{Do: append([]plan.Action{plan.UpdateStatus(job)}, events...)}
}

func (l *look) tell(job *batchv1.Job, final *batchv1.JobCondition) []plan.Action {
	if final.Type == batchv1.JobFailed {
		return []plan.Action{plan.Event{About: l.self, Type: corev1.EventTypeWarning, Reason: final.Reason, Message: final.Message}}
	}
	var out []plan.Action
	if c := job.Spec.Completions; c != nil && job.Status.Succeeded > *c {
		out = append(out, plan.Event{
			About: l.self, Type: corev1.EventTypeWarning, Reason: "TooManySucceededPods",
			Message: "Too many succeeded pods running after completion count reached",
		})
	}
	return append(out, plan.Event{About: l.self, Type: corev1.EventTypeNormal, Reason: "Completed", Message: "Job completed"})
}
