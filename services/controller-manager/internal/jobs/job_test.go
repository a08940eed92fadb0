package jobs

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/workbench"
)

func job(parallelism, completions int32) *batchv1.Job {
	return &batchv1.Job{ObjectMeta: workbench.Meta("j"), Spec: batchv1.JobSpec{
		Parallelism: &parallelism, Completions: &completions, BackoffLimit: ptr.To[int32](6),
		Selector: workbench.Select("j"), Template: workbench.Template("j"),
	}}
}

func asIndexed(j *batchv1.Job) *batchv1.Job {
	j.Spec.CompletionMode = ptr.To(batchv1.IndexedCompletion)
	return j
}

func bench(t *testing.T, objects ...kinds.Object) *workbench.Bench {
	b := workbench.New(t, objects...)
	return b.Add(New(b.Deps())...)
}

func get(b *workbench.Bench) *batchv1.Job { return workbench.Get[*batchv1.Job](b, "default", "j") }

func running(b *workbench.Bench) []*corev1.Pod {
	var out []*corev1.Pod
	for _, p := range workbench.All[*corev1.Pod](b, "default") {
		if p.Status.Phase == corev1.PodRunning && p.DeletionTimestamp == nil {
			out = append(out, p)
		}
	}
	return out
}

func conditions(j *batchv1.Job) string {
	var out []string
	for _, c := range j.Status.Conditions {
		if c.Status == corev1.ConditionTrue {
			out = append(out, fmt.Sprintf("%s:%s", c.Type, c.Reason))
		}
	}
	return strings.Join(out, " ")
}

func TestRunsToCompletion(t *testing.T) {
	b := bench(t, job(2, 5)).Kubelet(nil, "n")
	b.Advance(time.Second)
	most := 0
	for range 10 {
		live := running(b)
		most = max(most, len(live))
		if len(live) == 0 {
			break
		}
		if !tracked(live[0]) {
			t.Fatal("a running pod has no finalizer")
		}
		b.Finish(live[0], corev1.PodSucceeded)
		b.Advance(time.Second)
	}
	j := get(b)
	if j.Status.Succeeded != 5 || j.Status.Active != 0 || j.Status.CompletionTime == nil || most != 2 {
		t.Fatalf("status %+v, at most %d pods", j.Status, most)
	}
	if got := conditions(j); got != "SuccessCriteriaMet:CompletionsReached Complete:CompletionsReached" {
		t.Fatalf("conditions %s", got)
	}
	for _, p := range workbench.All[*corev1.Pod](b, "default") {
		if tracked(p) {
			t.Fatalf("pod %s still has the finalizer", p.Name)
		}
	}
	if f := b.Failing(); len(f) > 0 {
		t.Fatalf("failing: %v", f)
	}
}

// A status that cannot be written, or a finalizer that cannot be taken off,
// must neither lose a pod nor count it twice.
func TestCountsEachPodOnce(t *testing.T) {
	for _, broken := range []string{"update/status jobs", "patch pods"} {
		t.Run(broken, func(t *testing.T) {
			b := bench(t, job(4, 4)).Kubelet(nil, "n")
			b.Advance(time.Second)
			n := 0
			b.API.Fail = func(verb string, k *kinds.Kind, _, _ string) error {
				if verb+" "+k.Plural != broken {
					return nil
				}
				if n++; n%3 != 0 {
					return apierrors.NewServiceUnavailable("try again")
				}
				return nil
			}
			for _, p := range running(b) {
				b.Finish(p, corev1.PodSucceeded)
			}
			b.Advance(10 * time.Minute)
			if s := get(b).Status; s.Succeeded != 4 || !strings.Contains(conditions(get(b)), "Complete") {
				t.Fatalf("status %+v", s)
			}
		})
	}
}

func TestBackoffLimit(t *testing.T) {
	j := job(1, 1)
	j.Spec.BackoffLimit = ptr.To[int32](2)
	b := bench(t, j).Kubelet(nil, "n")
	var waits []time.Duration
	last := b.Clock.Now()
	for range 3 {
		for i := 0; len(running(b)) == 0; i++ {
			if i > 1000 {
				t.Fatal("no pod comes")
			}
			b.Advance(time.Second)
		}
		waits = append(waits, b.Clock.Since(last).Round(time.Second))
		b.Finish(running(b)[0], corev1.PodFailed)
		last = b.Clock.Now()
	}
	b.Advance(time.Hour)
	if got := conditions(get(b)); got != "FailureTarget:BackoffLimitExceeded Failed:BackoffLimitExceeded" {
		t.Fatalf("conditions %s", got)
	}
	if s := get(b).Status; s.Failed != 3 || len(running(b)) != 0 {
		t.Fatalf("status %+v", s)
	}
	if waits[1] != 10*time.Second || waits[2] != 20*time.Second {
		t.Fatalf("waits %v, want 10s and 20s", waits[1:])
	}
	if e := b.API.Events(); !slices.ContainsFunc(e, func(e workbench.Event) bool {
		return e.Reason == "BackoffLimitExceeded" && e.Message == "Job has reached the specified backoff limit" && e.Type == "Warning"
	}) {
		t.Fatalf("events %v", e)
	}
}

