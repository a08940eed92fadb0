package jobs

import (
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/ptr"

	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
	"coracle.local/services/controller-manager/internal/pods"
)

// look is one look at a Job.
type look struct {
	self *batchv1.Job // as observed
	job  *batchv1.Job // a copy that gets the new status
	now  time.Time

	pods, active []*corev1.Pod
	// What the status will say; changed as pods are created and deleted.
	nActive, nReady, nTerminating int32
	// succeeded and failed include what is not in the status yet.
	succeeded, failed int32
	// uncounted is the pods in status.uncountedTerminatedPods.
	uncountedSucceeded, uncountedFailed sets.Set[types.UID]

	prevDone, done, lost intervals // of an Indexed Job
	// delayed is, by index, the failed pod that is kept until its replacement
	// is there, since that takes over its count of failures.
	delayed map[int]*corev1.Pod
	// finish is the interim condition of a Job that is about to finish.
	finish *batchv1.JobCondition
	// decided says that finish was set, though it may be taken back until all
	// pods are being deleted.
	decided bool
	after   time.Duration
	events  []plan.Action
}

func compute(f family, now time.Time) plan.Plan {
	j := f.Self
	if managedElsewhere(j) {
		return plan.Plan{}
	}
	if claims := f.Claim(batchv1.JobTrackingFinalizer); len(claims) > 0 {
		return plan.Plan{Do: claims}
	}
	if Finished(j) {
		return leave(f)
	}
	if m := j.Spec.CompletionMode; m != nil && *m != batchv1.NonIndexedCompletion && *m != batchv1.IndexedCompletion {
		return plan.Plan{Do: []plan.Action{plan.Event{
			About: j, Type: corev1.EventTypeWarning, Reason: "UnknownCompletionMode",
			Message: "Skipped Job sync because completion mode is unknown",
		}}}
	}
	l := newLook(f, now)
	l.judge()
	p := l.act()
	p.Again(l.after)
	return p
}

// leave takes the finalizer off pods that a finished Job still has.
func leave(f family) plan.Plan {
	var free plan.Parallel
	for _, p := range f.Owned {
		if tracked(p) {
			free.Parts = append(free.Parts, owner.RemoveFinalizer(p, batchv1.JobTrackingFinalizer))
		}
	}
	if len(free.Parts) == 0 {
		return plan.Plan{}
	}
	return plan.Plan{Do: []plan.Action{free}}
}

func newLook(f family, now time.Time) *look {
	l := &look{self: f.Self, job: f.Self.DeepCopy(), now: now, pods: f.Owned, active: pods.Filter(f.Owned, pods.Active)}
	if l.job.Status.UncountedTerminatedPods == nil {
		l.job.Status.UncountedTerminatedPods = &batchv1.UncountedTerminatedPods{}
	}
	l.uncountedSucceeded = sets.New(l.job.Status.UncountedTerminatedPods.Succeeded...)
	l.uncountedFailed = sets.New(l.job.Status.UncountedTerminatedPods.Failed...)
	l.nActive, l.nReady, l.nTerminating = int32(len(l.active)), pods.Count(l.active, pods.Ready), pods.Count(l.pods, pods.Terminating)
	l.succeeded = l.job.Status.Succeeded + int32(l.uncountedSucceeded.Len()) + l.count(l.uncountedSucceeded, func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded
	})
	l.failed = l.job.Status.Failed + int32(l.uncountedFailed.Len()) + l.count(l.uncountedFailed, func(p *corev1.Pod) bool {
		return failed(p, l.job) && match(l.job.Spec.PodFailurePolicy, p).counts
	})
	if l.job.Status.StartTime == nil && !suspended(l.job) {
		l.job.Status.StartTime = &metav1.Time{Time: now}
	}
	if indexed(l.job) {
		l.observeIndexes()
	}
	return l
}

// count counts the pods that is is true for and that no counter has yet.
func (l *look) count(counted sets.Set[types.UID], is func(*corev1.Pod) bool) int32 {
	return pods.Count(l.pods, func(p *corev1.Pod) bool {
		return tracked(p) && !counted.Has(p.UID) && (!indexed(l.job) || validIndex(p, l.job)) && is(p)
	})
}

