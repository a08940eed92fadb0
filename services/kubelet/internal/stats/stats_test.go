package stats_test

import (
	"context"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"

	"coracle.local/services/kubelet/internal/agent"
	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/stats"
)

// meter measures two containers that are busy all the time, and their sandbox.
type meter struct{ clock *testclock.FakeClock }

func (m meter) Stats(_ context.Context, ids ...string) (map[string]engine.Stats, error) {
	out := map[string]engine.Stats{}
	for _, id := range ids {
		s := engine.Stats{Time: m.clock.Now(), CPUNanoseconds: uint64(m.clock.Now().UnixNano()), MemoryWorkingSetBytes: 10}
		if id == "s" {
			s = engine.Stats{Time: m.clock.Now(), Network: []engine.NetworkStats{{Name: "eth0", RxBytes: 5}}}
		}
		out[id] = s
	}
	return out, nil
}

func TestRates(t *testing.T) {
	c := testclock.NewFakeClock(time.Unix(1000, 0))
	pod := agent.Snapshot{
		Pod: &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "web", UID: "u"}},
		Seen: engine.Pod{
			Sandboxes:  []engine.Sandbox{{ID: "s", Ready: true}},
			Containers: []engine.Container{{ID: "a", Name: "a", State: engine.Running}, {ID: "b", Name: "b", State: engine.Running}, {ID: "x", Name: "x", State: engine.Exited}},
		},
	}
	collector := &stats.Collector{
		Node: "n1", Engine: meter{c}, Clock: c, Pods: func() []agent.Snapshot { return []agent.Snapshot{pod} },
		Machine: func() (stats.Machine, error) {
			return stats.Machine{CPUNanoseconds: uint64(c.Now().UnixNano()) * 2, MemoryTotal: 100, MemoryFree: 30}, nil
		},
	}
	measure := func() stats.Summary {
		t.Helper()
		m, err := collector.Measure(t.Context(), "")
		if err != nil {
			t.Fatal(err)
		}
		return m
	}
	first := measure()
	if p := first.Pods[0]; len(p.Containers) != 2 || p.Usage.MemoryWorkingSetBytes != 20 || p.Usage.CPUNanocores != 0 || p.Network[0].RxBytes != 5 {
		t.Errorf("first: %+v", p)
	}
	if first.Node.Usage.MemoryWorkingSetBytes != 70 {
		t.Errorf("node: %+v", first.Node)
	}
	c.Step(10 * time.Second)
	second := measure()
	if got := second.Pods[0].Usage.CPUNanocores; got != 2e9 {
		t.Errorf("two busy containers use %d nanocores", got)
	}
	if got := second.Node.Usage.CPUNanocores; got != 2e9 {
		t.Errorf("the node uses %d nanocores", got)
	}
	// Too soon for a new rate: the old one holds.
	c.Step(10 * time.Millisecond)
	if got := measure().Pods[0].Usage.CPUNanocores; got != 2e9 {
		t.Errorf("at once again: %d nanocores", got)
	}
}

func TestTheMachineCanBeMeasured(t *testing.T) {
	m, err := stats.Local(t.TempDir())
	if err != nil || m.CPUNanoseconds == 0 || m.MemoryTotal == 0 || m.MemoryFree == 0 || m.Started.IsZero() || m.Storage.Capacity == 0 {
		t.Errorf("got %+v, %v", m, err)
	}
}
