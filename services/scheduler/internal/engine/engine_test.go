package engine_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/scheduler/internal/engine"
	"coracle.local/services/scheduler/internal/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func expectEvents(t *testing.T, h *harness.Harness, want ...string) {
	t.Helper()
	if got := h.Events(); !slices.Equal(got, want) {
		t.Errorf("events:\n got %s\nwant %s", strings.Join(got, "\n     "), strings.Join(want, "\n     "))
	}
}

func expectNode(t *testing.T, h *harness.Harness, pod, want string) {
	t.Helper()
	if got := h.NodeOf(pod); got != want {
		t.Errorf("%s is on %q, want %q", pod, got, want)
	}
}

func scheduledCondition(p *corev1.Pod) *corev1.PodCondition {
	for i := range p.Status.Conditions {
		if p.Status.Conditions[i].Type == corev1.PodScheduled {
			return &p.Status.Conditions[i]
		}
	}
	return nil
}

func TestPlacesAPod(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("n1"))
	h.Create(harness.NewPod("p", harness.Requests("cpu", "1")))
	h.Create(harness.NewPod("foreign", func(p *corev1.Pod) { p.Spec.SchedulerName = "another" }))
	h.Settle()
	expectNode(t, h, "default/p", "n1")
	expectNode(t, h, "default/foreign", "")
	expectEvents(t, h, "Normal Scheduled default/p: Successfully assigned default/p to n1")
}

func TestNoNodes(t *testing.T) {
	h := harness.New(t)
	h.Create(harness.NewPod("p"))
	if n := h.Settle(); n != 1 {
		t.Errorf("%d attempts", n)
	}
	expectEvents(t, h, "Warning FailedScheduling default/p: no nodes available to schedule pods")
	h.AddNode(harness.NewNode("n1"))
	h.Settle()
	expectNode(t, h, "default/p", "n1")
}

func TestTellsWhyThereIsNoNode(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("small", harness.Capacity("cpu", "1")), harness.NewNode("tainted", harness.Taint("dedicated", corev1.TaintEffectNoSchedule)),
		harness.NewNode("cordoned", harness.Cordoned()), harness.NewNode("full", harness.Capacity("pods", "0")))
	h.Create(harness.NewPod("p", harness.Requests("cpu", "2", "example.com/gpu", "1")))
	h.Settle()
	message := "0/4 nodes are available: 1 Insufficient cpu, 1 Too many pods, 1 node(s) had untolerated taint(s), " +
		"1 node(s) were unschedulable, 2 Insufficient example.com/gpu. " +
		"preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling."
	expectEvents(t, h, "Warning FailedScheduling default/p: "+message)
	c := scheduledCondition(h.Pod("default/p"))
	if c == nil || c.Status != corev1.ConditionFalse || c.Reason != "Unschedulable" || c.Message != message || c.ObservedGeneration != 1 {
		t.Errorf("condition is %+v", c)
	}
	if n := h.Settle(); n != 0 {
		t.Errorf("the pod was tried %d times without an event", n)
	}
}

