package filter

import (
	"fmt"

	"k8s.io/apimachinery/pkg/labels"

	"coracle.local/services/scheduler/internal/cluster"
)

// InterPodAffinity is the filter of required affinity and anti-affinity
// between pods.
const InterPodAffinity = "InterPodAffinity"

const (
	reasonAffinity     = "node(s) didn't match pod affinity rules"
	reasonAntiAffinity = "node(s) didn't match pod anti-affinity rules"
	reasonExisting     = "node(s) didn't satisfy existing pods anti-affinity rules"
)

type interPodAffinity struct{}

func (interPodAffinity) Name() string { return InterPodAffinity }

func (interPodAffinity) Prepare(p *cluster.Pod, v *cluster.View) Prepared {
	if p.Invalid != nil {
		return Prepared{All: rejectForGood(InterPodAffinity, fmt.Sprintf("parsing pod: %+v", p.Invalid))}
	}
	c := &affinityCheck{
		pod: p, namespace: v.Namespaces[p.Object.Namespace],
		affinity: Unroll(p.RequiredAffinity, v), anti: Unroll(p.RequiredAntiAffinity, v),
		existing: map[string]*cluster.Tally{},
		noMatch:  rejectForGood(InterPodAffinity, reasonAffinity),
		noAnti:   reject(InterPodAffinity, reasonAntiAffinity),
		noOthers: reject(InterPodAffinity, reasonExisting),
	}
	for i := range c.affinity {
		c.matching = append(c.matching, cluster.NewTally(v.Domains(c.affinity[i].Key)))
	}
	for i := range c.anti {
		c.repelled = append(c.repelled, cluster.NewTally(v.Domains(c.anti[i].Key)))
	}
	c.self = cluster.MatchesAll(c.affinity, p.Object, nil)
	if len(c.affinity)+len(c.anti) > 0 {
		v.EachPod(func(slot int, other *cluster.Pod) { c.accountOwn(slot, other, 1) })
	}
	v.EachAffine(func(slot int, other *cluster.Pod) {
		c.eachRepelling(other, func(key string) {
			t, ok := c.existing[key]
			if !ok {
				t = cluster.NewTally(v.Domains(key))
				c.existing[key] = t
				c.order = append(c.order, t)
			}
			t.Add(slot, 1)
		})
	})
	return Prepared{Topology: c}
}

// affinityCheck counts, by topology domain, the pods that the pod wants to be
// near, those it wants to be away from, and those that want to be away from it.
type affinityCheck struct {
	pod       *cluster.Pod
	namespace labels.Set

	affinity, anti []cluster.Term
	// matching and repelled have a tally for each term; a pod counts for
	// affinity only if it matches all terms.
	matching, repelled []*cluster.Tally
	// existing are the pods that repel this one, by topology key; order keeps
	// their registration stable.
	existing map[string]*cluster.Tally
	order    []*cluster.Tally
	// self says that the pod matches its own affinity: the first of a group
	// that wants to be together may be anywhere.
	self bool

	noMatch, noAnti, noOthers *Verdict
}

func (c *affinityCheck) Register(s *cluster.Spots) {
	for _, list := range [][]*cluster.Tally{c.matching, c.repelled, c.order} {
		for _, t := range list {
			s.Register(t)
		}
	}
}

func (c *affinityCheck) Place(s cluster.Spot) *Verdict {
	if !c.near(s) {
		return c.noMatch
	}
	for _, t := range c.repelled {
		if n, ok := s.Count(t); ok && n > 0 {
			return c.noAnti
		}
	}
	for _, t := range c.order {
		if n, ok := s.Count(t); ok && n > 0 {
			return c.noOthers
		}
	}
	return nil
}

func (c *affinityCheck) near(s cluster.Spot) bool {
	found := true
	for _, t := range c.matching {
		n, ok := s.Count(t)
		if !ok {
			return false
		}
		found = found && n > 0
	}
	if found {
		return true
	}
	for _, t := range c.matching {
		if t.Total() > 0 {
			return false
		}
	}
	return c.self
}

func (c *affinityCheck) Account(slot int, p *cluster.Pod, delta int64) bool {
	c.accountOwn(slot, p, delta)
	known := true
	if len(p.RequiredAntiAffinity) > 0 {
		c.eachRepelling(p, func(key string) {
			if t, ok := c.existing[key]; ok {
				t.Add(slot, delta)
			} else {
				known = false
			}
		})
	}
	return known
}

func (c *affinityCheck) accountOwn(slot int, p *cluster.Pod, delta int64) {
	if len(c.affinity) > 0 && cluster.MatchesAll(c.affinity, p.Object, nil) {
		for _, t := range c.matching {
			t.Add(slot, delta)
		}
	}
	for i := range c.anti {
		if c.anti[i].Matches(p.Object, nil) {
			c.repelled[i].Add(slot, delta)
		}
	}
}

// eachRepelling calls f with the topology key of each anti-affinity term of
// another pod that speaks of this one.
func (c *affinityCheck) eachRepelling(other *cluster.Pod, f func(key string)) {
	for i := range other.RequiredAntiAffinity {
		if t := &other.RequiredAntiAffinity[i]; t.Matches(c.pod.Object, c.namespace) {
			f(t.Key)
		}
	}
}
