package score

import (
	"fmt"

	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/filter"
)

type nodeAffinity struct{}

func (nodeAffinity) Name() string  { return filter.NodeAffinity }
func (nodeAffinity) Weight() int64 { return 2 }

func (nodeAffinity) Prepare(p *cluster.Pod, _ *cluster.View) Prepared {
	a := p.Object.Spec.Affinity
	if a == nil || a.NodeAffinity == nil || len(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) == 0 {
		return Prepared{}
	}
	terms, err := nodeaffinity.NewPreferredSchedulingTerms(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution)
	if err != nil {
		return Prepared{Err: fmt.Errorf("read preferred node affinity: %w", err)}
	}
	return Prepared{Relative: preferred{terms: terms}}
}

// preferred sums the weights of the preferences that a node meets.
type preferred struct {
	terms *nodeaffinity.PreferredSchedulingTerms
}

func (p preferred) Node(n *cluster.Node) int64 { return p.terms.Score(n.Object) }

func (p preferred) Normalize(values []int64) { proportional(values, false) }
