package score

import (
	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/filter"
)

type taintToleration struct{}

func (taintToleration) Name() string  { return filter.TaintToleration }
func (taintToleration) Weight() int64 { return 3 }

func (taintToleration) Prepare(p *cluster.Pod, _ *cluster.View) Prepared {
	var relevant []corev1.Toleration
	for _, t := range p.Object.Spec.Tolerations {
		if t.Effect == "" || t.Effect == corev1.TaintEffectPreferNoSchedule {
			relevant = append(relevant, t)
		}
	}
	return Prepared{Relative: &repelling{tolerations: relevant}}
}

// repelling counts the taints that would rather not have the pod.
type repelling struct{ tolerations []corev1.Toleration }

func (r *repelling) Node(n *cluster.Node) int64 {
	var count int64
	for i := range n.Object.Spec.Taints {
		taint := &n.Object.Spec.Taints[i]
		if taint.Effect == corev1.TaintEffectPreferNoSchedule && !filter.Tolerates(r.tolerations, taint) {
			count++
		}
	}
	return count
}

func (r *repelling) Normalize(values []int64) { proportional(values, true) }