func TestActiveDeadline(t *testing.T) {
	j := job(2, 2)
	j.Spec.ActiveDeadlineSeconds = ptr.To[int64](60)
	b := bench(t, j).Kubelet(nil, "n")
	b.Advance(59 * time.Second)
	if got := conditions(get(b)); got != "" {
		t.Fatalf("conditions %s", got)
	}
	b.Advance(2 * time.Minute)
	if got := conditions(get(b)); got != "FailureTarget:DeadlineExceeded Failed:DeadlineExceeded" {
		t.Fatalf("conditions %s", got)
	}
	if s := get(b).Status; s.Failed != 2 || *s.Terminating != 0 {
		t.Fatalf("status %+v", s)
	}
}

func TestIndexed(t *testing.T) {
	b := bench(t, asIndexed(job(3, 4))).Kubelet(nil, "n")
	b.Advance(time.Second)
	if got := indexesOf(running(b)); !slices.Equal(sorted(got), []int{0, 1, 2}) {
		t.Fatalf("indexes %v", got)
	}
	for _, p := range running(b) {
		i := indexOf(p)
		if p.Spec.Hostname != fmt.Sprintf("j-%d", i) || !strings.HasPrefix(p.Name, fmt.Sprintf("j-%d-", i)) ||
			p.Labels[batchv1.JobCompletionIndexAnnotation] != fmt.Sprint(i) || p.Spec.Containers[0].Env[0].Name != indexEnv {
			t.Fatalf("pod %+v", p)
		}
		if i == 1 {
			b.Finish(p, corev1.PodFailed)
		} else {
			b.Finish(p, corev1.PodSucceeded)
		}
	}
	b.Advance(5 * time.Second)
	if s := get(b).Status; s.CompletedIndexes != "0,2" || s.Succeeded != 2 || s.Failed != 1 {
		t.Fatalf("status %+v", s)
	}
	b.Advance(10 * time.Second)
	for _, p := range running(b) {
		b.Finish(p, corev1.PodSucceeded)
	}
	b.Advance(5 * time.Second)
	if s := get(b).Status; s.CompletedIndexes != "0-3" || !strings.Contains(conditions(get(b)), "Complete") {
		t.Fatalf("status %+v", s)
	}
}

func sorted(x []int) []int { return slices.Sorted(slices.Values(x)) }

func TestBackoffLimitPerIndex(t *testing.T) {
	j := asIndexed(job(2, 2))
	j.Spec.BackoffLimitPerIndex, j.Spec.BackoffLimit = ptr.To[int32](1), ptr.To[int32](1<<31-1)
	b := bench(t, j).Kubelet(nil, "n")
	for range 8 {
		b.Advance(30 * time.Second)
		for _, p := range running(b) {
			if indexOf(p) == 0 {
				b.Finish(p, corev1.PodFailed)
			}
		}
	}
	for _, p := range running(b) {
		b.Finish(p, corev1.PodSucceeded)
	}
	b.Advance(time.Minute)
	s := get(b).Status
	if s.FailedIndexes == nil || *s.FailedIndexes != "0" || s.CompletedIndexes != "1" || s.Failed != 2 {
		t.Fatalf("status %+v", s)
	}
	if got := conditions(get(b)); got != "FailureTarget:FailedIndexes Failed:FailedIndexes" {
		t.Fatalf("conditions %s", got)
	}
}

func TestPodFailurePolicy(t *testing.T) {
	for _, c := range []struct {
		name   string
		action batchv1.PodFailurePolicyAction
		failed int32
		want   string
	}{
		{"fail the job", batchv1.PodFailurePolicyActionFailJob, 1, "FailureTarget:PodFailurePolicy Failed:PodFailurePolicy"},
		{"ignore", batchv1.PodFailurePolicyActionIgnore, 0, ""},
		{"count", batchv1.PodFailurePolicyActionCount, 1, "FailureTarget:BackoffLimitExceeded Failed:BackoffLimitExceeded"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := job(1, 1)
			j.Spec.BackoffLimit = ptr.To[int32](0)
			j.Spec.PodFailurePolicy = &batchv1.PodFailurePolicy{Rules: []batchv1.PodFailurePolicyRule{{
				Action:      c.action,
				OnExitCodes: &batchv1.PodFailurePolicyOnExitCodesRequirement{Operator: batchv1.PodFailurePolicyOnExitCodesOpIn, Values: []int32{1}},
			}}}
			b := bench(t, j).Kubelet(nil, "n")
			b.Advance(time.Second)
			b.Finish(running(b)[0], corev1.PodFailed)
			b.Advance(time.Minute)
			if got := conditions(get(b)); got != c.want {
				t.Fatalf("conditions %s", got)
			}
			if s := get(b).Status; s.Failed != c.failed {
				t.Fatalf("status %+v", s)
			}
		})
	}
}

