package jobs

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
)

type cronFamily = owner.Family[*batchv1.CronJob, *batchv1.Job]

// CronJobs is cronjob-controller.
func CronJobs(d loop.Deps) loop.Loop {
	of := owner.New[*batchv1.CronJob, *batchv1.Job](d.API, nil)
	return loop.New(d, loop.Spec[loop.Key, cronFamily]{
		Name: "cronjob-controller", Sources: of.Sources(),
		Observe: func(k loop.Key, _ time.Time) (cronFamily, bool) { return of.Observe(k) },
		Compute: computeCron,
	})
}

// cronLook is one look at a CronJob.
type cronLook struct {
	cronFamily
	cj    *batchv1.CronJob // a copy that gets the new status
	now   time.Time
	after time.Duration
	// do is what comes before the status: events, and Jobs to delete.
	do []plan.Action
}

func computeCron(f cronFamily, now time.Time) plan.Plan {
	l := &cronLook{cronFamily: f, cj: f.Self.DeepCopy(), now: now}
	// A Job that is listed and not in the cache may only be too new for it.
	var ask plan.Parallel
	var unseen []corev1.ObjectReference
	for _, r := range l.cj.Status.Active {
		if !slices.ContainsFunc(l.Owned, func(j *batchv1.Job) bool { return j.UID == r.UID }) {
			unseen = append(unseen, r)
			ask.Parts = append(ask.Parts, plan.Get{Kind: kinds.For[*batchv1.Job](), Namespace: r.Namespace, Name: r.Name})
		}
	}
	if len(unseen) == 0 {
		return l.reconcile()
	}
	return plan.Plan{Do: []plan.Action{ask}, Then: func(out plan.Outcome) plan.Plan {
		if out.Err != nil {
			return plan.Plan{}
		}
		for i, r := range out.Results[0].Each {
			if r.Object == nil {
				l.event(corev1.EventTypeNormal, "MissingJob", "Active job went missing: %v", unseen[i].Name)
				l.forget(unseen[i].UID)
			}
		}
		return l.reconcile()
	}}
}

func (l *cronLook) event(kind, reason, format string, args ...any) {
	l.do = append(l.do, plan.Event{About: l.Self, Type: kind, Reason: reason, Message: fmt.Sprintf(format, args...)})
}

func (l *cronLook) forget(uid types.UID) {
	l.cj.Status.Active = slices.DeleteFunc(l.cj.Status.Active, func(r corev1.ObjectReference) bool { return r.UID == uid })
}

func (l *cronLook) lists(uid types.UID) bool {
	return slices.ContainsFunc(l.cj.Status.Active, func(r corev1.ObjectReference) bool { return r.UID == uid })
}

// reconcile brings the list of active Jobs up to date and starts one if it is
// time to.
func (l *cronLook) reconcile() plan.Plan {
	for _, j := range l.Owned {
		switch {
		case !Finished(j):
			if !l.lists(j.UID) {
				l.event(corev1.EventTypeWarning, "UnexpectedJob", "Saw a job that the controller did not create or forgot: %s", j.Name)
			}
			continue
		case l.lists(j.UID):
			l.forget(j.UID)
			how := batchv1.JobFailed
			if isTrue(condition(j, batchv1.JobComplete)) {
				how = batchv1.JobComplete
			}
			l.event(corev1.EventTypeNormal, "SawCompletedJob", "Saw completed job: %s, condition: %v", j.Name, how)
		}
		if t := j.Status.CompletionTime; isTrue(condition(j, batchv1.JobComplete)) && t != nil {
			if l.cj.Status.LastSuccessfulTime == nil || t.After(l.cj.Status.LastSuccessfulTime.Time) {
				l.cj.Status.LastSuccessfulTime = t.DeepCopy()
			}
		}
	}
	if l.Self.DeletionTimestamp != nil {
		return l.finish()
	}
	at := l.startTime()
	if at.IsZero() {
		return l.finish()
	}
	return l.start(at)
}

