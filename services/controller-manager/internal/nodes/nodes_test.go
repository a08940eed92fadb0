package nodes

import (
	"context"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/pods"
	"coracle.local/services/controller-manager/internal/workbench"
)

var defaults = LifecycleConfig{
	MonitorGracePeriod: 40 * time.Second, StartupGracePeriod: time.Minute,
	EvictionRate: 0.1, SecondaryEvictionRate: 0.01, LargeClusterSize: 50, UnhealthyZoneThreshold: 0.55,
}

func node(name string) *corev1.Node {
	t := metav1.NewTime(workbench.Epoch)
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, CreationTimestamp: t, Labels: map[string]string{corev1.LabelOSStable: "linux"}},
		Status:     corev1.NodeStatus{Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: t, LastTransitionTime: t}}},
	}
}

func podOn(name, node string, tolerations ...corev1.Toleration) *corev1.Pod {
	t := metav1.NewTime(workbench.Epoch)
	return &corev1.Pod{
		ObjectMeta: workbench.Meta(name), Spec: corev1.PodSpec{NodeName: node, Tolerations: tolerations},
		Status: corev1.PodStatus{Phase: corev1.PodRunning, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue, LastTransitionTime: t}}},
	}
}

func tolerate(key string, seconds int64) corev1.Toleration {
	return corev1.Toleration{Key: key, Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute, TolerationSeconds: &seconds}
}

// usual is what admission gives to pods.
func usual() []corev1.Toleration {
	return []corev1.Toleration{tolerate(corev1.TaintNodeNotReady, 300), tolerate(corev1.TaintNodeUnreachable, 300)}
}

func renew(b *workbench.Bench, names ...string) {
	for _, name := range names {
		l := &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: name}}
		l.Spec.RenewTime = &metav1.MicroTime{Time: b.Clock.Now()}
		b.API.Seed(l)
	}
}

func manager(b *workbench.Bench) []loop.Loop {
	d := b.Deps()
	out := append(Lifecycle(d, defaults), TaintEviction(d))
	return append(out, PodGC(d, 3)...)
}

func bench(t *testing.T, objects ...kinds.Object) *workbench.Bench {
	b := workbench.New(t, objects...)
	return b.Add(manager(b)...)
}

// pass lets time go by while some nodes keep renewing their leases.
func pass(b *workbench.Bench, d time.Duration, alive ...string) {
	for ; d > 0; d -= 10 * time.Second {
		renew(b, alive...)
		b.Advance(min(d, 10*time.Second))
	}
}

