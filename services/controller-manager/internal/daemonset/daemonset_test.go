package daemonset

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/pods"
	"coracle.local/services/controller-manager/internal/workbench"
)

func set() *appsv1.DaemonSet {
	return &appsv1.DaemonSet{ObjectMeta: workbench.Meta("agent"), Spec: appsv1.DaemonSetSpec{
		Selector: workbench.Select("agent"), Template: workbench.Template("agent"), RevisionHistoryLimit: ptr.To[int32](10),
		UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: appsv1.RollingUpdateDaemonSetStrategyType, RollingUpdate: limits("0", "1")},
	}}
}

func limits(surge, unavailable string) *appsv1.RollingUpdateDaemonSet {
	s, u := intstr.Parse(surge), intstr.Parse(unavailable)
	return &appsv1.RollingUpdateDaemonSet{MaxSurge: &s, MaxUnavailable: &u}
}

func node(name string, taints ...corev1.Taint) *corev1.Node {
	return &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"name": name}}, Spec: corev1.NodeSpec{Taints: taints}}
}

// place does the scheduler's and the kubelets' work.
func place(b *workbench.Bench, run func(*corev1.Pod) bool) *workbench.Bench {
	b.Also(func() bool {
		for _, p := range workbench.All[*corev1.Pod](b, "") {
			if p.Spec.NodeName == "" && target(p) != "" {
				p.Spec.NodeName = target(p)
				b.API.Seed(p)
				return true
			}
		}
		return false
	})
	return b.Kubelet(func(p *corev1.Pod) bool { return p.Spec.NodeName != "" && (run == nil || run(p)) })
}

func bench(t *testing.T, objects ...kinds.Object) *workbench.Bench {
	b := workbench.New(t, objects...)
	return b.Add(New(b.Deps()))
}

func show(b *workbench.Bench) string {
	var out []string
	for _, p := range workbench.All[*corev1.Pod](b, "default") {
		if p.DeletionTimestamp == nil {
			out = append(out, target(p)+"="+p.Spec.Containers[0].Image)
		}
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func get(b *workbench.Bench) *appsv1.DaemonSet {
	return workbench.Get[*appsv1.DaemonSet](b, "default", "agent")
}

func setImage(b *workbench.Bench, image string) {
	workbench.Change(b, "default", "agent", func(d *appsv1.DaemonSet) { d.Spec.Template.Spec.Containers[0].Image = image })
}

func TestOnePodOnEachNode(t *testing.T) {
	b := place(bench(t, set(), node("a"), node("b"),
		node("tainted", corev1.Taint{Key: "gpu", Effect: corev1.TaintEffectNoSchedule}),
		node("cordoned", corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}),
		node("silent", corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute})), nil)
	b.Settle()
	if got := show(b); got != "a=agent b=agent cordoned=agent silent=agent" {
		t.Fatalf("pods %q", got)
	}
	s := get(b).Status
	if s.DesiredNumberScheduled != 4 || s.CurrentNumberScheduled != 4 || s.NumberReady != 4 || s.NumberAvailable != 4 || s.UpdatedNumberScheduled != 4 || s.NumberUnavailable != 0 || s.ObservedGeneration != 1 {
		t.Fatalf("status %+v", s)
	}
	b.API.Seed(node("c"))
	b.Settle()
	if got := show(b); got != "a=agent b=agent c=agent cordoned=agent silent=agent" {
		t.Fatalf("pods %q", got)
	}
	workbench.Change(b, "", "b", func(n *corev1.Node) {
		n.Spec.Taints = []corev1.Taint{{Key: "gone", Effect: corev1.TaintEffectNoExecute}}
	})
	b.Settle()
	if got := show(b); got != "a=agent c=agent cordoned=agent silent=agent" {
		t.Fatalf("pods %q", got)
	}
	if r := workbench.All[*appsv1.ControllerRevision](b, "default"); len(r) != 1 || r[0].Labels[appsv1.DefaultDaemonSetUniqueLabelKey] == "" {
		t.Fatalf("revisions %v", r)
	}
	if f := b.Failing(); len(f) > 0 {
		t.Fatalf("failing: %v", f)
	}
}

