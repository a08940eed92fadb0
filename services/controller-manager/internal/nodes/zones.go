package nodes

import (
	"cmp"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/component-helpers/node/topology"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/plan"
)

// LifecycleConfig is node-lifecycle-controller's flags.
type LifecycleConfig struct {
	// MonitorGracePeriod is how long a node may be silent; StartupGracePeriod
	// one that never reported.
	MonitorGracePeriod, StartupGracePeriod time.Duration
	// EvictionRate is how many nodes of a zone are tainted per second,
	// SecondaryEvictionRate the same in a zone where many are not ready.
	EvictionRate, SecondaryEvictionRate float64
	// LargeClusterSize is how many nodes a zone must have for the secondary
	// rate to apply, instead of none.
	LargeClusterSize int
	// UnhealthyZoneThreshold is the part of nodes not ready that makes a zone
	// unhealthy.
	UnhealthyZoneThreshold float64
}

// excludeDisruption is the label of nodes that do not count.
const excludeDisruption = "node.kubernetes.io/exclude-disruption"

// zoneState is what there is to see of a zone.
type zoneState struct {
	Nodes []*corev1.Node
	// Dark tells that no node of any zone is ready: more likely we are cut off
	// than they are all dead, and nobody is evicted.
	Dark bool
}

// zoneKey is a zone's key as the loop shows it.
func zoneKey(n *corev1.Node) string { return strings.ReplaceAll(topology.GetZoneKey(n), "\x00", "") }

// zoneLoop gives the taints that evict. It looks at a zone as a whole, since
// how fast nodes may be tainted depends on how the others are.
func zoneLoop(d loop.Deps, c LifecycleConfig) loop.Loop {
	nodes := cluster.Of[*corev1.Node](d.API)
	return loop.New(d, loop.Spec[string, zoneState]{
		Name: "node-lifecycle-controller", Part: "zones", Component: "node-controller", Workers: 1,
		Sources: []loop.Source[string]{{Cache: nodes, Keys: func(before, after kinds.Object) []string { return zonesOf(nodes, before, after) }}},
		Observe: func(zone string, _ time.Time) (zoneState, bool) {
			s := zoneState{Dark: true}
			for _, n := range cluster.List[*corev1.Node](nodes, "") {
				if _, excluded := n.Labels[excludeDisruption]; !excluded && readyStatus(n) == corev1.ConditionTrue {
					s.Dark = false
				}
				if zoneKey(n) == zone {
					s.Nodes = append(s.Nodes, n)
				}
			}
			return s, len(s.Nodes) > 0
		},
		Compute: func(s zoneState, now time.Time) plan.Plan { return computeZone(s, c, now) },
	})
}

// zonesOf is the zones that a change of a node concerns; all of them when it
// became ready or ceased to be.
func zonesOf(nodes cluster.Cache, before, after kinds.Object) []string {
	old, _ := before.(*corev1.Node)
	now, _ := after.(*corev1.Node)
	if old != nil && now != nil && readyStatus(old) == readyStatus(now) && zoneKey(old) == zoneKey(now) &&
		apiequality.Semantic.DeepEqual(old.Spec.Taints, now.Spec.Taints) {
		return nil
	}
	seen := map[string]bool{}
	for _, n := range []*corev1.Node{old, now} {
		if n != nil {
			seen[zoneKey(n)] = true
		}
	}
	if old != nil && (now == nil || readyStatus(old) != readyStatus(now)) {
		for _, n := range cluster.List[*corev1.Node](nodes, "") {
			seen[zoneKey(n)] = true
		}
	}
	var out []string
	for z := range seen {
		out = append(out, z)
	}
	slices.Sort(out)
	return out
}

func evicting(t corev1.Taint) bool {
	return t.Effect == corev1.TaintEffectNoExecute && (t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable)
}

// computeZone takes the taints off nodes that are ready, and gives them to
// those that are not, one at a time as fast as the rate allows. When the last
// one was given is read off the taints themselves, so that a restart of this
// process does not begin anew.
func computeZone(s zoneState, c LifecycleConfig, now time.Time) plan.Plan {
	var p plan.Plan
	var waiting []*corev1.Node
	var last time.Time
	for _, n := range s.Nodes {
		has := slices.DeleteFunc(slices.Clone(n.Spec.Taints), func(t corev1.Taint) bool { return !evicting(t) })
		want := evictionTaint(n)
		for _, t := range has {
			if t.TimeAdded != nil && t.TimeAdded.After(last) {
				last = t.TimeAdded.Time
			}
		}
		switch {
		case (s.Dark || want == nil) && len(has) > 0:
			p.Add(setTaints(n, without(n.Spec.Taints, evicting)))
		case s.Dark || want == nil, len(has) == 1 && has[0].Key == want.Key:
		case len(has) > 0:
			// From not ready to unreachable or back: the time goes on.
			want.TimeAdded = has[0].TimeAdded
			p.Add(setTaints(n, append(without(n.Spec.Taints, evicting), *want)))
		default:
			waiting = append(waiting, n)
		}
	}
	rate := zoneRate(s.Nodes, c)
	if len(waiting) == 0 || rate <= 0 {
		return p
	}
	pause := time.Duration(float64(time.Second) / rate)
	if left := last.Add(pause).Sub(now); left > 0 {
		p.Again(left)
		return p
	}
	slices.SortStableFunc(waiting, func(a, b *corev1.Node) int {
		return cmp.Compare(condition(a, corev1.NodeReady).LastTransitionTime.UnixNano(), condition(b, corev1.NodeReady).LastTransitionTime.UnixNano())
	})
	next := waiting[0]
	want := evictionTaint(next)
	want.TimeAdded = &metav1.Time{Time: now}
	p.Add(setTaints(next, append(without(next.Spec.Taints, evicting), *want)))
	if len(waiting) > 1 {
		p.Again(pause)
	}
	return p
}

// evictionTaint is the taint that a node should have; nil if it is ready, or
// never said whether it is.
func evictionTaint(n *corev1.Node) *corev1.Taint {
	c := condition(n, corev1.NodeReady)
	switch {
	case c == nil || c.Status == corev1.ConditionTrue:
		return nil
	case c.Status == corev1.ConditionFalse:
		return &corev1.Taint{Key: corev1.TaintNodeNotReady, Effect: corev1.TaintEffectNoExecute}
	}
	return &corev1.Taint{Key: corev1.TaintNodeUnreachable, Effect: corev1.TaintEffectNoExecute}
}

func zoneRate(nodes []*corev1.Node, c LifecycleConfig) float64 {
	var ready, notReady int
	for _, n := range nodes {
		if _, excluded := n.Labels[excludeDisruption]; excluded {
			continue
		}
		if readyStatus(n) == corev1.ConditionTrue {
			ready++
		} else {
			notReady++
		}
	}
	partial := ready > 0 && notReady > 2 && float64(notReady)/float64(ready+notReady) >= c.UnhealthyZoneThreshold
	switch {
	case !partial:
		return c.EvictionRate
	case ready+notReady > c.LargeClusterSize:
		return c.SecondaryEvictionRate
	}
	return 0
}