func taints(b *workbench.Bench, name string) string {
	var out []string
	for _, t := range workbench.Get[*corev1.Node](b, "", name).Spec.Taints {
		out = append(out, strings.TrimPrefix(t.Key, "node.kubernetes.io/")+":"+string(t.Effect))
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

func alive(b *workbench.Bench) string {
	var out []string
	for _, p := range workbench.All[*corev1.Pod](b, "default") {
		if p.DeletionTimestamp == nil {
			out = append(out, p.Name)
		}
	}
	return strings.Join(out, " ")
}

func TestADeadNodeLosesItsPods(t *testing.T) {
	b := bench(t, node("a"), node("b"), podOn("p", "a", usual()...), podOn("q", "b", usual()...),
		podOn("forever", "a", corev1.Toleration{Operator: corev1.TolerationOpExists}))
	pass(b, time.Minute, "a", "b")
	if got := taints(b, "a"); got != "" {
		t.Fatalf("taints of a live node: %s", got)
	}
	pass(b, 30*time.Second, "b")
	if s := readyStatus(workbench.Get[*corev1.Node](b, "", "a")); s != corev1.ConditionTrue {
		t.Fatalf("ready is %s within the grace period", s)
	}
	pass(b, 20*time.Second, "b")
	n := workbench.Get[*corev1.Node](b, "", "a")
	c := condition(n, corev1.NodeReady)
	if c.Status != corev1.ConditionUnknown || c.Reason != "NodeStatusUnknown" || c.Message != "Kubelet stopped posting node status." {
		t.Fatalf("condition %+v", c)
	}
	if got := taints(b, "a"); got != "unreachable:NoExecute unreachable:NoSchedule" {
		t.Fatalf("taints %s", got)
	}
	if pods.Ready(workbench.Get[*corev1.Pod](b, "default", "p")) || !pods.Ready(workbench.Get[*corev1.Pod](b, "default", "q")) {
		t.Fatal("just the pods of the dead node are not ready")
	}
	pass(b, 4*time.Minute, "b")
	if got := alive(b); got != "forever p q" {
		t.Fatalf("pods %s before the tolerations ran out", got)
	}
	pass(b, 2*time.Minute, "b")
	if got := alive(b); got != "forever q" {
		t.Fatalf("pods %s", got)
	}
	p := workbench.Get[*corev1.Pod](b, "default", "p")
	if c := pods.Condition(p, corev1.DisruptionTarget); c == nil || c.Reason != "DeletionByTaintManager" {
		t.Fatalf("conditions %+v", p.Status.Conditions)
	}
	if f := b.Failing(); len(f) > 0 {
		t.Fatalf("failing: %v", f)
	}
}

func TestANodeThatComesBackKeepsItsPods(t *testing.T) {
	b := bench(t, node("a"), node("b"), podOn("p", "a", usual()...))
	pass(b, 2*time.Minute, "b")
	if got := taints(b, "a"); got != "unreachable:NoExecute unreachable:NoSchedule" {
		t.Fatalf("taints %s", got)
	}
	workbench.Change(b, "", "a", func(n *corev1.Node) {
		now := metav1.NewTime(b.Clock.Now())
		*condition(n, corev1.NodeReady) = corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, LastHeartbeatTime: now, LastTransitionTime: now}
	})
	pass(b, 10*time.Minute, "a", "b")
	if got := taints(b, "a"); got != "" {
		t.Fatalf("taints %s", got)
	}
	if got := alive(b); got != "p" {
		t.Fatalf("pods %q", got)
	}
}

// The manager dies between the taint and the end of the toleration: the next
// one must neither forget the pod nor give it another five minutes.
func TestTimersSurviveARestart(t *testing.T) {
	b := bench(t, node("a"), node("b"), podOn("p", "a", usual()...))
	pass(b, 2*time.Minute, "b")
	added := workbench.Get[*corev1.Node](b, "", "a").Spec.Taints
	at := slices.IndexFunc(added, func(t corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute })
	due := added[at].TimeAdded.Add(300 * time.Second)

	again := workbench.New(t)
	again.Clock.SetTime(b.Clock.Now().Add(time.Minute)) // nobody was there for a minute
	for _, k := range []*kinds.Kind{kinds.For[*corev1.Node](), kinds.For[*corev1.Pod](), kinds.For[*coordinationv1.Lease]()} {
		objects, err := b.API.List(context.Background(), k, "")
		if err != nil {
			t.Fatal(err)
		}
		again.API.Seed(objects...)
	}
	again.Add(manager(again)...)
	pass(again, due.Sub(again.Clock.Now())-time.Second, "b")
	if got := alive(again); got != "p" {
		t.Fatalf("pods %q before the toleration ran out", got)
	}
	pass(again, 2*time.Second, "b")
	if got := alive(again); got != "" {
		t.Fatalf("pods %q", got)
	}
}

func TestNobodyIsEvictedWhenAllNodesAreSilent(t *testing.T) {
	b := bench(t, node("a"), node("b"), podOn("p", "a", usual()...))
	pass(b, time.Hour)
	for _, n := range []string{"a", "b"} {
		if got := taints(b, n); got != "unreachable:NoSchedule" {
			t.Fatalf("taints of %s: %s", n, got)
		}
	}
	if got := alive(b); got != "p" {
		t.Fatalf("pods %q", got)
	}
}

func TestNodesAreTaintedAtALimitedRate(t *testing.T) {
	objects := []kinds.Object{}
	var names []string
	for i := range 10 {
		objects = append(objects, node(fmt.Sprintf("n%d", i)))
		names = append(names, fmt.Sprintf("n%d", i))
	}
	b := bench(t, objects...)
	pass(b, time.Minute, names...)
	count := func() int {
		n := 0
		for _, name := range names {
			if strings.Contains(taints(b, name), "NoExecute") {
				n++
			}
		}
		return n
	}
	pass(b, 31*time.Second, names[4:]...) // four of ten, last heard of 10 s before
	if n := count(); n != 1 {
		t.Fatalf("%d nodes are tainted at once", n)
	}
	pass(b, 20*time.Second, names[4:]...)
	if n := count(); n != 3 {
		t.Fatalf("%d nodes are tainted after 20 s", n)
	}
	// Then eight of ten: the sixth to fail makes the zone unhealthy.
	pass(b, time.Minute, names[8:]...)
	if n := count(); n > 5 {
		t.Fatalf("%d nodes are tainted in a small zone that is mostly down", n)
	}
}

func TestConditionsMakeTaints(t *testing.T) {
	n := node("a")
	n.Spec.Unschedulable = true
	n.Spec.Taints = []corev1.Taint{{Key: "own", Effect: corev1.TaintEffectNoSchedule}, {Key: corev1.TaintNodeDiskPressure, Effect: corev1.TaintEffectNoSchedule}}
	n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeMemoryPressure, Status: corev1.ConditionTrue})
	b := bench(t, n)
	b.Settle()
	if got := taints(b, "a"); got != "memory-pressure:NoSchedule own:NoSchedule unschedulable:NoSchedule" {
		t.Fatalf("taints %s", got)
	}
	if l := workbench.Get[*corev1.Node](b, "", "a").Labels; l["beta.kubernetes.io/os"] != "linux" {
		t.Fatalf("labels %v", l)
	}
	if e := b.API.Events(); e[0].Message != "Node a event: Registered Node a in Controller" {
		t.Fatalf("events %v", e)
	}
}