func TestNodeSelector(t *testing.T) {
	d := set()
	d.Spec.Template.Spec.NodeSelector = map[string]string{"disk": "ssd"}
	b := place(bench(t, d, node("a"), node("b")), nil)
	b.Settle()
	if got := show(b); got != "" {
		t.Fatalf("pods %q", got)
	}
	workbench.Change(b, "", "a", func(n *corev1.Node) { n.Labels["disk"] = "ssd" })
	b.Settle()
	if got := show(b); got != "a=agent" {
		t.Fatalf("pods %q", got)
	}
	workbench.Change(b, "", "a", func(n *corev1.Node) { delete(n.Labels, "disk") })
	b.Settle()
	if got := show(b); got != "" {
		t.Fatalf("pods %q", got)
	}
}

func TestRollingUpdateKeepsItsLimits(t *testing.T) {
	for _, c := range []struct {
		surge, unavailable string
		most, least        int
	}{{"0", "1", 4, 3}, {"0", "50%", 4, 2}, {"1", "0", 5, 4}, {"50%", "0", 6, 4}} {
		t.Run(c.surge+" and "+c.unavailable, func(t *testing.T) {
			d := set()
			d.Spec.UpdateStrategy.RollingUpdate = limits(c.surge, c.unavailable)
			b := place(bench(t, d, node("a"), node("b"), node("c"), node("d")), nil)
			b.Settle()
			b.Also(func() bool {
				all := workbench.All[*corev1.Pod](b, "default")
				live, ready := int(pods.Count(all, pods.Active)), 0
				for _, p := range all {
					if pods.Active(p) && pods.Ready(p) {
						ready++
					}
				}
				if live > c.most || ready < c.least {
					t.Fatalf("%d pods of which %d are ready", live, ready)
				}
				return false
			})
			setImage(b, "agent:2")
			b.Settle()
			if got := show(b); got != "a=agent:2 b=agent:2 c=agent:2 d=agent:2" {
				t.Fatalf("pods %q", got)
			}
			if s := get(b).Status; s.UpdatedNumberScheduled != 4 {
				t.Fatalf("status %+v", s)
			}
		})
	}
}

func TestOnDelete(t *testing.T) {
	d := set()
	d.Spec.UpdateStrategy = appsv1.DaemonSetUpdateStrategy{Type: appsv1.OnDeleteDaemonSetStrategyType}
	b := place(bench(t, d, node("a"), node("b")), nil)
	b.Settle()
	setImage(b, "agent:2")
	b.Settle()
	if got := show(b); got != "a=agent b=agent" {
		t.Fatalf("pods %q", got)
	}
	for _, p := range workbench.All[*corev1.Pod](b, "default") {
		if p.Spec.NodeName == "a" {
			workbench.Delete[*corev1.Pod](b, "default", p.Name)
		}
	}
	b.Settle()
	if got := show(b); got != "a=agent:2 b=agent" {
		t.Fatalf("pods %q", got)
	}
}

func TestFailedPodsAreReplacedWithBackoff(t *testing.T) {
	b := place(bench(t, set(), node("a")), nil)
	b.Settle()
	replaced := 0
	for range 60 {
		p := workbench.All[*corev1.Pod](b, "default")[0]
		if p.Status.Phase == corev1.PodRunning {
			b.Finish(p, corev1.PodFailed)
			replaced++
		}
		b.Advance(time.Second)
	}
	// At once, then after 1, 2, 4, 8, 16 s and so on.
	if replaced < 5 || replaced > 8 {
		t.Fatalf("%d pods failed in a minute", replaced)
	}
	if e := b.API.Events(); !slices.ContainsFunc(e, func(e workbench.Event) bool { return e.Reason == "FailedDaemonPod" }) {
		t.Fatalf("events %v", e)
	}
}

func TestPodsForNodesThatWentBeforeTheyWereScheduled(t *testing.T) {
	b := bench(t, set(), node("a"), node("b"))
	b.Settle()
	if got := show(b); got != "a=agent b=agent" {
		t.Fatalf("pods %q", got)
	}
	workbench.Delete[*corev1.Node](b, "", "a")
	b.Settle()
	if got := show(b); got != "b=agent" {
		t.Fatalf("pods %q", got)
	}
}

func TestRevisionsAreLimited(t *testing.T) {
	d := set()
	d.Spec.RevisionHistoryLimit = ptr.To[int32](1)
	b := place(bench(t, d, node("a")), nil)
	for i := range 5 {
		b.Settle()
		setImage(b, fmt.Sprintf("agent:%d", i))
	}
	b.Settle()
	if n := len(workbench.All[*appsv1.ControllerRevision](b, "default")); n != 2 {
		t.Fatalf("%d revisions", n)
	}
}