func TestSuccessPolicy(t *testing.T) {
	j := asIndexed(job(3, 3))
	j.Spec.SuccessPolicy = &batchv1.SuccessPolicy{Rules: []batchv1.SuccessPolicyRule{{SucceededIndexes: ptr.To("1-2"), SucceededCount: ptr.To[int32](1)}}}
	b := bench(t, j).Kubelet(nil, "n")
	b.Advance(time.Second)
	for _, p := range running(b) {
		if indexOf(p) == 2 {
			b.Finish(p, corev1.PodSucceeded)
		}
	}
	b.Advance(time.Minute)
	if got := conditions(get(b)); got != "SuccessCriteriaMet:SuccessPolicy Complete:SuccessPolicy" {
		t.Fatalf("conditions %s", got)
	}
	if s := get(b).Status; s.CompletedIndexes != "2" || s.Failed != 0 {
		t.Fatalf("status %+v", s)
	}
}

func TestSuspends(t *testing.T) {
	b := bench(t, job(2, 2)).Kubelet(nil, "n")
	b.Advance(time.Second)
	workbench.Change(b, "default", "j", func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(true) })
	b.Advance(time.Minute)
	if n := len(workbench.All[*corev1.Pod](b, "default")); n != 0 || conditions(get(b)) != "Suspended:JobSuspended" || get(b).Status.StartTime != nil {
		t.Fatalf("%d pods, status %+v", n, get(b).Status)
	}
	if s := get(b).Status; s.Failed != 0 {
		t.Fatalf("the pods of a suspended Job are not failures: %+v", s)
	}
	workbench.Change(b, "default", "j", func(j *batchv1.Job) { j.Spec.Suspend = ptr.To(false) })
	b.Advance(time.Minute)
	if n := len(running(b)); n != 2 || conditions(get(b)) != "" || get(b).Status.StartTime == nil {
		t.Fatalf("%d pods, status %+v", n, get(b).Status)
	}
}

func TestTakesTheFinalizerOffOrphans(t *testing.T) {
	b := bench(t, job(1, 1)).Kubelet(nil, "n")
	b.Advance(time.Second)
	workbench.Delete[*batchv1.Job](b, "default", "j")
	b.Advance(time.Second)
	for _, p := range workbench.All[*corev1.Pod](b, "default") {
		if tracked(p) {
			t.Fatalf("pod %s still has the finalizer", p.Name)
		}
	}
}

func TestWorkQueueJob(t *testing.T) {
	j := job(3, 1)
	j.Spec.Completions = nil
	b := bench(t, j).Kubelet(nil, "n")
	b.Advance(time.Second)
	b.Finish(running(b)[0], corev1.PodSucceeded)
	b.Advance(time.Second)
	if n := len(running(b)); n != 2 || conditions(get(b)) != "" {
		t.Fatalf("%d pods, %s: the others may end", n, conditions(get(b)))
	}
	for _, p := range running(b) {
		b.Finish(p, corev1.PodSucceeded)
	}
	b.Advance(time.Second)
	if s := get(b).Status; s.Succeeded != 3 || !strings.Contains(conditions(get(b)), "Complete") {
		t.Fatalf("status %+v", s)
	}
}

func TestReplacesFailedPodsOnlyWhenTheyEnded(t *testing.T) {
	j := job(1, 1)
	j.Spec.PodReplacementPolicy = ptr.To(batchv1.Failed)
	b := bench(t, j).Kubelet(nil, "n")
	b.Advance(time.Second)
	p := running(b)[0]
	p.Finalizers = append(p.Finalizers, "example.com/slow")
	b.API.Seed(p)
	workbench.Delete[*corev1.Pod](b, "default", p.Name)
	b.Advance(time.Minute)
	if n := len(running(b)); n != 0 {
		t.Fatalf("%d pods run while the first is still ending", n)
	}
	p = workbench.Get[*corev1.Pod](b, "default", p.Name)
	b.Finish(p, corev1.PodFailed)
	b.Advance(time.Minute)
	if n := len(running(b)); n != 1 {
		t.Fatalf("%d pods run", n)
	}
}

func TestIntervals(t *testing.T) {
	for _, c := range []struct {
		text  string
		limit int
		want  string
		total int
	}{
		{"", 5, "", 0}, {"1,3", 5, "1,3", 2}, {"0-3", 10, "0-3", 4}, {"0,1", 10, "0,1", 2}, {"0-9", 5, "0-4", 5}, {"1,x,3-4", 9, "1,3,4", 3}, {"5-7,1", 9, "1,5-7", 4},
	} {
		x := parseIntervals(c.text, c.limit)
		if x.String() != c.want || x.total() != c.total {
			t.Errorf("%q: %s, %d", c.text, x, x.total())
		}
	}
	x := parseIntervals("1-3,7", 20)
	if got := x.with(4, 6, 0).String(); got != "0-4,6,7" {
		t.Errorf("with: %s", got)
	}
	if !x.has(2) || x.has(5) || x.has(8) || !x.has(7) {
		t.Error("has")
	}
	if got := x.free(4, 10); !slices.Equal(got, []int{0, 4, 5, 6}) {
		t.Errorf("free: %v", got)
	}
}