func TestAStaleLeaseCacheKillsNobody(t *testing.T) {
	b := bench(t, node("a"))
	renew(b, "a")
	b.Settle()
	b.API.Hold(kinds.For[*coordinationv1.Lease](), true)
	pass(b, 3*time.Minute, "a")
	if s := readyStatus(workbench.Get[*corev1.Node](b, "", "a")); s != corev1.ConditionTrue {
		t.Fatalf("ready is %s, though the lease is renewed", s)
	}
}

func TestANodeThatNeverReports(t *testing.T) {
	n := node("a")
	n.Status.Conditions = nil
	b := bench(t, n, node("b"))
	pass(b, 50*time.Second, "b")
	if c := condition(workbench.Get[*corev1.Node](b, "", "a"), corev1.NodeReady); c != nil {
		t.Fatalf("condition %+v within the startup period", c)
	}
	pass(b, 20*time.Second, "b")
	if c := condition(workbench.Get[*corev1.Node](b, "", "a"), corev1.NodeReady); c == nil || c.Reason != "NodeStatusNeverUpdated" {
		t.Fatalf("condition %+v", c)
	}
}

func TestTaintsThatPeopleSet(t *testing.T) {
	b := bench(t, node("a"), podOn("none", "a"), podOn("minute", "a", tolerate("maintenance", 60)))
	pass(b, 10*time.Second, "a")
	workbench.Change(b, "", "a", func(n *corev1.Node) {
		n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: "maintenance", Effect: corev1.TaintEffectNoExecute})
	})
	pass(b, 30*time.Second, "a")
	if got := alive(b); got != "minute" {
		t.Fatalf("pods %q", got)
	}
	pass(b, 40*time.Second, "a")
	if got := alive(b); got != "" {
		t.Fatalf("pods %q", got)
	}
}

