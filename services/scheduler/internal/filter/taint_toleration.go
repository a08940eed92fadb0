package filter

import (
	corev1 "k8s.io/api/core/v1"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/klog/v2"

	"coracle.local/services/scheduler/internal/cluster"
)

// TaintToleration is the filter of tainted nodes.
const TaintToleration = "TaintToleration"

const reasonTaint = "node(s) had untolerated taint(s)"

type taintToleration struct{}

func (taintToleration) Name() string { return TaintToleration }

func (taintToleration) Prepare(p *cluster.Pod, _ *cluster.View) Prepared {
	no := rejectForGood(TaintToleration, reasonTaint)
	tolerations := p.Object.Spec.Tolerations
	return Prepared{Node: nodeFunc(func(n *cluster.Node) *Verdict {
		if _, found := Untolerated(n.Object.Spec.Taints, tolerations); found {
			return no
		}
		return nil
	})}
}

func (taintToleration) Helps(e cluster.Event, p *cluster.Pod) bool {
	tolerations := p.Object.Spec.Tolerations
	switch e.Kind {
	case cluster.NodeAdded, cluster.NodeChanged:
		if _, now := Untolerated(e.Node.Spec.Taints, tolerations); now {
			return false
		}
		if e.OldNode == nil {
			return true
		}
		_, before := Untolerated(e.OldNode.Spec.Taints, tolerations)
		return before
	case cluster.TargetChanged:
		return len(e.OldPod.Object.Spec.Tolerations) != len(tolerations)
	default:
		return false
	}
}

// Untolerated finds the first taint that keeps a pod with these tolerations
// away from a node.
func Untolerated(taints []corev1.Taint, tolerations []corev1.Toleration) (*corev1.Taint, bool) {
	for i := range taints {
		if e := taints[i].Effect; e != corev1.TaintEffectNoSchedule && e != corev1.TaintEffectNoExecute {
			continue
		}
		if !Tolerates(tolerations, &taints[i]) {
			return &taints[i], true
		}
	}
	return nil, false
}

// Tolerates tells whether one of the tolerations speaks of the taint.
func Tolerates(tolerations []corev1.Toleration, taint *corev1.Taint) bool {
	return corev1helpers.TolerationsTolerateTaint(klog.Logger{}, tolerations, taint, false)
}
