package engine

import (
	"maps"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/types"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/placement"
)

// promises are rooms on nodes that are kept for pods whose victims are leaving.
// Pods that were promised room count as being there for those of their own
// priority and lower.
type promises struct {
	byNode map[string]map[types.UID]*cluster.Pod
	nodes  map[types.UID]string
}

func newPromises() promises {
	return promises{byNode: map[string]map[types.UID]*cluster.Pod{}, nodes: map[types.UID]string{}}
}

// nodeOf is the node on which a pod was promised room; empty if there is none.
func (ps *promises) nodeOf(uid types.UID) string { return ps.nodes[uid] }

// give promises room on a node, instead of any that was promised before.
func (ps *promises) give(p *cluster.Pod, node string) {
	ps.withdraw(p.UID())
	if ps.byNode[node] == nil {
		ps.byNode[node] = map[types.UID]*cluster.Pod{}
	}
	ps.byNode[node][p.UID()] = p
	ps.nodes[p.UID()] = node
}

// follow takes over a new version of a waiting pod. Its status may have a
// promise that is older than this process; a promise that its status lacks was
// made here and is not written yet.
func (ps *promises) follow(p *cluster.Pod) {
	node := p.Object.Status.NominatedNodeName
	if node == "" {
		node = ps.nodes[p.UID()]
	}
	if node != "" {
		ps.give(p, node)
	}
}

// withdraw takes a promise back, and tells if there was one.
func (ps *promises) withdraw(uid types.UID) bool {
	node, ok := ps.nodes[uid]
	if !ok {
		return false
	}
	delete(ps.nodes, uid)
	delete(ps.byNode[node], uid)
	if len(ps.byNode[node]) == 0 {
		delete(ps.byNode, node)
	}
	return true
}

// before lists, by node, the pods whose room there another pod has to respect.
func (ps *promises) before(p *cluster.Pod) placement.Promised {
	return func(node string) []*cluster.Pod {
		return ps.where(node, func(other *cluster.Pod) bool { return other.UID() != p.UID() && other.Priority >= p.Priority })
	}
}

// clone is for readers elsewhere.
func (ps *promises) clone() promises {
	c := promises{byNode: make(map[string]map[types.UID]*cluster.Pod, len(ps.byNode)), nodes: maps.Clone(ps.nodes)}
	for node, pods := range ps.byNode {
		c.byNode[node] = maps.Clone(pods)
	}
	return c
}

// below lists the pods with room on a node that have to give way to another.
func (ps *promises) below(node string, p *cluster.Pod) []*cluster.Pod {
	return ps.where(node, func(other *cluster.Pod) bool { return other.Priority < p.Priority })
}

func (ps *promises) where(node string, want func(*cluster.Pod) bool) []*cluster.Pod {
	var list []*cluster.Pod
	for _, other := range ps.byNode[node] {
		if want(other) {
			list = append(list, other)
		}
	}
	slices.SortFunc(list, func(a, b *cluster.Pod) int { return strings.Compare(string(a.UID()), string(b.UID())) })
	return list
}