func TestPodsWithoutANodeAreCollected(t *testing.T) {
	now := metav1.NewTime(workbench.Epoch)
	unscheduled := podOn("unscheduled", "")
	unscheduled.DeletionTimestamp, unscheduled.DeletionGracePeriodSeconds = &now, ptr.To[int64](30)
	ending := podOn("ending", "broken")
	ending.DeletionTimestamp, ending.DeletionGracePeriodSeconds = &now, ptr.To[int64](30)
	broken := node("broken")
	broken.Status.Conditions[0].Status = corev1.ConditionFalse
	broken.Spec.Taints = []corev1.Taint{{Key: corev1.TaintNodeOutOfService, Effect: corev1.TaintEffectNoSchedule}}
	b := bench(t, node("a"), broken, podOn("p", "a"), podOn("orphan", "gone"), unscheduled, ending)
	pass(b, 30*time.Second, "a", "broken")
	if got := names(b); got != "orphan p" {
		t.Fatalf("pods %q", got)
	}
	pass(b, 20*time.Second, "a", "broken")
	if got := names(b); got != "p" {
		t.Fatalf("pods %q", got)
	}
	workbench.Delete[*corev1.Node](b, "", "a")
	pass(b, time.Minute)
	if got := names(b); got != "" {
		t.Fatalf("pods %q", got)
	}
}

func names(b *workbench.Bench) string {
	var out []string
	for _, p := range workbench.All[*corev1.Pod](b, "default") {
		out = append(out, p.Name)
	}
	return strings.Join(out, " ")
}

func TestTooManyFinishedPods(t *testing.T) {
	objects := []kinds.Object{node("a"), podOn("runs", "a")}
	for i := range 6 {
		p := podOn(fmt.Sprintf("p%d", i), "a")
		p.CreationTimestamp = metav1.NewTime(workbench.Epoch.Add(time.Duration(i) * time.Second))
		p.Status.Phase = corev1.PodSucceeded
		if i == 5 {
			p.Status.Phase, p.Status.Reason = corev1.PodFailed, "Evicted"
		}
		objects = append(objects, p)
	}
	b := bench(t, objects...)
	pass(b, time.Minute, "a")
	if got := names(b); got != "p2 p3 p4 runs" {
		t.Fatalf("pods %q", got)
	}
}

func TestIPAM(t *testing.T) {
	range4 := Range{Cluster: netip.MustParsePrefix("10.244.0.0/22"), Mask: 24, Service: netip.MustParsePrefix("10.244.0.0/24")}
	range6 := Range{Cluster: netip.MustParsePrefix("fd00::/56"), Mask: 64}
	b := workbench.New(t, node("a"), node("b"))
	b.Add(IPAM(b.Deps(), []Range{range4, range6}))
	b.Settle()
	cidrs := func(name string) string {
		return strings.Join(workbench.Get[*corev1.Node](b, "", name).Spec.PodCIDRs, ",")
	}
	if a, c := cidrs("a"), cidrs("b"); a != "10.244.1.0/24,fd00::/64" || c != "10.244.2.0/24,fd00:0:0:1::/64" {
		t.Fatalf("a has %s, b has %s", a, c)
	}
	if n := workbench.Get[*corev1.Node](b, "", "a"); n.Spec.PodCIDR != "10.244.1.0/24" {
		t.Fatalf("podCIDR %s", n.Spec.PodCIDR)
	}
	workbench.Delete[*corev1.Node](b, "", "a")
	b.API.Seed(node("c"))
	b.Settle()
	if got := cidrs("c"); got != "10.244.3.0/24,fd00:0:0:2::/64" {
		t.Fatalf("c has %s", got)
	}
	b.API.Seed(node("d"))
	b.Settle()
	if got := cidrs("d"); got != "10.244.1.0/24,fd00:0:0:3::/64" {
		t.Fatalf("d has %s, want what a had", got)
	}
	b.API.Seed(node("e"))
	b.Settle()
	if got := cidrs("e"); got != "" || len(b.Failing()) == 0 {
		t.Fatalf("e has %s though nothing is left", got)
	}
}