func TestWaitsForAnEventThatHelps(t *testing.T) {
	tests := []struct {
		name  string
		nodes []*corev1.Node
		old   []*corev1.Pod
		pod   *corev1.Pod
		event func(h *harness.Harness)
		helps bool
	}{
		{
			"room on a node",
			[]*corev1.Node{harness.NewNode("n")},
			[]*corev1.Pod{harness.NewPod("old", harness.On("n"), harness.Requests("cpu", "4"))},
			harness.NewPod("p", harness.Requests("cpu", "1")), func(h *harness.Harness) { h.Delete("default/old") }, true,
		},
		{
			"a node that is too small",
			[]*corev1.Node{harness.NewNode("n", harness.Capacity("cpu", "1"))},
			nil,
			harness.NewPod("p", harness.Requests("cpu", "2")), func(h *harness.Harness) { h.AddNode(harness.NewNode("m", harness.Capacity("cpu", "1"))) }, false,
		},
		{
			"a taint that goes",
			[]*corev1.Node{harness.NewNode("n", harness.Taint("a", corev1.TaintEffectNoExecute))},
			nil,
			harness.NewPod("p"), func(h *harness.Harness) { h.AddNode(harness.NewNode("n")) }, true,
		},
		{
			"a label that has nothing to do with it",
			[]*corev1.Node{harness.NewNode("n", harness.Taint("a", corev1.TaintEffectNoExecute))},
			nil,
			harness.NewPod("p"), func(h *harness.Harness) {
				h.AddNode(harness.NewNode("n", harness.Taint("a", corev1.TaintEffectNoExecute), harness.Label("x", "y")))
			}, false,
		},
		{
			"a node that is uncordoned",
			[]*corev1.Node{harness.NewNode("n", harness.Cordoned())},
			nil,
			harness.NewPod("p"), func(h *harness.Harness) { h.AddNode(harness.NewNode("n")) }, true,
		},
		{
			"a pod to be near",
			[]*corev1.Node{harness.NewNode("n")},
			nil,
			harness.NewPod("p", harness.Near(corev1.LabelHostname, "app", "db")), func(h *harness.Harness) { h.Create(harness.NewPod("db", harness.Labels("app", "db"))) }, true,
		},
		{
			"a pod to be away from, on its way out",
			[]*corev1.Node{harness.NewNode("n")},
			[]*corev1.Pod{harness.NewPod("old", harness.On("n"), harness.Labels("app", "db"))},
			harness.NewPod("p", harness.Away(corev1.LabelHostname, "app", "db")), func(h *harness.Harness) { h.Delete("default/old") }, true,
		},
		{
			"another pod goes, of no concern",
			[]*corev1.Node{harness.NewNode("n")},
			[]*corev1.Pod{harness.NewPod("old", harness.On("n"), harness.Labels("app", "db")), harness.NewPod("web", harness.On("n"))},
			harness.NewPod("p", harness.Away(corev1.LabelHostname, "app", "db")), func(h *harness.Harness) { h.Delete("default/web") }, false,
		},
		{
			"its own toleration",
			[]*corev1.Node{harness.NewNode("n", harness.Taint("a", corev1.TaintEffectNoSchedule))},
			nil,
			harness.NewPod("p"), func(h *harness.Harness) {
				h.Change("default/p", func(p *corev1.Pod) {
					p.Spec.Tolerations = []corev1.Toleration{{Operator: corev1.TolerationOpExists}}
				})
			}, true,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			h := harness.New(t)
			h.AddNode(tt.nodes...)
			for _, p := range tt.old {
				h.Create(p)
			}
			h.Create(tt.pod)
			h.Settle()
			expectNode(t, h, "default/p", "")
			h.Events()
			tt.event(h)
			h.Settle()
			if placed := h.NodeOf("default/p") != ""; placed != tt.helps {
				t.Errorf("placed: %v", placed)
			}
			if tried := slices.ContainsFunc(h.Events(), func(e string) bool { return strings.Contains(e, "default/p") }); tried != tt.helps {
				t.Errorf("tried again: %v", tried)
			}
		})
	}
}

func TestTriesByPriorityThenAge(t *testing.T) {
	h := harness.New(t)
	h.Create(harness.NewPod("first"))
	h.Create(harness.NewPod("second"))
	h.Create(harness.NewPod("urgent", harness.Priority(100)))
	h.Create(harness.NewPod("unimportant", harness.Priority(-1)))
	h.AddNode(harness.NewNode("n"))
	h.Settle()
	var order []string
	for _, b := range h.Asked {
		order = append(order, b.Pod)
	}
	if want := []string{"default/urgent", "default/first", "default/second", "default/unimportant"}; !slices.Equal(order, want) {
		t.Errorf("order is %v", order)
	}
}

func TestRespectsSchedulingGates(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("n"))
	h.Create(harness.NewPod("p", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "example.com/wait"}} }))
	if n := h.Settle(); n != 0 {
		t.Errorf("a gated pod was tried %d times", n)
	}
	h.Change("default/p", func(p *corev1.Pod) { p.Spec.SchedulingGates = nil })
	h.Settle()
	expectNode(t, h, "default/p", "n")
}

func TestBindsWithoutWaiting(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("n1", harness.Capacity("pods", "2")), harness.NewNode("n2", harness.Capacity("pods", "2")))
	h.Hold = true
	for _, name := range []string{"a", "b", "c", "d", "e"} {
		h.Create(harness.NewPod(name))
	}
	h.Settle()
	if len(h.Asked) != 4 {
		t.Fatalf("%d bindings were asked for before the first was answered", len(h.Asked))
	}
	onNode := map[string]int{}
	for _, b := range h.Asked {
		onNode[b.Node]++
	}
	if onNode["n1"] != 2 || onNode["n2"] != 2 {
		t.Errorf("assumed pods were not counted: %v", onNode)
	}
	h.Hold = false
	h.Answer()
	h.Settle()
	for _, b := range h.Asked {
		expectNode(t, h, b.Pod, b.Node)
	}
}

func TestConflictFreesTheNodeAndTriesAgain(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("n", harness.Capacity("pods", "1")))
	refusals := 0
	h.Refuse = func(*corev1.Pod, string) error {
		if refusals++; refusals == 1 {
			return errors.New("too bad")
		}
		return nil
	}
	h.Create(harness.NewPod("p"))
	h.Settle()
	expectNode(t, h, "default/p", "")
	expectEvents(t, h, `Warning FailedScheduling default/p: running Bind plugin "DefaultBinder": too bad`)
	if c := scheduledCondition(h.Pod("default/p")); c == nil || c.Reason != corev1.PodReasonSchedulerError {
		t.Errorf("condition is %+v", c)
	}
	h.Clock.Step(999 * time.Millisecond)
	if n := h.Settle(); n != 0 {
		t.Errorf("%d attempts before the backoff was over", n)
	}
	h.Clock.Step(time.Millisecond)
	h.Settle()
	expectNode(t, h, "default/p", "n")
}

