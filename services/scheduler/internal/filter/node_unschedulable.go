package filter

import (
	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/scheduler/internal/cluster"
)

// NodeUnschedulable is the filter of cordoned nodes.
const NodeUnschedulable = "NodeUnschedulable"

const reasonUnschedulable = "node(s) were unschedulable"

type nodeUnschedulable struct{}

func (nodeUnschedulable) Name() string { return NodeUnschedulable }

func (nodeUnschedulable) Prepare(p *cluster.Pod, _ *cluster.View) Prepared {
	// Who tolerates the taint that goes with the field tolerates the field.
	taint := corev1.Taint{Key: corev1.TaintNodeUnschedulable, Effect: corev1.TaintEffectNoSchedule}
	if Tolerates(p.Object.Spec.Tolerations, &taint) {
		return Prepared{}
	}
	no := rejectForGood(NodeUnschedulable, reasonUnschedulable)
	return Prepared{Node: nodeFunc(func(n *cluster.Node) *Verdict {
		if n.Object.Spec.Unschedulable {
			return no
		}
		return nil
	})}
}

func (nodeUnschedulable) Helps(e cluster.Event, p *cluster.Pod) bool {
	switch e.Kind {
	case cluster.NodeAdded, cluster.NodeChanged:
		return !e.Node.Spec.Unschedulable && (e.OldNode == nil || e.OldNode.Spec.Unschedulable)
	case cluster.TargetChanged:
		return len(e.OldPod.Object.Spec.Tolerations) != len(p.Object.Spec.Tolerations)
	default:
		return false
	}
}
