package inspect_test

import (
	"context"
	"strings"
	"testing"

	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	schedulerv1 "coracle.local/proto/coracle/scheduler/v1"
	"coracle.local/services/scheduler/internal/harness"
	"coracle.local/services/scheduler/internal/inspect"
)

type pods struct{ *harness.Harness }

func (p pods) Pod(namespace, name string) (*corev1.Pod, bool) {
	o := p.Harness.Pod(namespace + "/" + name)
	return o, o != nil
}

// service serves from an engine that runs until the test ends. The world must
// not be changed meanwhile.
func service(t *testing.T, h *harness.Harness) *inspect.Service {
	t.Helper()
	h.Settle()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- h.Engine.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return &inspect.Service{Engine: h.Engine, Pods: pods{h}, Budgets: h.Budgets}
}

func reference(name string) *schedulerv1.PodSource {
	return &schedulerv1.PodSource{Source: &schedulerv1.PodSource_Pod{Pod: &schedulerv1.PodReference{Name: name}}}
}

func manifest(text string) *schedulerv1.PodSource {
	return &schedulerv1.PodSource{Source: &schedulerv1.PodSource_Manifest{Manifest: text}}
}

func TestExplain(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("n1"), harness.NewNode("n2", harness.Taint("slow", corev1.TaintEffectPreferNoSchedule)),
		harness.NewNode("n3", harness.Cordoned(), harness.Taint("a", corev1.TaintEffectNoSchedule)), harness.NewNode("n4", harness.Capacity("cpu", "1")))
	h.Create(harness.NewPod("other", harness.On("n4"), harness.Requests("cpu", "1"), harness.Priority(-1)))
	h.Create(harness.NewPod("p", harness.Requests("cpu", "1")))
	s := service(t, h)
	got, err := s.Explain(t.Context(), &schedulerv1.ExplainRequest{Pod: reference("p")})
	if err != nil {
		t.Fatal(err)
	}
	if got.GetChosen() != "n1" || got.GetCurrent() != "n1" || got.GetMessage() != "" || len(got.GetNodes()) != 4 {
		t.Errorf("explanation is %v", got)
	}
	byName := map[string]*schedulerv1.NodeExplanation{}
	for _, n := range got.GetNodes() {
		byName[n.GetNode()] = n
	}
	if a, b := byName["n1"], byName["n2"]; !a.GetFeasible() || !b.GetFeasible() || a.GetTotal()-b.GetTotal() != 300 {
		t.Errorf("n1 %v, n2 %v", a, b)
	}
	if r := byName["n3"].GetRejections(); len(r) != 2 || r[0].GetFilter() != "NodeUnschedulable" || r[1].GetFilter() != "TaintToleration" || r[0].GetPreemptable() {
		t.Errorf("n3 is rejected by %v", r)
	}
	if r := byName["n4"].GetRejections(); len(r) != 1 || r[0].GetReasons()[0] != "Insufficient cpu" || !r[0].GetPreemptable() {
		t.Errorf("n4 is rejected by %v", r)
	}
	only, err := s.Explain(t.Context(), &schedulerv1.ExplainRequest{Nodes: []string{"n2"}, Pod: manifest(
		"kind: Pod\nmetadata: {name: x}\nspec: {containers: [{name: c, resources: {limits: {cpu: 9}}}]}")})
	if err != nil || len(only.GetNodes()) != 1 ||
		only.GetMessage() != "0/4 nodes are available: 1 node(s) were unschedulable, 3 Insufficient cpu. preemption: 0/4 nodes are available: 4 Preemption is not helpful for scheduling." {
		t.Errorf("explanation is %v, %v", only, err)
	}
}

