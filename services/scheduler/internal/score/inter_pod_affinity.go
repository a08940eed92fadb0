package score

import (
	"math"

	"k8s.io/apimachinery/pkg/labels"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/filter"
)

// requiredWeight is what a pod's requirement to be near another is worth to
// that other, which need not be near in turn.
const requiredWeight = 1

type interPodAffinity struct{}

func (interPodAffinity) Name() string  { return filter.InterPodAffinity }
func (interPodAffinity) Weight() int64 { return 2 }

func (interPodAffinity) Prepare(p *cluster.Pod, v *cluster.View) Prepared {
	a := &attraction{
		pod: p, namespace: v.Namespaces[p.Object.Namespace],
		near: filter.UnrollWeighted(p.PreferredAffinity, v), away: filter.UnrollWeighted(p.PreferredAntiAffinity, v),
		tallies: map[string]*cluster.Tally{},
	}
	tally := func(key string) *cluster.Tally {
		t, ok := a.tallies[key]
		if !ok {
			t = cluster.NewTally(v.Domains(key))
			a.tallies[key] = t
			a.order = append(a.order, t)
		}
		return t
	}
	// Terms of the pod itself have a tally even when nobody matches yet.
	for i := range a.near {
		tally(a.near[i].Key)
	}
	for i := range a.away {
		tally(a.away[i].Key)
	}
	count := func(slot int, other *cluster.Pod) {
		a.each(other, func(key string, weight int64) { tally(key).Add(slot, weight) })
	}
	if len(a.near)+len(a.away) > 0 {
		v.EachPod(count)
	} else {
		v.EachAffine(count)
	}
	return Prepared{Topology: a}
}

// attraction sums, by topology domain, the weights of all preferences between
// the pod and those that are there.
type attraction struct {
	pod        *cluster.Pod
	namespace  labels.Set
	near, away []cluster.WeightedTerm
	tallies    map[string]*cluster.Tally
	order      []*cluster.Tally
}

// each calls f with the topology key and the signed weight of every preference
// that binds the pod and another.
func (a *attraction) each(other *cluster.Pod, f func(key string, weight int64)) {
	for i := range a.near {
		if a.near[i].Matches(other.Object, nil) {
			f(a.near[i].Key, a.near[i].Weight)
		}
	}
	for i := range a.away {
		if a.away[i].Matches(other.Object, nil) {
			f(a.away[i].Key, -a.away[i].Weight)
		}
	}
	for i := range other.RequiredAffinity {
		if t := &other.RequiredAffinity[i]; t.Matches(a.pod.Object, a.namespace) {
			f(t.Key, requiredWeight)
		}
	}
	for i := range other.PreferredAffinity {
		if t := &other.PreferredAffinity[i]; t.Matches(a.pod.Object, a.namespace) {
			f(t.Key, t.Weight)
		}
	}
	for i := range other.PreferredAntiAffinity {
		if t := &other.PreferredAntiAffinity[i]; t.Matches(a.pod.Object, a.namespace) {
			f(t.Key, -t.Weight)
		}
	}
}

func (a *attraction) Register(s *cluster.Spots) {
	for _, t := range a.order {
		s.Register(t)
	}
}

func (a *attraction) Begin(Field) {}

func (a *attraction) Place(s cluster.Spot) int64 {
	var value int64
	for _, t := range a.order {
		if n, ok := s.Count(t); ok {
			value += n
		}
	}
	return value
}

func (a *attraction) Account(slot int, p *cluster.Pod, delta int64) bool {
	known := true
	a.each(p, func(key string, weight int64) {
		if t, ok := a.tallies[key]; ok {
			t.Add(slot, delta*weight)
		} else {
			known = false
		}
	})
	return known
}

func (a *attraction) Normalize(values []int64) {
	least, most := int64(math.MaxInt64), int64(math.MinInt64)
	for _, v := range values {
		least, most = min(least, v), max(most, v)
	}
	for i, v := range values {
		values[i] = 0
		if most > least {
			values[i] = int64(float64(Max) * (float64(v-least) / float64(most-least)))
		}
	}
}
