// Package filter tells which nodes cannot take a pod, and why. Each filter is
// pure: it reads a view of the cluster and answers. Reasons are upstream's,
// word for word, because people and programs search events for them.
package filter

import "coracle.local/services/scheduler/internal/cluster"

// Verdict is a rejection; nil means that a filter lets the pod pass.
type Verdict struct {
	Filter  string
	Reasons []string
	// Unresolvable rejections stay when pods leave the node: preemption need
	// not look at it.
	Unresolvable bool
}

// Filter judges the nodes of a cluster for one pod after another.
type Filter interface {
	// Name is upstream's name of the plugin.
	Name() string
	// Prepare computes what does not depend on the node.
	Prepare(p *cluster.Pod, v *cluster.View) Prepared
	// Helps tells whether an event may let a pod pass that the filter rejected.
	Helps(e cluster.Event, p *cluster.Pod) bool
}

// Prepared is a filter ready for one pod. The zero value lets it pass
// everywhere.
type Prepared struct {
	// Err is set when the pod cannot be understood; it is tried again later.
	Err error
	// All rejects the pod on every node.
	All *Verdict
	// Only names the nodes that come into question, if not all do.
	Only map[string]bool
	// Node judges a node by itself.
	Node NodeCheck
	// Topology judges a node by the pods in its topology domains.
	Topology TopologyCheck
}

// NodeCheck judges one node by what is on it.
type NodeCheck interface {
	Node(n *cluster.Node) *Verdict
}

// TopologyCheck judges places by counts of pods, which it keeps current as
// pods come and go.
type TopologyCheck interface {
	// Register announces the tallies that Place reads.
	Register(s *cluster.Spots)
	// Place judges all nodes that a spot describes.
	Place(s cluster.Spot) *Verdict
	// Account notes that a pod came to a node (1) or left it (-1). False means
	// that the check was not prepared for such a pod and must be made anew.
	Account(slot int, p *cluster.Pod, delta int64) bool
}

// All lists the filters in the order in which they run: the first that rejects
// a node gives the reason for it. Filters with topology checks come after those
// that look at a node alone.
func All() []Filter {
	return []Filter{
		nodeName{},
		nodeUnschedulable{},
		taintToleration{},
		nodeAffinity{},
		nodePorts{},
		nodeResourcesFit{},
		volumeRestrictions{},
		volumeBinding{},
		volumeZone{},
		podTopologySpread{},
		interPodAffinity{},
	}
}

// reject makes a verdict that leaving pods could change.
func reject(filter string, reasons ...string) *Verdict {
	return &Verdict{Filter: filter, Reasons: reasons}
}

// rejectForGood makes a verdict that no leaving pod changes.
func rejectForGood(filter string, reasons ...string) *Verdict {
	return &Verdict{Filter: filter, Reasons: reasons, Unresolvable: true}
}

// nodeFunc adapts a function to NodeCheck.
type nodeFunc func(n *cluster.Node) *Verdict

func (f nodeFunc) Node(n *cluster.Node) *Verdict { return f(n) }
