package quotas

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/libs/quota"
	"coracle.local/services/controller-manager/internal/workbench"
)

func quotaOf(hard map[corev1.ResourceName]string) *corev1.ResourceQuota {
	q := &corev1.ResourceQuota{ObjectMeta: workbench.Meta("q"), Spec: corev1.ResourceQuotaSpec{Hard: corev1.ResourceList{}}}
	for name, x := range hard {
		q.Spec.Hard[name] = resource.MustParse(x)
	}
	return q
}

func pod(name, cpu string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: workbench.Meta(name), Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c"}}}}
	if cpu != "" {
		p.Spec.Containers[0].Resources.Requests = corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu)}
	}
	return p
}

func bench(t *testing.T, objects ...kinds.Object) *workbench.Bench {
	b := workbench.New(t, objects...)
	b.Add(New(b.Deps(), 0))
	b.Settle()
	return b
}

func used(b *workbench.Bench) string {
	return quota.Format(workbench.Get[*corev1.ResourceQuota](b, "default", "q").Status.Used)
}

func expect(t *testing.T, b *workbench.Bench, want string) {
	t.Helper()
	b.Settle()
	if got := used(b); got != want {
		t.Errorf("used %s, want %s", got, want)
	}
}

func TestCountsWhatIsThere(t *testing.T) {
	elsewhere := pod("other", "4")
	elsewhere.Namespace = "elsewhere"
	ended := pod("ended", "1")
	ended.Status.Phase = corev1.PodSucceeded
	b := bench(t, pod("a", "100m"), pod("b", "200m"), ended, elsewhere,
		&corev1.ConfigMap{ObjectMeta: workbench.Meta("c")},
		quotaOf(map[corev1.ResourceName]string{
			"pods": "10", "count/pods": "10", "requests.cpu": "1", "configmaps": "5", "count/deployments.apps": "2",
			"services.nodeports": "1", "count/crontabs.stable.example.com": "1",
		}))
	expect(t, b, "configmaps=1,count/deployments.apps=0,count/pods=3,pods=2,requests.cpu=300m,services.nodeports=0")
	q := workbench.Get[*corev1.ResourceQuota](b, "default", "q")
	if !quota.Equal(q.Status.Hard, q.Spec.Hard) {
		t.Errorf("hard %v", q.Status.Hard)
	}
}

func TestScopes(t *testing.T) {
	q := quotaOf(map[corev1.ResourceName]string{"pods": "10"})
	q.Spec.Scopes = []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeBestEffort}
	urgent := pod("urgent", "")
	urgent.Spec.PriorityClassName = "high"
	q.Spec.ScopeSelector = &corev1.ScopeSelector{MatchExpressions: []quota.Requirement{{
		ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpIn, Values: []string{"high"},
	}}}
	expect(t, bench(t, q, pod("a", "100m"), pod("b", ""), urgent), "pods=1")
}

func TestGivesBackWhatGoes(t *testing.T) {
	b := bench(t, quotaOf(map[corev1.ResourceName]string{"pods": "10", "secrets": "10"}),
		pod("a", ""), pod("b", ""), &corev1.Secret{ObjectMeta: workbench.Meta("s")})
	expect(t, b, "pods=2,secrets=1")
	workbench.Change(b, "default", "a", func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed })
	expect(t, b, "pods=1,secrets=1")
	workbench.Delete[*corev1.Pod](b, "default", "b")
	workbench.Delete[*corev1.Secret](b, "default", "s")
	expect(t, b, "pods=0,secrets=0")
	workbench.Change(b, "default", "q", func(q *corev1.ResourceQuota) {
		q.Spec.Hard = corev1.ResourceList{corev1.ResourceConfigMaps: resource.MustParse("1")}
	})
	expect(t, b, "configmaps=0")
}

// The API server has charged for a pod that is not stored yet: a recount that
// does not see it must not give its place to another.
func TestDoesNotLowerWhatWasJustCharged(t *testing.T) {
	b := bench(t, quotaOf(map[corev1.ResourceName]string{"pods": "10"}), pod("a", ""), pod("b", ""))
	charge := func(n string) {
		workbench.Change(b, "default", "q", func(q *corev1.ResourceQuota) { q.Status.Used["pods"] = resource.MustParse(n) })
	}
	charge("3")
	workbench.Delete[*corev1.Pod](b, "default", "a")
	expect(t, b, "pods=3")
	b.API.Seed(pod("c", ""))
	b.Advance(settling)
	expect(t, b, "pods=2")

	// Where there is always something new, it waits no longer than it must.
	workbench.Delete[*corev1.Pod](b, "default", "c")
	for range 30 {
		charge("9")
		b.Advance(settling / 2)
		if used(b) == "pods=1" {
			return
		}
	}
	t.Errorf("used %s", used(b))
}

func TestRecountsNowAndThen(t *testing.T) {
	b := bench(t, quotaOf(map[corev1.ResourceName]string{"pods": "10"}))
	workbench.Change(b, "default", "q", func(q *corev1.ResourceQuota) { q.Status.Used["pods"] = resource.MustParse("5") })
	b.Advance(Resync - time.Second)
	expect(t, b, "pods=5")
	b.Advance(2 * time.Second)
	expect(t, b, "pods=0")
}

func TestCountsCustomResources(t *testing.T) {
	b := bench(t, quotaOf(map[corev1.ResourceName]string{"pods": "10", "count/crontabs.example.com": "5"}))
	expect(t, b, "pods=0")
	k := workbench.Custom("CronTab", "crontabs", true)
	tab := k.New().(*metav1.PartialObjectMetadata)
	tab.ObjectMeta = workbench.Meta("tab")
	b.API.Extend(k)
	expect(t, b, "count/crontabs.example.com=0,pods=0")
	b.API.Seed(tab)
	b.Advance(Resync)
	expect(t, b, "count/crontabs.example.com=1,pods=0")
	b.Advance(settling)
	if err := b.API.Delete(t.Context(), k, "default", "tab", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	expect(t, b, "count/crontabs.example.com=0,pods=0")
}
