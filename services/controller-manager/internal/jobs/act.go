package jobs

import (
	"slices"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
	"coracle.local/services/controller-manager/internal/pods"
)

// batch bounds how many pods one look creates or deletes.
const batch = 500

// act creates or deletes pods, and then sees to the status.
func (l *look) act() plan.Plan {
	var do plan.Parallel
	var note func([]plan.Result)
	managed := false
	l.decided = l.finish != nil
	switch {
	case l.decided:
		// Finalizers stay until the pods are counted.
		do, note = l.end(l.active, false)
	case l.job.DeletionTimestamp == nil:
		managed = true
		do, note = l.manage()
	}
	if len(do.Parts) == 0 {
		return l.settle(managed)
	}
	return plan.Plan{Do: []plan.Action{do}, Then: func(out plan.Outcome) plan.Plan {
		note(out.Results[0].Each)
		if out.Err != nil {
			l.finish = nil // not all is over yet
		}
		return l.settle(managed)
	}}
}

// end deletes pods; with free their finalizers are taken off first, because
// they are not to be counted.
func (l *look) end(list []*corev1.Pod, free bool) (plan.Parallel, func([]plan.Result)) {
	var do plan.Parallel
	for _, p := range list {
		remove := pods.Delete(p, l.self)
		if free && tracked(p) {
			remove = plan.Sequence{owner.RemoveFinalizer(p, batchv1.JobTrackingFinalizer), remove}
		}
		do.Parts = append(do.Parts, remove)
	}
	return do, func(results []plan.Result) {
		for i, r := range results {
			if r.Err != nil {
				continue
			}
			l.nActive--
			l.nTerminating++
			if pods.Ready(list[i]) {
				l.nReady--
			}
		}
	}
}

// manage brings the number of active pods to what the Job wants.
func (l *look) manage() (plan.Parallel, func([]plan.Result)) {
	if suspended(l.job) {
		return l.end(l.surplus(len(l.active)), true)
	}
	parallelism := ptr.Deref(l.job.Spec.Parallelism, 1)
	want := parallelism
	switch c := l.job.Spec.Completions; {
	case c != nil:
		want = max(0, min(parallelism, *c-l.succeeded))
	case l.succeeded > 0:
		want = l.nActive // whatever runs may end, and nothing new starts
	}
	if extra := l.surplus(int(max(0, l.nActive-want))); len(extra) > 0 {
		return l.end(extra[:min(len(extra), batch)], true)
	}
	missing := want - l.nActive
	if replacesFailedOnly(l.job) {
		missing -= l.nTerminating
	}
	if missing <= 0 {
		return plan.Parallel{}, nil
	}
	if !perIndex(l.job) {
		if d := jobWait(l.job, l.pods, l.now); d > 0 {
			l.again(d)
			return plan.Parallel{}, nil
		}
	}
	return l.create(int(min(missing, batch)))
}

func (l *look) again(d time.Duration) {
	if l.after == 0 || d < l.after {
		l.after = d
	}
}

func (l *look) create(n int) (plan.Parallel, func([]plan.Result)) {
	do := plan.Parallel{SlowStart: true}
	add := func(index int) {
		do.Parts = append(do.Parts, pods.Create(newPod(l.job, index, l.delayed[index]), l.self))
	}
	if indexed(l.job) {
		for _, i := range l.pending(n) {
			add(i)
		}
	} else {
		for range n {
			add(noIndex)
		}
	}
	return do, func(results []plan.Result) {
		for _, r := range results {
			if r.Object != nil {
				l.nActive++
			}
		}
	}
}

// pending is the indexes to start now: those that nobody has, and whose last
// failure is long enough ago.
func (l *look) pending(n int) []int {
	taken := l.done.with(indexesOf(l.active)...).union(l.lost)
	if replacesFailedOnly(l.job) {
		taken = taken.with(indexesOf(pods.Filter(l.pods, pods.Terminating))...)
	}
	free := taken.free(n, int(*l.job.Spec.Completions))
	var out []int
	soonest := time.Duration(0)
	for _, i := range free {
		d := indexWait(l.delayed[i], l.now)
		if d == 0 {
			out = append(out, i)
		} else if soonest == 0 || d < soonest {
			soonest = d
		}
	}
	if soonest > 0 {
		l.again(soonest)
	}
	return out
}

// surplus is at least n active pods to delete: of an Indexed Job all that have
// a wrong index or one that another has, and then those that came least far.
func (l *look) surplus(n int) []*corev1.Pod {
	var out, rest []*corev1.Pod
	if indexed(l.job) {
		same := map[int][]*corev1.Pod{}
		for _, p := range l.active {
			if !validIndex(p, l.job) {
				out = append(out, p)
				continue
			}
			same[indexOf(p)] = append(same[indexOf(p)], p)
		}
		for _, p := range l.active {
			list := same[indexOf(p)]
			delete(same, indexOf(p))
			if len(list) > 0 {
				pods.ActiveOrder(list)
				out = append(out, list[:len(list)-1]...)
				rest = append(rest, list[len(list)-1])
			}
		}
	} else {
		rest = slices.Clone(l.active)
	}
	if len(out) < n {
		pods.ActiveOrder(rest)
		out = append(out, rest[:min(len(rest), n-len(out))]...)
	}
	return out
}

// settle decides on success and notes suspension, now that it is known which
// pods are there.
func (l *look) settle(managed bool) plan.Plan {
	if !l.decided {
		switch c := l.job.Spec.Completions; {
		case c == nil && l.succeeded > 0 && l.nActive == 0, c != nil && l.succeeded >= *c && l.nActive == 0:
			l.finish = l.condition(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonCompletionsReached, "Reached expected number of succeeded pods")
		case managed:
			l.noteSuspension()
		}
	}
	l.job.Status.Active, l.job.Status.Ready, l.job.Status.Terminating = l.nActive, &l.nReady, &l.nTerminating
	return l.track()
}

func (l *look) noteSuspension() {
	status, reason, event, message := corev1.ConditionFalse, "JobResumed", "Resumed", "Job resumed"
	if suspended(l.job) {
		status, reason, event, message = corev1.ConditionTrue, "JobSuspended", "Suspended", "Job suspended"
	}
	if !l.setCondition(batchv1.JobSuspended, status, reason, message) {
		return
	}
	l.events = append(l.events, plan.Event{About: l.self, Type: corev1.EventTypeNormal, Reason: event, Message: message})
	// The deadline does not run while a Job is suspended.
	l.job.Status.StartTime = nil
	if !suspended(l.job) {
		l.job.Status.StartTime = &metav1.Time{Time: l.now}
	}
}

// setCondition does not add a condition that says no to what nobody asked.
func (l *look) setCondition(t batchv1.JobConditionType, status corev1.ConditionStatus, reason, message string) bool {
	next := l.condition(t, reason, message)
	next.Status = status
	old := condition(l.job, t)
	switch {
	case old == nil && status == corev1.ConditionFalse:
		return false
	case old == nil:
		l.job.Status.Conditions = append(l.job.Status.Conditions, *next)
	case old.Status == status && old.Reason == reason && old.Message == message:
		return false
	default:
		*old = *next
	}
	return true
}
