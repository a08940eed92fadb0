package score

import (
	"math"

	"coracle.local/services/scheduler/internal/cluster"
)

// BalancedAllocation is the scorer of nodes whose CPU and memory are used in
// the same proportion.
const BalancedAllocation = "NodeResourcesBalancedAllocation"

type balancedAllocation struct{}

func (balancedAllocation) Name() string  { return BalancedAllocation }
func (balancedAllocation) Weight() int64 { return 1 }

func (balancedAllocation) Prepare(p *cluster.Pod, _ *cluster.View) Prepared {
	cpu, memory := p.Requests.MilliCPU, p.Requests.Memory
	if cpu == 0 && memory == 0 {
		// A pod that asks for nothing changes no balance; scoring it would send
		// all such pods to the same node.
		return Prepared{}
	}
	return Prepared{Absolute: nodeFunc(func(n *cluster.Node) int64 {
		with := balance(n, n.Requested.MilliCPU+cpu, n.Requested.Memory+memory)
		without := balance(n, n.Requested.MilliCPU, n.Requested.Memory)
		return Max/2 + (Max/2+with-without)/2
	})}
}

// balance is Max when CPU and memory are used alike, and falls by the standard
// deviation of the two parts.
func balance(n *cluster.Node, cpu, memory int64) int64 {
	if n.Allocatable.MilliCPU == 0 || n.Allocatable.Memory == 0 {
		return Max
	}
	c := math.Min(1, float64(cpu)/float64(n.Allocatable.MilliCPU))
	m := math.Min(1, float64(memory)/float64(n.Allocatable.Memory))
	return int64((1 - math.Abs((c-m)/2)) * float64(Max))
}
