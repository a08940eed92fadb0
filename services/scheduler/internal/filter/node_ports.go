package filter

import "coracle.local/services/scheduler/internal/cluster"

// NodePorts is the filter of host ports.
const NodePorts = "NodePorts"

const reasonPorts = "node(s) didn't have free ports for the requested pod ports"

type nodePorts struct{}

func (nodePorts) Name() string { return NodePorts }

func (nodePorts) Prepare(p *cluster.Pod, _ *cluster.View) Prepared {
	if len(p.HostPorts) == 0 {
		return Prepared{}
	}
	no := reject(NodePorts, reasonPorts)
	return Prepared{Node: nodeFunc(func(n *cluster.Node) *Verdict {
		for used := range n.Ports {
			if conflicts(p.HostPorts, used) {
				return no
			}
		}
		return nil
	})}
}

func (nodePorts) Helps(e cluster.Event, p *cluster.Pod) bool {
	switch e.Kind {
	case cluster.NodeAdded:
		return true
	case cluster.PodGone:
		for _, freed := range e.OldPod.HostPorts {
			if conflicts(p.HostPorts, freed) {
				return true
			}
		}
	}
	return false
}

func conflicts(want []cluster.HostPort, used cluster.HostPort) bool {
	for _, w := range want {
		if w.Conflicts(used) {
			return true
		}
	}
	return false
}