// startTime is the time that a Job is to be started for now; zero if none is.
func (l *cronLook) startTime() time.Time {
	if zone := l.cj.Spec.TimeZone; zone != nil {
		if _, err := time.LoadLocation(*zone); err != nil {
			l.event(corev1.EventTypeWarning, "UnknownTimeZone", "invalid timeZone: %q: %s", *zone, err)
			return time.Time{}
		}
	}
	if ptr.Deref(l.cj.Spec.Suspend, false) {
		return time.Time{}
	}
	if strings.Contains(l.cj.Spec.Schedule, "TZ") {
		l.event(corev1.EventTypeWarning, "UnsupportedSchedule", "CRON_TZ or TZ used in schedule %q is not officially supported, "+
			"see https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/ for more details", l.cj.Spec.Schedule)
	}
	s, err := parseSchedule(l.cj)
	if err != nil {
		l.event(corev1.EventTypeWarning, "UnparseableSchedule", "unparseable schedule: %q : %s", l.cj.Spec.Schedule, err)
		return time.Time{}
	}
	d, err := findDue(l.cj, s, l.now, true)
	if err != nil {
		l.event(corev1.EventTypeWarning, "InvalidSchedule", "invalid schedule: %s : %s", l.cj.Spec.Schedule, err)
		return time.Time{}
	}
	l.after = untilNext(l.cj, s, l.now)
	if d.last.IsZero() {
		return time.Time{}
	}
	if d.missed > manyMissed {
		l.event(corev1.EventTypeWarning, "TooManyMissedTimes", "too many missed start times. Set or decrease .spec.startingDeadlineSeconds or check clock skew")
	}
	if !l.maySchedule(d.last) {
		return time.Time{}
	}
	return d.last
}

func (l *cronLook) maySchedule(at time.Time) bool {
	deadline := l.cj.Spec.StartingDeadlineSeconds
	name := jobName(l.cj, at)
	switch {
	case deadline != nil && at.Add(time.Duration(*deadline)*time.Second).Before(l.now):
		l.event(corev1.EventTypeWarning, "MissSchedule", "Missed scheduled time to start a job: %s", at.UTC().Format(time.RFC1123Z))
		return false
	case slices.ContainsFunc(l.cj.Status.Active, func(r corev1.ObjectReference) bool { return r.Name == name }),
		l.cj.Status.LastScheduleTime.Equal(&metav1.Time{Time: at}):
		return false
	case l.cj.Spec.ConcurrencyPolicy == batchv1.ForbidConcurrent && len(l.cj.Status.Active) > 0:
		l.event(corev1.EventTypeNormal, "JobAlreadyActive", "Not starting job because prior execution is running and concurrency policy is Forbid")
		return false
	}
	return true
}

// jobName is the same for the same time, so that no time gets two Jobs.
func jobName(cj *batchv1.CronJob, at time.Time) string {
	return fmt.Sprintf("%s-%d", cj.Name, at.Unix()/60)
}

func (l *cronLook) job(at time.Time) *batchv1.Job {
	zone, err := time.LoadLocation(ptr.Deref(l.cj.Spec.TimeZone, ""))
	if err != nil {
		zone = time.UTC // it was looked up before
	}
	t := l.cj.Spec.JobTemplate.DeepCopy()
	return &batchv1.Job{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: l.cj.Namespace, Name: jobName(l.cj, at), Labels: t.Labels,
			Annotations:     set(t.Annotations, batchv1.CronJobScheduledTimestampAnnotation, at.In(zone).Format(time.RFC3339)),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(l.cj, kinds.ForObject(l.cj).GroupVersionKind())},
		},
		Spec: t.Spec,
	}
}

