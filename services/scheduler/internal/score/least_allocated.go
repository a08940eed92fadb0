package score

import (
	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/filter"
)

// leastAllocated prefers nodes that have the larger part of their CPU and
// memory free.
type leastAllocated struct{}

func (leastAllocated) Name() string  { return filter.NodeResourcesFit }
func (leastAllocated) Weight() int64 { return 1 }

func (leastAllocated) Prepare(p *cluster.Pod, _ *cluster.View) Prepared {
	cpu, memory := p.Scored.MilliCPU, p.Scored.Memory
	return Prepared{Absolute: nodeFunc(func(n *cluster.Node) int64 {
		var sum, weights int64
		for _, r := range [...]struct{ requested, allocatable int64 }{
			{n.Scored.MilliCPU + cpu, n.Allocatable.MilliCPU},
			{n.Scored.Memory + memory, n.Allocatable.Memory},
		} {
			if r.allocatable == 0 {
				continue
			}
			weights++
			if r.requested <= r.allocatable {
				sum += (r.allocatable - r.requested) * Max / r.allocatable
			}
		}
		if weights == 0 {
			return 0
		}
		return sum / weights
	})}
}
