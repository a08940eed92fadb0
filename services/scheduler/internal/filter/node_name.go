package filter

import "coracle.local/services/scheduler/internal/cluster"

// NodeName is the filter of pods that name their node.
const NodeName = "NodeName"

const reasonNodeName = "node(s) didn't match the requested node name"

type nodeName struct{}

func (nodeName) Name() string { return NodeName }

func (nodeName) Prepare(p *cluster.Pod, _ *cluster.View) Prepared {
	want := p.Object.Spec.NodeName
	if want == "" {
		return Prepared{}
	}
	no := rejectForGood(NodeName, reasonNodeName)
	return Prepared{Node: nodeFunc(func(n *cluster.Node) *Verdict {
		if n.Name() == want {
			return nil
		}
		return no
	})}
}

func (nodeName) Helps(e cluster.Event, _ *cluster.Pod) bool { return e.Kind == cluster.NodeAdded }