// start creates the Job of a time, in place of those that still run if the
// policy says so.
func (l *cronLook) start(at time.Time) plan.Plan {
	if l.cj.Spec.ConcurrencyPolicy == batchv1.ReplaceConcurrent {
		for _, r := range slices.Clone(l.cj.Status.Active) {
			l.remove(r.Name, r.UID)
		}
	}
	job := l.job(at)
	create := plan.Create{Object: job, MayExist: true, Say: plan.Say{About: l.Self, Done: plan.Note{Reason: "SuccessfulCreate", Format: "Created job %s"}}}
	return plan.Plan{Do: append(l.do, create), Then: func(out plan.Outcome) plan.Plan {
		l.do = nil
		switch made := out.Results[len(out.Results)-1]; {
		case made.Existed:
			get := plan.Get{Kind: kinds.ForObject(job), Namespace: job.Namespace, Name: job.Name}
			return plan.Plan{Do: []plan.Action{get}, Then: func(out plan.Outcome) plan.Plan { return l.existed(at, out) }}
		case out.Err != nil:
			l.event(corev1.EventTypeWarning, "FailedCreate", "Error creating job: %v", plan.Cause(out.Err))
		case made.Object != nil:
			l.started(at, made.Object.(*batchv1.Job))
		}
		return l.finish()
	}}
}

// existed takes up a Job of the time that is there already: we may have ended
// between its creation and the status.
func (l *cronLook) existed(at time.Time, out plan.Outcome) plan.Plan {
	if out.Err == nil && out.Results[0].Object != nil {
		if j := out.Results[0].Object.(*batchv1.Job); metav1.IsControlledBy(j, l.cj) && !l.lists(j.UID) {
			l.started(at, j)
		}
	}
	return l.finish()
}

func (l *cronLook) started(at time.Time, j *batchv1.Job) {
	l.cj.Status.Active = append(l.cj.Status.Active, corev1.ObjectReference{
		Kind: "Job", APIVersion: batchv1.SchemeGroupVersion.String(),
		Namespace: j.Namespace, Name: j.Name, UID: j.UID, ResourceVersion: j.ResourceVersion,
	})
	l.cj.Status.LastScheduleTime = &metav1.Time{Time: at}
	if s, err := parseSchedule(l.cj); err == nil {
		l.after = untilNext(l.cj, s, l.now)
	}
}

func (l *cronLook) remove(name string, uid types.UID) {
	l.do = append(l.do, plan.Delete{
		Kind: kinds.For[*batchv1.Job](), Namespace: l.cj.Namespace, Name: name, UID: uid,
		Options: metav1.DeleteOptions{PropagationPolicy: ptr.To(metav1.DeletePropagationBackground)},
		Say: plan.Say{
			About: l.Self, Done: plan.Note{Reason: "SuccessfulDelete", Format: "Deleted job %s"},
			Failed: plan.Note{Reason: "FailedDelete", Format: "Deleted job: %v"},
		},
	})
	l.forget(uid)
}

// finish deletes old Jobs and writes the status.
func (l *cronLook) finish() plan.Plan {
	l.limit(l.cj.Spec.SuccessfulJobsHistoryLimit, batchv1.JobComplete)
	l.limit(l.cj.Spec.FailedJobsHistoryLimit, batchv1.JobFailed)
	p := plan.Plan{Do: l.do}
	if !apiequality.Semantic.DeepEqual(l.cj.Status, l.Self.Status) {
		p.Add(plan.UpdateStatus(l.cj))
	}
	p.Again(l.after)
	return p
}

func (l *cronLook) limit(most *int32, how batchv1.JobConditionType) {
	if most == nil {
		return
	}
	var ended []*batchv1.Job
	for _, j := range l.Owned {
		if isTrue(condition(j, how)) && j.DeletionTimestamp == nil {
			ended = append(ended, j)
		}
	}
	slices.SortFunc(ended, func(a, b *batchv1.Job) int {
		x, y := a.Status.StartTime, b.Status.StartTime
		if x == nil || y == nil {
			return cmp.Or(cmp.Compare(ptr.Deref(y, metav1.Time{}).Unix(), ptr.Deref(x, metav1.Time{}).Unix()), cmp.Compare(a.Name, b.Name))
		}
		return cmp.Or(x.Compare(y.Time), cmp.Compare(a.Name, b.Name))
	})
	for _, j := range ended[:max(0, len(ended)-int(*most))] {
		l.remove(j.Name, j.UID)
	}
}
