// Package score tells which of the nodes that can take a pod suits it best.
// Weights, ranges and formulas are upstream's defaults.
package score

import "coracle.local/services/scheduler/internal/cluster"

// Max is the best normalized score of a scorer.
const Max int64 = 100

// Scorer scores the nodes of a cluster for one pod after another.
type Scorer interface {
	// Name is upstream's name of the plugin.
	Name() string
	// Weight multiplies the normalized score.
	Weight() int64
	// Prepare computes what does not depend on the node.
	Prepare(p *cluster.Pod, v *cluster.View) Prepared
}

// Prepared is a scorer ready for one pod, by one of three kinds; the zero value
// has nothing to say about the pod.
type Prepared struct {
	Err error
	// Absolute scores need no other node to compare with.
	Absolute NodeScore
	// Relative values of a node become scores when all are known.
	Relative RelativeScore
	// Topology values depend on the pods in the node's topology domains.
	Topology TopologyScore
}

// NodeScore scores a node by what is on it, from 0 to Max.
type NodeScore interface {
	Node(n *cluster.Node) int64
}

// RelativeScore gives a node a value of any range.
type RelativeScore interface {
	Node(n *cluster.Node) int64
	Normalizer
}

// Normalizer turns the values of all nodes that come into question into scores
// from 0 to Max, in place. It must not matter how often a value occurs.
type Normalizer interface {
	Normalize(values []int64)
}

// TopologyScore gives places a value by counts of pods, which it keeps current
// as pods come and go.
type TopologyScore interface {
	Register(s *cluster.Spots)
	// Begin is told how the places that come into question are spread, before
	// Place is asked about them.
	Begin(f Field)
	Place(s cluster.Spot) int64
	// Account notes that a pod came to a node (1) or left it (-1). False means
	// that the score was not prepared for such a pod and must be made anew.
	Account(slot int, p *cluster.Pod, delta int64) bool
	Normalizer
}

// Field describes the nodes that come into question, in groups of equal spots.
type Field struct {
	Spots []cluster.Spot
	// Sizes are the numbers of nodes at each spot.
	Sizes []int
}

// All lists the scorers.
func All() []Scorer {
	return []Scorer{
		taintToleration{},
		nodeAffinity{},
		leastAllocated{},
		podTopologySpread{},
		interPodAffinity{},
		balancedAllocation{},
		imageLocality{},
		volumeBinding{},
	}
}

// proportional scales values so that the greatest becomes Max, or, reversed,
// zero.
func proportional(values []int64, reverse bool) {
	var top int64
	for _, v := range values {
		top = max(top, v)
	}
	for i, v := range values {
		if top > 0 {
			v = Max * v / top
		}
		if reverse {
			v = Max - v
		}
		values[i] = v
	}
}

// nodeFunc adapts a function to NodeScore.
type nodeFunc func(n *cluster.Node) int64

func (f nodeFunc) Node(n *cluster.Node) int64 { return f(n) }
