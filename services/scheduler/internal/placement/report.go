package placement

import (
	"coracle.local/services/scheduler/internal/filter"
	"coracle.local/services/scheduler/internal/score"
)

// NodeReport is everything that filters and scorers say about one node.
type NodeReport struct {
	Node string
	// Verdicts has an entry for every filter that rejects the node, not the
	// first alone.
	Verdicts []*filter.Verdict
	// Scores are empty for rejected nodes.
	Scores []ScoreReport
	Total  int64
}

// ScoreReport is one scorer's part.
type ScoreReport struct {
	Name string
	// Score is normalized to 0..100; it counts Weight times.
	Score, Weight int64
}

// Report asks every filter and scorer about every node.
func (c *Class) Report() []NodeReport {
	out := make([]NodeReport, len(c.view.Nodes))
	for i, n := range c.view.Nodes {
		out[i].Node = n.Name()
		if c.all != nil {
			out[i].Verdicts = []*filter.Verdict{c.all}
		}
	}
	if c.slots == nil {
		return out
	}
	c.reportFilters(out)
	f := c.gather()
	c.eachCommon(f, func(s score.Scorer, values []int64) {
		for i, g := range f.groups {
			for _, slot := range g.heap {
				out[slot].add(s, values[i])
			}
		}
	})
	for _, g := range f.groups {
		for _, slot := range g.heap {
			for _, a := range c.absolute {
				out[slot].add(a.Scorer, a.node.Node(c.view.Nodes[slot]))
			}
		}
	}
	return out
}

func (c *Class) reportFilters(out []NodeReport) {
	for i, n := range c.view.Nodes {
		if c.only != nil && !c.only[n.Name()] {
			out[i].Verdicts = append(out[i].Verdicts, c.notIn)
		}
		for _, check := range c.nodeChecks {
			if v := check.check.Node(n); v != nil {
				out[i].Verdicts = append(out[i].Verdicts, v)
			}
		}
		spot := c.spotOf(i)
		for _, check := range c.placeChecks {
			if v := check.check.Place(spot); v != nil {
				out[i].Verdicts = append(out[i].Verdicts, v)
			}
		}
	}
}

func (r *NodeReport) add(s score.Scorer, value int64) {
	r.Scores = append(r.Scores, ScoreReport{Name: s.Name(), Score: value, Weight: s.Weight()})
	r.Total += s.Weight() * value
}
