package nodes

import (
	"maps"
	"slices"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
	"coracle.local/services/controller-manager/internal/pods"
)

// healthState is what there is to see of one node.
type healthState struct {
	Node  *corev1.Node // nil if it is gone
	Gone  corev1.Node  // what it was
	Lease *coordinationv1.Lease
	Pods  []*corev1.Pod
	// Seen is when its kubelet was last seen alive; First that it was not
	// known before.
	Seen  time.Time
	First bool
}

// Lifecycle is node-lifecycle-controller: the health of each node, and, for
// each zone, the taints that evict.
func Lifecycle(d loop.Deps, c LifecycleConfig) []loop.Loop {
	nodes, leases, podCache := cluster.Of[*corev1.Node](d.API), cluster.Of[*coordinationv1.Lease](d.API), podsByNode(d.API)
	beats := &heartbeats{}
	leases.OnChange(func(_, after kinds.Object) {
		// A renewal need not wake anybody: it only puts off the end of the grace.
		if l, ok := after.(*coordinationv1.Lease); ok && l.Namespace == corev1.NamespaceNodeLease {
			beats.renewal(l, d.Clock.Now())
		}
	})
	health := loop.New(d, loop.Spec[loop.Key, healthState]{
		Name: "node-lifecycle-controller", Part: "health", Component: "node-controller", Workers: 8,
		Sources: []loop.Source[loop.Key]{
			{Cache: nodes, Keys: owner.Self},
			// A pod that comes to a node which is not ready.
			{Cache: podCache, Keys: func(before, after kinds.Object) []loop.Key { return bound(nodes, before, after) }},
		},
		Reads: []cluster.Cache{leases},
		Observe: func(k loop.Key, now time.Time) (healthState, bool) {
			n, ok := cluster.Get[*corev1.Node](nodes, "", k.Name)
			if !ok {
				gone, known := beats.gone(k.Name)
				return healthState{Gone: gone}, known
			}
			s := healthState{Node: n}
			s.Lease, _ = cluster.Get[*coordinationv1.Lease](leases, corev1.NamespaceNodeLease, k.Name)
			s.Seen, s.First = beats.observe(n, s.Lease, now)
			s.Pods = cluster.By[*corev1.Pod](podCache, byNode, k.Name)
			return s, true
		},
		Compute: func(s healthState, now time.Time) plan.Plan { return computeHealth(s, c, now) },
	})
	return []loop.Loop{health, zoneLoop(d, c)}
}

func bound(nodes cluster.Cache, before, after kinds.Object) []loop.Key {
	p, ok := after.(*corev1.Pod)
	if !ok || p.Spec.NodeName == "" {
		return nil
	}
	if old, ok := before.(*corev1.Pod); ok && old.Spec.NodeName == p.Spec.NodeName && pods.Ready(old) == pods.Ready(p) {
		return nil
	}
	if n, ok := cluster.Get[*corev1.Node](nodes, "", p.Spec.NodeName); !ok || readyStatus(n) == corev1.ConditionTrue {
		return nil
	}
	return []loop.Key{{Name: p.Spec.NodeName}}
}

func computeHealth(s healthState, c LifecycleConfig, now time.Time) plan.Plan {
	if s.Node == nil {
		return plan.Plan{Do: []plan.Action{nodeEvent(&s.Gone, "RemovingNode", "Removing Node %s from Controller", s.Gone.Name)}}
	}
	var p plan.Plan
	if s.First {
		p.Add(nodeEvent(s.Node, "RegisteredNode", "Registered Node %s in Controller", s.Node.Name))
	}
	grace := c.MonitorGracePeriod
	if condition(s.Node, corev1.NodeReady) == nil {
		grace = c.StartupGracePeriod
	}
	if left := s.Seen.Add(grace).Sub(now); left >= 0 {
		p.Again(left + time.Millisecond)
	} else if unknown := silent(s.Node, now); unknown != nil {
		return suspect(s, unknown, p)
	}
	p.Add(markPods(s.Node, s.Pods, now)...)
	if taints := wantedTaints(s.Node, now); !apiequality.Semantic.DeepEqual(taints, s.Node.Spec.Taints) {
		p.Add(setTaints(s.Node, taints))
	}
	if labels := wantedLabels(s.Node); !maps.Equal(labels, s.Node.Labels) {
		p.Add(patchNode(s.Node, types.StrategicMergePatchType, map[string]any{"metadata": map[string]any{"labels": labels}}))
	}
	return p
}

// suspect asks the API server for the lease before a node is declared dead: the
// cache may be what is behind.
func suspect(s healthState, unknown *corev1.Node, p plan.Plan) plan.Plan {
	p.Add(plan.Get{Kind: kinds.For[*coordinationv1.Lease](), Namespace: corev1.NamespaceNodeLease, Name: s.Node.Name})
	p.Then = func(out plan.Outcome) plan.Plan {
		if out.Err != nil {
			return plan.Plan{}
		}
		if l, ok := out.Results[len(out.Results)-1].Object.(*coordinationv1.Lease); ok && renewed(l).After(renewed(s.Lease)) {
			return plan.Plan{After: time.Second}
		}
		next := plan.Plan{Do: []plan.Action{plan.UpdateStatus(unknown)}}
		if readyStatus(s.Node) == corev1.ConditionTrue {
			next.Add(statusEvent(s.Node, "NodeNotReady"))
		}
		return next
	}
	return p
}