func (l *look) observeIndexes() {
	completions := int(*l.job.Spec.Completions)
	l.prevDone = parseIntervals(l.job.Status.CompletedIndexes, completions)
	l.done = l.prevDone.with(indexesOf(pods.Filter(l.pods, func(p *corev1.Pod) bool {
		return p.Status.Phase == corev1.PodSucceeded && tracked(p) && validIndex(p, l.job)
	}))...)
	l.succeeded = int32(l.done.total())
	if !perIndex(l.job) {
		return
	}
	l.lost = parseIntervals(ptr.Deref(l.job.Status.FailedIndexes, ""), completions).with(indexesOf(pods.Filter(l.pods, func(p *corev1.Pod) bool {
		return tracked(p) && validIndex(p, l.job) && l.failsIndex(p)
	}))...)
	l.delayed = map[int]*corev1.Pod{}
	live := intervals(nil).with(indexesOf(l.active)...)
	for _, p := range l.pods {
		i := indexOf(p)
		if !tracked(p) || !validIndex(p, l.job) || !failed(p, l.job) || l.done.has(i) || l.lost.has(i) || live.has(i) {
			continue
		}
		if old := l.delayed[i]; old == nil || allFailures(old) <= allFailures(p) && !finishedAt(p).Before(finishedAt(old)) {
			l.delayed[i] = p
		}
	}
}

func (l *look) failsIndex(p *corev1.Pod) bool {
	if !failed(p, l.job) {
		return false
	}
	v := match(l.job.Spec.PodFailurePolicy, p)
	return v.failsIndex || v.counts && failures(p, batchv1.JobIndexFailureCountAnnotation) >= *l.job.Spec.BackoffLimitPerIndex
}

func (l *look) condition(t batchv1.JobConditionType, reason, message string) *batchv1.JobCondition {
	now := metav1.NewTime(l.now)
	return &batchv1.JobCondition{Type: t, Status: corev1.ConditionTrue, Reason: reason, Message: message, LastProbeTime: now, LastTransitionTime: now}
}

// judge tells whether the Job is about to finish. What an earlier look decided
// stands; then failures come before success.
func (l *look) judge() {
	if c := condition(l.job, batchv1.JobSuccessCriteriaMet); isTrue(c) {
		l.finish = c.DeepCopy()
		return
	}
	if c := condition(l.job, batchv1.JobFailureTarget); isTrue(c) {
		l.finish = l.condition(batchv1.JobFailed, c.Reason, c.Message)
		return
	}
	for _, p := range l.pods {
		if failed(p, l.job) {
			if why := match(l.job.Spec.PodFailurePolicy, p).failsJob; why != "" {
				l.finish = l.condition(batchv1.JobFailureTarget, batchv1.JobReasonPodFailurePolicy, why)
				return
			}
		}
	}
	deadline := l.job.Spec.ActiveDeadlineSeconds
	remaining := time.Duration(1)
	if deadline != nil && !suspended(l.job) {
		remaining = l.job.Status.StartTime.Add(time.Duration(*deadline) * time.Second).Sub(l.now)
	}
	spec := &l.job.Spec
	switch {
	case l.failed > ptr.Deref(spec.BackoffLimit, 6) || l.restartedTooOften():
		l.finish = l.condition(batchv1.JobFailureTarget, batchv1.JobReasonBackoffLimitExceeded, "Job has reached the specified backoff limit")
	case remaining <= 0:
		l.finish = l.condition(batchv1.JobFailureTarget, batchv1.JobReasonDeadlineExceeded, "Job was active longer than specified deadline")
	case perIndex(l.job) && spec.MaxFailedIndexes != nil && l.lost.total() > int(*spec.MaxFailedIndexes):
		l.finish = l.condition(batchv1.JobFailureTarget, batchv1.JobReasonMaxFailedIndexesExceeded, "Job has exceeded the specified maximal number of failed indexes")
	case perIndex(l.job) && l.lost.total() > 0 && l.lost.total()+l.done.total() >= int(*spec.Completions):
		l.finish = l.condition(batchv1.JobFailureTarget, batchv1.JobReasonFailedIndexes, "Job has failed indexes")
	case indexed(l.job):
		if why, met := succeeded(spec.SuccessPolicy, int(*spec.Completions), l.done); met {
			l.finish = l.condition(batchv1.JobSuccessCriteriaMet, batchv1.JobReasonSuccessPolicy, why)
		}
	}
	if l.finish == nil && deadline != nil && !suspended(l.job) {
		l.after = remaining
	}
}

// restartedTooOften is the limit for pods that restart in place.
func (l *look) restartedTooOften() bool {
	if l.job.Spec.Template.Spec.RestartPolicy != corev1.RestartPolicyOnFailure {
		return false
	}
	var n int32
	for _, p := range l.pods {
		if p.Status.Phase != corev1.PodRunning && p.Status.Phase != corev1.PodPending {
			continue
		}
		for _, s := range p.Status.InitContainerStatuses {
			n += s.RestartCount
		}
		for _, s := range p.Status.ContainerStatuses {
			n += s.RestartCount
		}
	}
	return n > 0 && n >= ptr.Deref(l.job.Spec.BackoffLimit, 6)
}