func TestSomebodyElseBinds(t *testing.T) {
	for _, node := range []string{"n1", "n2"} {
		t.Run(node, func(t *testing.T) {
			h := harness.New(t)
			h.AddNode(harness.NewNode("n1", harness.Capacity("pods", "1")), harness.NewNode("n2", harness.Capacity("pods", "1"), harness.Taint("slow", corev1.TaintEffectPreferNoSchedule)))
			h.Hold = true
			h.Create(harness.NewPod("p"))
			h.Settle()
			h.Change("default/p", func(p *corev1.Pod) { p.Spec.NodeName = node })
			h.Hold = false
			h.Answer()
			h.Settle()
			// A conflict on the node that we asked for is the echo of our own
			// request, sent twice because a connection broke.
			if node == "n1" {
				expectEvents(t, h, "Normal Scheduled default/p: Successfully assigned default/p to n1")
			} else {
				expectEvents(t, h)
			}
			h.Create(harness.NewPod("q"))
			h.Settle()
			expectNode(t, h, "default/q", map[string]string{"n1": "n2", "n2": "n1"}[node])
		})
	}
}

func TestLateVersionsOfABoundPodAreIgnored(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("n"))
	p := harness.NewPod("p")
	h.Create(p)
	h.Settle()
	late := p.DeepCopy()
	late.Status.Message = "written before the binding"
	h.Engine.PodSeen(late)
	if n := h.Settle(); n != 0 {
		t.Error("a bound pod was placed again")
	}
}

func TestPodGoesWhileItIsBound(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("n", harness.Capacity("pods", "1")))
	h.Hold = true
	h.Create(harness.NewPod("p"))
	h.Create(harness.NewPod("q"))
	h.Settle()
	h.Delete("default/p")
	h.Hold = false
	h.Settle()
	expectNode(t, h, "default/q", "n")
	h.Events()
	h.Answer()
	if n := h.Settle(); n != 0 {
		t.Errorf("%d attempts for a pod that is gone", n)
	}
	expectEvents(t, h)
}

func TestSkipsPodsThatTerminate(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("n"))
	now := metav1.NewTime(harness.Start())
	h.Create(harness.NewPod("p", func(p *corev1.Pod) { p.DeletionTimestamp = &now }))
	h.Settle()
	expectNode(t, h, "default/p", "")
	expectEvents(t, h, "Warning FailedScheduling default/p: skip schedule deleting pod: default/p")
}

func TestDoesNothingUnlessItLeads(t *testing.T) {
	h := harness.New(t)
	h.Engine.Lead(false)
	h.AddNode(harness.NewNode("n"))
	h.Create(harness.NewPod("p"))
	h.Settle()
	expectNode(t, h, "default/p", "")
	h.Engine.Lead(true)
	h.Settle()
	expectNode(t, h, "default/p", "n")
}

func TestWaitsLongAtMost(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("n", harness.Capacity("cpu", "1")))
	h.Create(harness.NewPod("p", harness.Requests("cpu", "2")))
	h.Settle()
	h.Events()
	h.Clock.Step(4*time.Minute + 59*time.Second)
	if n := h.Settle(); n != 0 {
		t.Errorf("%d attempts before five minutes", n)
	}
	h.Clock.Step(31 * time.Second)
	if n := h.Settle(); n != 1 {
		t.Errorf("%d attempts after five minutes", n)
	}
}

func TestRunEndsWithoutATrace(t *testing.T) {
	h := harness.New(t)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- h.Engine.Run(ctx) }()
	read := make(chan engine.Decision, 10)
	closed := make(chan error, 1)
	go func() {
		closed <- h.Engine.Feed().Read(context.Background(), 10, func(d engine.Decision) error { read <- d; return nil })
	}()
	h.AddNode(harness.NewNode("n"))
	h.Engine.PodSeen(harness.NewPod("p"))
	// The world is not safe to ask while the engine runs; its feed is.
	if d := <-read; d.Outcome != engine.Placed || d.Node != "n" || d.Pod.Name != "p" {
		t.Errorf("first decision is %+v", d)
	}
	s, err := h.Engine.Snapshot(ctx)
	if err != nil || len(s.View.Nodes) != 1 {
		t.Errorf("snapshot: %v %v", s, err)
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if err := <-closed; err != nil {
		t.Error(err)
	}
}