// silent is the node with the conditions of one whose kubelet is not heard of;
// nil if it has them already.
func silent(n *corev1.Node, now time.Time) *corev1.Node {
	before, n := n, n.DeepCopy()
	for _, t := range []corev1.NodeConditionType{corev1.NodeReady, corev1.NodeMemoryPressure, corev1.NodeDiskPressure, corev1.NodePIDPressure} {
		c := condition(n, t)
		switch {
		case c == nil:
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{
				Type: t, Status: corev1.ConditionUnknown,
				Reason: "NodeStatusNeverUpdated", Message: "Kubelet never posted node status.",
				LastHeartbeatTime: n.CreationTimestamp, LastTransitionTime: metav1.NewTime(now),
			})
		case c.Status != corev1.ConditionUnknown:
			c.Status, c.Reason, c.Message = corev1.ConditionUnknown, "NodeStatusUnknown", "Kubelet stopped posting node status."
			c.LastTransitionTime = metav1.NewTime(now)
		}
	}
	if apiequality.Semantic.DeepEqual(before.Status.Conditions, n.Status.Conditions) {
		return nil
	}
	return n
}

// markPods takes readiness from the pods of a node that is not ready. A pod
// that became ready after its node ceased to be is left alone: a kubelet that
// reports not ready may well run pods, and would say so again and again.
func markPods(n *corev1.Node, list []*corev1.Pod, now time.Time) []plan.Action {
	c := condition(n, corev1.NodeReady)
	if c == nil || c.Status == corev1.ConditionTrue {
		return nil
	}
	var mark plan.Parallel
	for _, p := range list {
		ready := pods.Condition(p, corev1.PodReady)
		if ready == nil || ready.Status != corev1.ConditionTrue ||
			c.Status == corev1.ConditionFalse && ready.LastTransitionTime.After(c.LastTransitionTime.Time) {
			continue
		}
		p = p.DeepCopy()
		next := *ready
		next.Status, next.LastTransitionTime = corev1.ConditionFalse, metav1.NewTime(now)
		pods.SetCondition(&p.Status, next)
		mark.Parts = append(mark.Parts, plan.Sequence{
			plan.Update{Object: p, Subresource: "status", MayMiss: true},
			plan.Event{About: p, Type: corev1.EventTypeWarning, Reason: "NodeNotReady", Message: "Node is not ready"},
		})
	}
	if len(mark.Parts) == 0 {
		return nil
	}
	return []plan.Action{mark}
}

// conditionTaints is which status of which condition makes which taint.
var conditionTaints = []struct {
	condition corev1.NodeConditionType
	status    corev1.ConditionStatus
	key       string
}{
	{corev1.NodeReady, corev1.ConditionFalse, corev1.TaintNodeNotReady},
	{corev1.NodeReady, corev1.ConditionUnknown, corev1.TaintNodeUnreachable},
	{corev1.NodeMemoryPressure, corev1.ConditionTrue, corev1.TaintNodeMemoryPressure},
	{corev1.NodeDiskPressure, corev1.ConditionTrue, corev1.TaintNodeDiskPressure},
	{corev1.NodeNetworkUnavailable, corev1.ConditionTrue, corev1.TaintNodeNetworkUnavailable},
	{corev1.NodePIDPressure, corev1.ConditionTrue, corev1.TaintNodePIDPressure},
}

// wantedTaints is a node's taints with those of effect NoSchedule that follow
// from its conditions.
func wantedTaints(n *corev1.Node, now time.Time) []corev1.Taint {
	want := map[string]bool{corev1.TaintNodeUnschedulable: n.Spec.Unschedulable}
	for _, t := range conditionTaints {
		c := condition(n, t.condition)
		want[t.key] = want[t.key] || c != nil && c.Status == t.status
	}
	out := without(n.Spec.Taints, func(t corev1.Taint) bool {
		wanted, ours := want[t.Key]
		return t.Effect == corev1.TaintEffectNoSchedule && ours && !wanted
	})
	for _, key := range slices.Sorted(maps.Keys(want)) {
		if want[key] && taint(n, key, corev1.TaintEffectNoSchedule) == nil {
			out = append(out, corev1.Taint{Key: key, Effect: corev1.TaintEffectNoSchedule, TimeAdded: newTime(now)})
		}
	}
	return out
}

// wantedLabels keeps the beta labels of system and architecture as the stable
// ones say, for those who still select by them.
func wantedLabels(n *corev1.Node) map[string]string {
	out := maps.Clone(n.Labels)
	for stable, beta := range map[string]string{corev1.LabelOSStable: "beta.kubernetes.io/os", corev1.LabelArchStable: "beta.kubernetes.io/arch"} {
		if v, ok := out[stable]; ok {
			out[beta] = v
		}
	}
	return out
}
