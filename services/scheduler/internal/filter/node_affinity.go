package filter

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"

	"coracle.local/services/scheduler/internal/cluster"
)

// NodeAffinity is the filter of node selectors and required node affinity.
const NodeAffinity = "NodeAffinity"

const (
	reasonNodeAffinity = "node(s) didn't match Pod's node affinity/selector"
	reasonConflict     = "pod affinity terms conflict"
)

type nodeAffinity struct{}

func (nodeAffinity) Name() string { return NodeAffinity }

func (nodeAffinity) Prepare(p *cluster.Pod, _ *cluster.View) Prepared {
	selector := requiredSelector(p.Object)
	if selector == nil && p.Object.Spec.NodeSelector == nil {
		return Prepared{}
	}
	names, pinned := namedNodes(selector)
	if pinned && len(names) == 0 {
		return Prepared{All: rejectForGood(NodeAffinity, reasonConflict)}
	}
	required := nodeaffinity.GetRequiredNodeAffinity(p.Object)
	no := rejectForGood(NodeAffinity, reasonNodeAffinity)
	return Prepared{Only: names, Node: nodeFunc(func(n *cluster.Node) *Verdict {
		// A selector that cannot be parsed matches nothing; the API server let
		// it in before it learned to refuse it.
		if ok, err := required.Match(n.Object); err != nil || !ok {
			return no
		}
		return nil
	})}
}

func (nodeAffinity) Helps(e cluster.Event, p *cluster.Pod) bool {
	if e.Kind != cluster.NodeAdded && e.Kind != cluster.NodeChanged {
		return false
	}
	required := nodeaffinity.GetRequiredNodeAffinity(p.Object)
	if ok, err := required.Match(e.Node); err != nil || !ok {
		return false
	}
	if e.OldNode == nil {
		return true
	}
	before, err := required.Match(e.OldNode)
	return err != nil || !before
}

func requiredSelector(pod *corev1.Pod) *corev1.NodeSelector {
	if a := pod.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		return a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	return nil
}

// namedNodes returns the nodes that a selector admits by name, as the pods of
// a DaemonSet do; false if it admits others too.
func namedNodes(selector *corev1.NodeSelector) (map[string]bool, bool) {
	if selector == nil || len(selector.NodeSelectorTerms) == 0 {
		return nil, false
	}
	names := map[string]bool{}
	for i := range selector.NodeSelectorTerms {
		term, pinned := namesOfTerm(selector.NodeSelectorTerms[i].MatchFields)
		if !pinned {
			return nil, false
		}
		maps.Copy(names, term)
	}
	return names, true
}

func namesOfTerm(fields []corev1.NodeSelectorRequirement) (map[string]bool, bool) {
	var names map[string]bool
	for _, r := range fields {
		if r.Key != metav1.ObjectNameField || r.Operator != corev1.NodeSelectorOpIn {
			continue
		}
		values := make(map[string]bool, len(r.Values))
		for _, v := range r.Values {
			if names == nil || names[v] {
				values[v] = true
			}
		}
		names = values
	}
	return names, names != nil
}
