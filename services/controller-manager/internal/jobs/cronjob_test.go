package jobs

import (
	"slices"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/services/controller-manager/internal/workbench"
)

func cronJob(schedule string, policy batchv1.ConcurrencyPolicy) *batchv1.CronJob {
	cj := &batchv1.CronJob{ObjectMeta: workbench.Meta("c"), Spec: batchv1.CronJobSpec{
		Schedule: schedule, ConcurrencyPolicy: policy,
		SuccessfulJobsHistoryLimit: ptr.To[int32](3), FailedJobsHistoryLimit: ptr.To[int32](1),
	}}
	cj.Spec.JobTemplate.Spec = job(1, 1).Spec
	cj.CreationTimestamp = metav1.NewTime(workbench.Epoch)
	return cj
}

func cronBench(t *testing.T, cj *batchv1.CronJob) *workbench.Bench {
	b := workbench.New(t, cj)
	d := b.Deps()
	return b.Add(CronJobs(d), TTL(d))
}

func finish(b *workbench.Bench, j *batchv1.Job, how batchv1.JobConditionType) {
	workbench.Change(b, j.Namespace, j.Name, func(j *batchv1.Job) {
		now := metav1.NewTime(b.Clock.Now())
		j.Status.Conditions = []batchv1.JobCondition{{Type: how, Status: corev1.ConditionTrue, LastTransitionTime: now}}
		j.Status.CompletionTime = &now
	})
}

func unfinished(b *workbench.Bench) []*batchv1.Job {
	return slices.DeleteFunc(workbench.All[*batchv1.Job](b, "default"), Finished)
}

func TestStartsOnSchedule(t *testing.T) {
	b := cronBench(t, cronJob("*/5 * * * *", batchv1.AllowConcurrent)) // it is 03:04:05
	b.Advance(50 * time.Second)
	if n := len(unfinished(b)); n != 0 {
		t.Fatalf("%d jobs before the time", n)
	}
	b.Advance(10 * time.Second)
	jobs := unfinished(b)
	if len(jobs) != 1 || jobs[0].Annotations[batchv1.CronJobScheduledTimestampAnnotation] != "2026-01-02T03:05:00Z" {
		t.Fatalf("jobs %v", jobs)
	}
	cj := workbench.Get[*batchv1.CronJob](b, "default", "c")
	if len(cj.Status.Active) != 1 || cj.Status.Active[0].Name != jobs[0].Name || cj.Status.LastScheduleTime == nil {
		t.Fatalf("status %+v", cj.Status)
	}
	finish(b, jobs[0], batchv1.JobComplete)
	b.Settle()
	cj = workbench.Get[*batchv1.CronJob](b, "default", "c")
	if len(cj.Status.Active) != 0 || cj.Status.LastSuccessfulTime == nil {
		t.Fatalf("status %+v", cj.Status)
	}
	for range 6 {
		b.Advance(5 * time.Minute)
		for _, j := range unfinished(b) {
			finish(b, j, batchv1.JobComplete)
		}
		b.Settle()
	}
	if n := len(workbench.All[*batchv1.Job](b, "default")); n != 3 {
		t.Fatalf("%d jobs are kept, want 3", n)
	}
}

func TestConcurrencyPolicies(t *testing.T) {
	for _, c := range []struct {
		policy batchv1.ConcurrencyPolicy
		jobs   int
		first  bool
	}{{batchv1.AllowConcurrent, 3, true}, {batchv1.ForbidConcurrent, 1, true}, {batchv1.ReplaceConcurrent, 1, false}} {
		t.Run(string(c.policy), func(t *testing.T) {
			b := cronBench(t, cronJob("* * * * *", c.policy))
			b.Advance(time.Minute)
			first := unfinished(b)[0].Name
			b.Advance(2 * time.Minute)
			_, there := workbench.Find[*batchv1.Job](b, "default", first)
			if n := len(unfinished(b)); n != c.jobs || there != c.first {
				t.Fatalf("%d jobs, the first is there: %t", n, there)
			}
		})
	}
}

