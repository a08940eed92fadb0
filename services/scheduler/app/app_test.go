package app_test

import (
	"context"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"

	"coracle.local/libs/apitest"
	"coracle.local/libs/client"
	"coracle.local/libs/election"
	schedulerv1 "coracle.local/proto/coracle/scheduler/v1"
	"coracle.local/services/scheduler/app"
	"coracle.local/services/scheduler/internal/harness"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a scheduler until the test ends or stop is called.
func start(t *testing.T, cfg app.Config) (stop func()) {
	t.Helper()
	cfg.Log = zap.NewNop()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- app.Run(ctx, cfg) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	}
	t.Cleanup(stop)
	return stop
}

func bound(f *apitest.API) map[string]string {
	nodes := map[string]string{}
	for _, p := range apitest.All[*corev1.Pod](f, "") {
		if p.Spec.NodeName != "" {
			nodes[p.Name] = p.Spec.NodeName
		}
	}
	return nodes
}

func hasEvent(f *apitest.API, reason, message string) bool {
	for _, e := range apitest.All[*corev1.Event](f, "") {
		if e.Reason == reason && strings.Contains(e.Message, message) && e.Source.Component == "default-scheduler" {
			return true
		}
	}
	return false
}

func TestSchedulesOverTheAPI(t *testing.T) {
	f := apitest.New()
	f.Seed(harness.NewNode("n1", harness.Capacity("pods", "2")))
	f.Seed(harness.NewPod("a"))
	conn := f.Connect(t)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	start(t, app.Config{Conn: conn, Listener: listener})
	f.Until(t, "the binding of a", func() bool { return bound(f)["a"] == "n1" })
	f.Until(t, "the event", func() bool { return hasEvent(f, "Scheduled", "Successfully assigned default/a to n1") })

	f.Seed(harness.NewPod("b", harness.Requests("cpu", "64")))
	f.Until(t, "the condition of b", func() bool {
		for _, p := range apitest.All[*corev1.Pod](f, "") {
			for _, c := range p.Status.Conditions {
				if p.Name == "b" && c.Type == corev1.PodScheduled && c.Reason == "Unschedulable" {
					return strings.HasPrefix(c.Message, "0/1 nodes are available: 1 Insufficient cpu. preemption:")
				}
			}
		}
		return false
	})
	explain(t, listener.Addr().String())
	f.Seed(harness.NewNode("n2", harness.Capacity("cpu", "128")))
	f.Until(t, "the binding of b", func() bool { return bound(f)["b"] == "n2" })
}

// explain asks about the pod that has no node.
func explain(t *testing.T, address string) {
	t.Helper()
	options := append(client.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	cc, err := grpc.NewClient(address, options...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cc.Close() }()
	s := schedulerv1.NewSchedulerServiceClient(cc)
	got, err := s.Explain(t.Context(), &schedulerv1.ExplainRequest{Pod: &schedulerv1.PodSource{
		Source: &schedulerv1.PodSource_Pod{Pod: &schedulerv1.PodReference{Name: "b"}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	if n := got.GetNodes(); len(n) != 1 || n[0].GetFeasible() || n[0].GetRejections()[0].GetFilter() != "NodeResourcesFit" {
		t.Errorf("explanation is %v", got)
	}
}

func TestBrokenBindStream(t *testing.T) {
	f := apitest.New()
	f.BreakBinds = 3
	f.Seed(harness.NewNode("n1"))
	for i := range 8 {
		f.Seed(harness.NewPod(fmt.Sprintf("p%d", i)))
	}
	start(t, app.Config{Conn: f.Connect(t)})
	f.Until(t, "all bindings", func() bool { return len(bound(f)) == 8 })
	for i := range 8 {
		name := fmt.Sprintf("p%d", i)
		f.Until(t, "the event of "+name, func() bool { return hasEvent(f, "Scheduled", "default/"+name+" to n1") })
	}
	if hasEvent(f, "FailedScheduling", "") {
		t.Error("the break was blamed on a pod")
	}
}

func TestElection(t *testing.T) {
	f := apitest.New()
	f.Seed(harness.NewNode("n1"))
	standing := func(identity string) *election.Config {
		return &election.Config{Identity: identity, LeaseDuration: 60 * time.Second, RenewDeadline: 40 * time.Second, RetryPeriod: 20 * time.Millisecond}
	}
	stopFirst := start(t, app.Config{Conn: f.Connect(t), Election: standing("first")})
	f.Seed(harness.NewPod("a"))
	f.Until(t, "the first leads", func() bool { return bound(f)["a"] == "n1" })
	start(t, app.Config{Conn: f.Connect(t), Election: standing("second")})
	stopFirst()
	f.Seed(harness.NewPod("b"))
	f.Until(t, "the second takes over", func() bool { return bound(f)["b"] == "n1" })
}

func TestValidate(t *testing.T) {
	tests := []struct {
		name string
		cfg  app.Config
		want string
	}{
		{"no logger", app.Config{}, "logger"},
		{"no way to the API server", app.Config{Log: zap.NewNop()}, "--kubeconfig"},
		{"no identity", app.Config{Log: zap.NewNop(), Kubeconfig: "k", Election: &election.Config{}}, "identity"},
		{"complete", app.Config{Log: zap.NewNop(), Kubeconfig: "k"}, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.cfg.Validate()
			if (err == nil) != (tt.want == "") || (err != nil && !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("error is %v", err)
			}
		})
	}
}
