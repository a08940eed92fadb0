// Package stats measures the node and its running pods.
package stats

import (
	"context"
	"fmt"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"coracle.local/services/kubelet/internal/agent"
	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/node"
)

// Usage is one measurement; counters grow from the start of what is measured.
type Usage struct {
	engine.Stats
	// CPUNanocores is the average since the measurement before; zero for the
	// first one.
	CPUNanocores uint64
}

// Container is a running container's.
type Container struct {
	Name    string
	Started time.Time
	Usage   Usage
}

// Pod is a running pod's: the sum of its containers', and its sandbox's
// network.
type Pod struct {
	Namespace, Name string
	UID             types.UID
	Started         time.Time
	Usage           Usage
	Containers      []Container
	Network         []engine.NetworkStats
}

// Node is the machine's.
type Node struct {
	Name    string
	Started time.Time
	Usage   Usage
	Storage node.Storage
}

// Summary is everything at one time.
type Summary struct {
	Node Node
	Pods []Pod
}

// Engine is what is needed of a container engine.
type Engine interface {
	Stats(ctx context.Context, ids ...string) (map[string]engine.Stats, error)
}

// Collector measures.
type Collector struct {
	Node   string
	Engine Engine
	Pods   func() []agent.Snapshot
	// Machine measures the whole machine; its Storage is of the kubelet's root
	// directory.
	Machine func() (Machine, error)
	Clock   clock.PassiveClock

	mu   sync.Mutex
	last map[string]sample
}

// Machine is a measurement of the whole machine.
type Machine struct {
	Started        time.Time
	CPUNanoseconds uint64
	MemoryTotal    uint64
	MemoryFree     uint64 // what could be had without swapping
	MemoryRSS      uint64
	Storage        node.Storage
}

// sample is a CPU counter, to make a rate from it and the next one.
type sample struct {
	at   time.Time
	cpu  uint64
	rate uint64
}

// Measure measures everything, or the one pod.
func (c *Collector) Measure(ctx context.Context, only types.UID) (Summary, error) {
	var ids []string
	snapshots := c.Pods()
	for _, s := range snapshots {
		if only == "" || s.Pod.UID == only {
			ids = append(ids, running(s)...)
		}
	}
	measured := map[string]engine.Stats{}
	if len(ids) > 0 {
		var err error
		if measured, err = c.Engine.Stats(ctx, ids...); err != nil {
			return Summary{}, fmt.Errorf("measure containers: %w", err)
		}
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	out := Summary{Node: Node{Name: c.Node}}
	for _, s := range snapshots {
		if p, ok := c.pod(s, measured); ok {
			out.Pods = append(out.Pods, p)
		}
	}
	if only == "" {
		c.forget(measured)
		if m, err := c.Machine(); err == nil {
			out.Node = c.machine(m)
		}
	}
	return out, nil
}

func running(s agent.Snapshot) []string {
	var ids []string
	for _, x := range s.Seen.Sandboxes {
		if x.Ready {
			ids = append(ids, x.ID)
		}
	}
	for _, x := range s.Seen.Containers {
		if x.State == engine.Running {
			ids = append(ids, x.ID)
		}
	}
	return ids
}

// pod sums up a pod; the collector is locked.
func (c *Collector) pod(s agent.Snapshot, measured map[string]engine.Stats) (Pod, bool) {
	p := Pod{Namespace: s.Pod.Namespace, Name: s.Pod.Name, UID: s.Pod.UID}
	if s.Pod.Status.StartTime != nil {
		p.Started = s.Pod.Status.StartTime.Time
	}
	found := false
	for _, x := range s.Seen.Sandboxes {
		if m, ok := measured[x.ID]; ok {
			found = true
			p.Network = m.Network
			p.add(c.rated(x.ID, m))
		}
	}
	for _, x := range s.Seen.Containers {
		if m, ok := measured[x.ID]; ok {
			found = true
			u := c.rated(x.ID, m)
			p.Containers = append(p.Containers, Container{Name: x.Name, Started: x.StartedAt, Usage: u})
			p.add(u)
		}
	}
	return p, found
}

func (p *Pod) add(u Usage) {
	t := &p.Usage
	if u.Time.After(t.Time) {
		t.Time = u.Time
	}
	t.CPUNanoseconds += u.CPUNanoseconds
	t.CPUNanocores += u.CPUNanocores
	t.MemoryUsageBytes += u.MemoryUsageBytes
	t.MemoryWorkingSetBytes += u.MemoryWorkingSetBytes
	t.MemoryRSSBytes += u.MemoryRSSBytes
	t.PageFaults += u.PageFaults
	t.MajorPageFaults += u.MajorPageFaults
	t.Pids += u.Pids
}

// shortest is the least time between two counters to make a rate from.
const shortest = time.Second

// rated adds the rate since the last measurement.
func (c *Collector) rated(id string, m engine.Stats) Usage {
	if c.last == nil {
		c.last = map[string]sample{}
	}
	old, ok := c.last[id]
	passed := m.Time.Sub(old.at)
	switch {
	case !ok || m.CPUNanoseconds < old.cpu:
		c.last[id] = sample{at: m.Time, cpu: m.CPUNanoseconds}
	case passed >= shortest:
		rate := uint64(float64(m.CPUNanoseconds-old.cpu) / passed.Seconds())
		c.last[id] = sample{at: m.Time, cpu: m.CPUNanoseconds, rate: rate}
	}
	return Usage{Stats: m, CPUNanocores: c.last[id].rate}
}

// machineID cannot be a container's.
const machineID = "/"

func (c *Collector) machine(m Machine) Node {
	used := m.MemoryTotal - min(m.MemoryFree, m.MemoryTotal)
	u := c.rated(machineID, engine.Stats{
		Time: c.Clock.Now(), CPUNanoseconds: m.CPUNanoseconds, MemoryUsageBytes: used, MemoryWorkingSetBytes: used,
		MemoryRSSBytes: m.MemoryRSS, MemoryLimitBytes: m.MemoryTotal,
	})
	return Node{Name: c.Node, Started: m.Started, Usage: u, Storage: m.Storage}
}

// forget drops what does not run any more.
func (c *Collector) forget(measured map[string]engine.Stats) {
	for id := range c.last {
		if _, ok := measured[id]; !ok && id != machineID {
			delete(c.last, id)
		}
	}
}