func TestSuspendedZonesAndNonsense(t *testing.T) {
	cj := cronJob("* * * * *", "")
	cj.Spec.Suspend = ptr.To(true)
	b := cronBench(t, cj)
	b.Advance(time.Hour)
	if n := len(unfinished(b)); n != 0 {
		t.Fatalf("%d jobs of a suspended CronJob", n)
	}
	zoned := cronJob("0 5 * * *", "") // 04:00 UTC is 05:00 in Berlin
	zoned.Spec.TimeZone = ptr.To("Europe/Berlin")
	b = cronBench(t, zoned)
	b.Advance(time.Hour)
	if jobs := unfinished(b); len(jobs) != 1 || jobs[0].Annotations[batchv1.CronJobScheduledTimestampAnnotation] != "2026-01-02T05:00:00+01:00" {
		t.Fatalf("jobs %v", jobs)
	}
	b = cronBench(t, cronJob("nonsense", ""))
	b.Settle()
	if e := b.API.Events(); len(e) != 1 || e[0].Reason != "UnparseableSchedule" {
		t.Fatalf("events %v", e)
	}
}

func TestAfterALongAbsenceOnlyTheLastIsStarted(t *testing.T) {
	cj := cronJob("*/1 * * * *", "")
	cj.CreationTimestamp = metav1.NewTime(workbench.Epoch.Add(-1000 * time.Hour))
	b := cronBench(t, cj)
	b.Settle()
	if n := len(unfinished(b)); n != 1 {
		t.Fatalf("%d jobs", n)
	}
	if e := b.API.Events(); e[0].Reason != "TooManyMissedTimes" {
		t.Fatalf("events %v", e)
	}
	deadline := cronJob("0 0 1 1 *", "")
	deadline.CreationTimestamp = metav1.NewTime(workbench.Epoch.Add(-1000 * time.Hour))
	deadline.Spec.StartingDeadlineSeconds = ptr.To[int64](60)
	b = cronBench(t, deadline)
	b.Settle()
	if n := len(unfinished(b)); n != 0 {
		t.Fatalf("%d jobs after the deadline", n)
	}
}

func TestTakesUpAJobThatItForgot(t *testing.T) {
	b := cronBench(t, cronJob("*/5 * * * *", ""))
	b.Advance(time.Minute)
	name := unfinished(b)[0].Name
	workbench.Change(b, "default", "c", func(cj *batchv1.CronJob) { cj.Status = batchv1.CronJobStatus{} }) // as if it had ended before
	b.Settle()
	cj := workbench.Get[*batchv1.CronJob](b, "default", "c")
	if len(unfinished(b)) != 1 || len(cj.Status.Active) != 1 || cj.Status.Active[0].Name != name {
		t.Fatalf("status %+v", cj.Status)
	}
	workbench.Delete[*batchv1.Job](b, "default", name)
	b.Settle()
	if cj := workbench.Get[*batchv1.CronJob](b, "default", "c"); len(cj.Status.Active) != 0 {
		t.Fatalf("status %+v", cj.Status)
	}
}

func TestTTLAfterFinished(t *testing.T) {
	j := job(1, 1)
	j.Spec.TTLSecondsAfterFinished = ptr.To[int32](60)
	b := workbench.New(t, j)
	b.Add(TTL(b.Deps()))
	finish(b, j, batchv1.JobFailed)
	b.Advance(59 * time.Second)
	get(b)
	workbench.Change(b, "default", "j", func(j *batchv1.Job) { j.Spec.TTLSecondsAfterFinished = ptr.To[int32](120) })
	b.Advance(30 * time.Second)
	get(b)
	b.Advance(time.Minute)
	if j, ok := workbench.Find[*batchv1.Job](b, "default", "j"); ok && j.DeletionTimestamp == nil {
		t.Fatal("the job is still there")
	}
}
