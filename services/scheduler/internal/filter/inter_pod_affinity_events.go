package filter

import (
	"maps"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/scheduler/internal/cluster"
)

// Helps follows upstream's rules: a pod that came may be the one to be near, a
// pod that left may be the one to be away from, and labels move both.
func (interPodAffinity) Helps(e cluster.Event, p *cluster.Pod) bool {
	switch e.Kind {
	case cluster.PodAssigned:
		return matchesEvery(p, e.Pod.Object)
	case cluster.PodChanged:
		before, now := e.OldPod.Object, e.Pod.Object
		return (!matchesEvery(p, before) && matchesEvery(p, now)) || (repels(p, before) && !repels(p, now))
	case cluster.PodGone:
		return repels(p, e.OldPod.Object) || repels(e.OldPod, p.Object)
	case cluster.NodeAdded, cluster.NodeChanged:
		return nodeHelpsAffinity(e, p)
	case cluster.NamespaceChanged:
		return true
	case cluster.TargetChanged:
		return !maps.Equal(e.OldPod.Object.Labels, p.Object.Labels)
	default:
		return false
	}
}

// matchesEvery and repels leave namespace selectors aside as if they matched:
// a pod that is woken in vain is worse off by one attempt.
func matchesEvery(p *cluster.Pod, other *corev1.Pod) bool {
	for i := range p.RequiredAffinity {
		if !speaksOf(&p.RequiredAffinity[i], other) {
			return false
		}
	}
	return len(p.RequiredAffinity) > 0
}

func repels(p *cluster.Pod, other *corev1.Pod) bool {
	for i := range p.RequiredAntiAffinity {
		if speaksOf(&p.RequiredAntiAffinity[i], other) {
			return true
		}
	}
	return false
}

func speaksOf(t *cluster.Term, other *corev1.Pod) bool {
	if t.Matches(other, nil) {
		return true
	}
	anywhere := *t
	anywhere.Namespaces = []string{other.Namespace}
	_, selectable := t.NamespaceSelector.Requirements()
	return selectable && anywhere.Matches(other, nil)
}

func nodeHelpsAffinity(e cluster.Event, p *cluster.Pod) bool {
	for i := range p.RequiredAffinity {
		key := p.RequiredAffinity[i].Key
		now, ok := e.Node.Labels[key]
		if !ok {
			continue
		}
		if e.OldNode == nil {
			return true
		}
		if before, had := e.OldNode.Labels[key]; !had || before != now {
			return true
		}
	}
	if e.OldNode == nil {
		return len(p.RequiredAntiAffinity) > 0
	}
	for i := range p.RequiredAntiAffinity {
		key := p.RequiredAntiAffinity[i].Key
		before, had := e.OldNode.Labels[key]
		now, has := e.Node.Labels[key]
		if had && (!has || before != now) {
			return true
		}
	}
	return false
}