func TestExplainRefusesWhatItCannotRead(t *testing.T) {
	s := service(t, harness.New(t))
	tests := []struct {
		name   string
		source *schedulerv1.PodSource
		is     func(error) bool
		say    string
	}{
		{"nothing", nil, apierrors.IsBadRequest, "a reference or a manifest"},
		{"unknown pod", reference("nobody"), apierrors.IsNotFound, `"nobody" not found`},
		{"no YAML", manifest("{"), apierrors.IsBadRequest, "manifest"},
		{"no pods in it", manifest("kind: ConfigMap"), apierrors.IsBadRequest, "a ConfigMap is no Pod and has no pod template"},
		{"no containers", manifest("kind: Pod"), apierrors.IsBadRequest, "spec.containers: Required value"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := s.Explain(t.Context(), &schedulerv1.ExplainRequest{Pod: tt.source})
			if err == nil || !tt.is(err) || !strings.Contains(err.Error(), tt.say) {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestDryRun(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("n1", harness.Capacity("cpu", "2")), harness.NewNode("n2", harness.Capacity("cpu", "1")))
	s := service(t, h)
	deployment := "apiVersion: apps/v1\nkind: Deployment\nmetadata: {name: web}\nspec: {template: {spec: {containers: [{name: c, resources: {requests: {cpu: 1}}}]}}}"
	for range 2 { // nothing stays from the first
		got, err := s.DryRun(t.Context(), &schedulerv1.DryRunRequest{Pod: manifest(deployment), Count: 5})
		if err != nil {
			t.Fatal(err)
		}
		onNode := map[string]int{}
		for _, p := range got.GetPlacements() {
			onNode[p.GetNode()]++
		}
		if onNode["n1"] != 2 || onNode["n2"] != 1 || onNode[""] != 2 {
			t.Errorf("placements are %v", got)
		}
		if last := got.GetPlacements()[4]; !strings.HasPrefix(last.GetMessage(), "0/2 nodes are available: 2 Insufficient cpu.") {
			t.Errorf("the last is %v", last)
		}
	}
	if _, err := s.DryRun(t.Context(), &schedulerv1.DryRunRequest{Pod: manifest(deployment), Count: 1 << 20}); !apierrors.IsBadRequest(err) {
		t.Errorf("error is %v", err)
	}
}

func TestQueue(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("n1", harness.Capacity("cpu", "1")))
	h.Create(harness.NewPod("big", harness.Requests("cpu", "2"), harness.Priority(4)))
	h.Create(harness.NewPod("gated", func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}} }))
	h.Create(harness.NewPod("elsewhere", harness.In("other"), harness.Requests("cpu", "2")))
	h.Settle()
	h.Hold = true
	h.Create(harness.NewPod("small"))
	s := service(t, h)
	got, err := s.Queue(t.Context(), &schedulerv1.QueueRequest{Namespace: "default"})
	if err != nil || len(got.GetPods()) != 3 {
		t.Fatalf("queue is %v, %v", got, err)
	}
	big, gated, small := got.GetPods()[0], got.GetPods()[1], got.GetPods()[2]
	if big.GetName() != "big" || big.GetState() != schedulerv1.QueueState_QUEUE_STATE_UNSCHEDULABLE || big.GetAttempts() != 1 ||
		big.GetPriority() != 4 || big.GetRejectedBy()[0] != "NodeResourcesFit" || !strings.Contains(big.GetMessage(), "Insufficient cpu") {
		t.Errorf("big is %v", big)
	}
	if gated.GetState() != schedulerv1.QueueState_QUEUE_STATE_GATED {
		t.Errorf("gated is %v", gated)
	}
	if small.GetState() != schedulerv1.QueueState_QUEUE_STATE_BINDING || small.GetNode() != "n1" {
		t.Errorf("small is %v", small)
	}
}

// decisions is a stream that ends its call after some decisions.
type decisions struct {
	grpc.ServerStream
	ctx    context.Context
	cancel context.CancelFunc
	got    []*schedulerv1.Decision
	want   int
}

func (d *decisions) Context() context.Context { return d.ctx }

func (d *decisions) Send(r *schedulerv1.DecisionsResponse) error {
	if d.got = append(d.got, r.GetDecision()); len(d.got) == d.want {
		d.cancel()
	}
	return nil
}

func TestDecisions(t *testing.T) {
	h := harness.New(t)
	h.AddNode(harness.NewNode("n1"))
	h.Create(harness.NewPod("a"))
	h.Create(harness.NewPod("b", harness.Requests("cpu", "9")))
	s := service(t, h)
	ctx, cancel := context.WithCancel(t.Context())
	d := &decisions{ctx: ctx, cancel: cancel, want: 3}
	if err := s.Decisions(&schedulerv1.DecisionsRequest{History: 100}, d); err == nil {
		t.Error("the stream ended by itself")
	}
	var outcomes []string
	for _, one := range d.got {
		outcomes = append(outcomes, one.GetName()+" "+one.GetOutcome().String())
	}
	if got := strings.Join(outcomes, ", "); got != "a OUTCOME_PLACED, a OUTCOME_BOUND, b OUTCOME_UNSCHEDULABLE" {
		t.Errorf("decisions are %s", got)
	}
}
