package engine_test

import (
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/scheduler/internal/harness"
)

func TestPreempts(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("n1", harness.Capacity("cpu", "2")), harness.NewNode("n2", harness.Capacity("cpu", "2")))
	h.Create(harness.NewPod("cheap", harness.On("n1"), harness.Requests("cpu", "2"), harness.Priority(1)))
	h.Create(harness.NewPod("dear", harness.On("n2"), harness.Requests("cpu", "2"), harness.Priority(5)))
	h.Create(harness.NewPod("p", harness.Requests("cpu", "1"), harness.Priority(10)))
	h.Settle()
	expectEvents(t, h, "Warning FailedScheduling default/p: 0/2 nodes are available: 2 Insufficient cpu. "+
		"preemption: found a potential placement for pod on node n1, preempting 1 victims")
	if got := h.Pod("default/p").Status.NominatedNodeName; got != "n1" {
		t.Errorf("nominated node is %q", got)
	}
	if h.Pod("default/cheap").DeletionTimestamp == nil || h.Pod("default/dear").DeletionTimestamp != nil {
		t.Error("the wrong pod was asked to leave")
	}
	// Room that was promised is not given to others of equal or lower priority.
	h.Create(harness.NewPod("rival", harness.Requests("cpu", "2"), harness.Priority(10)))
	h.Settle()
	h.Events()
	h.Finish()
	h.Settle()
	expectNode(t, h, "default/p", "n1")
	if node := h.NodeOf("default/rival"); node == "n1" {
		t.Error("the rival took the room")
	}
}

func TestDoesNotPreemptTwice(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("n1", harness.Capacity("cpu", "1")), harness.NewNode("n2", harness.Capacity("cpu", "1")))
	h.Create(harness.NewPod("v1", harness.On("n1"), harness.Requests("cpu", "1")))
	h.Create(harness.NewPod("v2", harness.On("n2"), harness.Requests("cpu", "1")))
	h.Create(harness.NewPod("other", harness.On("n2")))
	h.Create(harness.NewPod("p", harness.Requests("cpu", "1"), harness.Priority(10)))
	h.Settle()
	// A pod that leaves for another reason wakes the preemptor while its victim
	// is still terminating.
	h.Delete("default/other")
	h.Settle()
	last := h.Events()
	if m := last[len(last)-1]; !strings.HasSuffix(m, "preemption: not eligible due to a terminating pod on the nominated node.") {
		t.Errorf("last event is %q", m)
	}
	leaving := 0
	for _, name := range []string{"default/v1", "default/v2"} {
		if h.Pod(name).DeletionTimestamp != nil {
			leaving++
		}
	}
	if leaving != 1 {
		t.Errorf("%d pods were asked to leave", leaving)
	}
	h.Finish()
	h.Settle()
	if h.NodeOf("default/p") == "" {
		t.Error("the preemptor was not placed")
	}
}

func TestPreemptionPolicyNever(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("n", harness.Capacity("cpu", "1")))
	h.Create(harness.NewPod("v", harness.On("n"), harness.Requests("cpu", "1")))
	never := corev1.PreemptNever
	h.Create(harness.NewPod("p", harness.Requests("cpu", "1"), harness.Priority(10), func(p *corev1.Pod) { p.Spec.PreemptionPolicy = &never }))
	h.Settle()
	expectEvents(t, h, "Warning FailedScheduling default/p: 0/1 nodes are available: 1 Insufficient cpu. "+
		"preemption: not eligible due to preemptionPolicy=Never.")
	if h.Pod("default/v").DeletionTimestamp != nil {
		t.Error("a pod was preempted")
	}
}

func TestVictimsGoBeforeTheAnswer(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("n", harness.Capacity("cpu", "1")))
	h.Create(harness.NewPod("v", harness.On("n"), harness.Requests("cpu", "1")))
	h.Settle()
	h.Hold = true
	h.Create(harness.NewPod("p", harness.Requests("cpu", "1"), harness.Priority(10)))
	h.Settle()
	h.Delete("default/v")
	if n := h.Settle(); n != 0 {
		t.Errorf("%d attempts while victims were being asked to leave", n)
	}
	h.Hold = false
	h.Answer()
	h.Settle()
	expectNode(t, h, "default/p", "n")
}

func TestHigherPriorityTakesThePromisedNode(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("n", harness.Capacity("cpu", "1")))
	h.Create(harness.NewPod("v", harness.On("n"), harness.Requests("cpu", "1")))
	h.Create(harness.NewPod("p", harness.Requests("cpu", "1"), harness.Priority(10)))
	h.Settle()
	h.Create(harness.NewPod("q", harness.Requests("cpu", "1"), harness.Priority(20)))
	h.Settle()
	h.Finish()
	h.Settle()
	expectNode(t, h, "default/q", "n")
	expectNode(t, h, "default/p", "")
}

func TestBudgetsDecideWhoGoes(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("n1", harness.Capacity("cpu", "1")), harness.NewNode("n2", harness.Capacity("cpu", "1")))
	h.SetBudgets(&policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "budget"},
		Spec:       policyv1.PodDisruptionBudgetSpec{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}},
	})
	h.Create(harness.NewPod("protected", harness.On("n1"), harness.Labels("app", "db"), harness.Requests("cpu", "1"), harness.Priority(1)))
	h.Create(harness.NewPod("free", harness.On("n2"), harness.Labels("app", "web"), harness.Requests("cpu", "1"), harness.Priority(5)))
	h.Create(harness.NewPod("p", harness.Requests("cpu", "1"), harness.Priority(10)))
	h.Settle()
	if h.Pod("default/free").DeletionTimestamp == nil || h.Pod("default/protected").DeletionTimestamp != nil {
		t.Error("the budget was not respected")
	}
}
