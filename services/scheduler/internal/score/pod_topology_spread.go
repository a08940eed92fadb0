package score

import (
	"math"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/filter"
	"coracle.local/services/scheduler/internal/spread"
)

type podTopologySpread struct{}

func (podTopologySpread) Name() string  { return filter.PodTopologySpread }
func (podTopologySpread) Weight() int64 { return 2 }

func (podTopologySpread) Prepare(p *cluster.Pod, v *cluster.View) Prepared {
	constraints, err := spread.Of(p.Object, corev1.ScheduleAnyway)
	if err != nil {
		return Prepared{Err: err}
	}
	// The default preferences hold for nodes without a zone label too.
	own := len(p.Object.Spec.TopologySpreadConstraints) > 0
	if !own {
		constraints = spread.Default(p.Object, v.Workloads)
	}
	if len(constraints) == 0 {
		return Prepared{}
	}
	return Prepared{Topology: &evenness{
		counters: spread.Count(p, v, constraints, own), needLabels: own,
		weights: make([]float64, len(constraints)),
	}}
}

// ignored is the value of nodes that lack a label.
const ignored = -1

// evenness sums the counts of a place's domains, weighted so that a key with
// few domains is not drowned by one with many.
type evenness struct {
	counters   []*spread.Counter
	needLabels bool
	weights    []float64
	seen       []bool
}

func (e *evenness) Register(s *cluster.Spots) {
	for _, c := range e.counters {
		s.Register(c.Tally)
	}
}

func (e *evenness) Begin(f Field) {
	for i, c := range e.counters {
		e.weights[i] = math.Log(float64(e.size(f, c) + 2))
	}
}

// size is the number of a key's domains among the nodes in question. By host
// name every node is a domain.
func (e *evenness) size(f Field, c *spread.Counter) int {
	size := 0
	if c.Key == corev1.LabelHostname {
		for i, s := range f.Spots {
			if !e.ignores(s) {
				size += f.Sizes[i]
			}
		}
		return size
	}
	if cap(e.seen) < c.Tally.Domains.Size {
		e.seen = make([]bool, c.Tally.Domains.Size)
	}
	e.seen = e.seen[:c.Tally.Domains.Size]
	clear(e.seen)
	unlabelled := false
	for i, s := range f.Spots {
		if e.ignores(s) {
			continue
		}
		if _, ok := s.Count(c.Tally); !ok {
			unlabelled = true
			continue
		}
		if c.Tally.Domains.Single {
			size += f.Sizes[i]
			continue
		}
		if id := s.Domain(c.Tally); !e.seen[id] {
			e.seen[id] = true
			size++
		}
	}
	if unlabelled {
		size++
	}
	return size
}

func (e *evenness) ignores(s cluster.Spot) bool {
	if !e.needLabels {
		return false
	}
	for _, c := range e.counters {
		if _, ok := s.Count(c.Tally); !ok {
			return true
		}
	}
	return false
}

func (e *evenness) Place(s cluster.Spot) int64 {
	if e.ignores(s) {
		return ignored
	}
	var value float64
	for i, c := range e.counters {
		if n, ok := s.Count(c.Tally); ok {
			value += float64(n)*e.weights[i] + float64(c.MaxSkew-1)
		}
	}
	return int64(math.Round(value))
}

func (e *evenness) Account(slot int, p *cluster.Pod, delta int64) bool {
	for _, c := range e.counters {
		c.Account(slot, p, delta)
	}
	return true
}

func (e *evenness) Normalize(values []int64) {
	least, most := int64(math.MaxInt64), int64(0)
	for _, v := range values {
		if v != ignored {
			least, most = min(least, v), max(most, v)
		}
	}
	for i, v := range values {
		switch {
		case v == ignored:
			values[i] = 0
		case most == 0:
			values[i] = Max
		default:
			values[i] = Max * (most + least - v) / most
		}
	}
}
