package nodes

import (
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/klog/v2"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/plan"
	"coracle.local/services/controller-manager/internal/pods"
)

// evictionState is a pod and the taints of its node that evict, each with the
// time since when it is there.
type evictionState struct {
	Pod    *corev1.Pod
	Taints []corev1.Taint
}

// TaintEviction is taint-eviction-controller. Its timers follow from the times
// in taints and pods, so that a restart neither forgets nor prolongs them.
func TaintEviction(d loop.Deps) loop.Loop {
	nodes, podCache := cluster.Of[*corev1.Node](d.API), podsByNode(d.API)
	undated := &undatedTaints{}
	return loop.New(d, loop.Spec[loop.Key, evictionState]{
		Name: "taint-eviction-controller", Workers: 8,
		Sources: []loop.Source[loop.Key]{
			{Cache: podCache, Keys: func(before, after kinds.Object) []loop.Key { return tolerationsChanged(nodes, before, after) }},
			{Cache: nodes, Keys: func(before, after kinds.Object) []loop.Key { return taintsChanged(podCache, before, after) }},
		},
		Observe: func(k loop.Key, now time.Time) (evictionState, bool) {
			p, ok := cluster.Get[*corev1.Pod](podCache, k.Namespace, k.Name)
			if !ok || p.DeletionTimestamp != nil || p.Spec.NodeName == "" {
				return evictionState{}, false
			}
			n, ok := cluster.Get[*corev1.Node](nodes, "", p.Spec.NodeName)
			if !ok {
				return evictionState{}, false
			}
			return evictionState{Pod: p, Taints: undated.date(n, noExecute(n), now)}, true
		},
		Compute: computeEviction,
	})
}

func noExecute(n *corev1.Node) []corev1.Taint {
	return without(n.Spec.Taints, func(t corev1.Taint) bool { return t.Effect != corev1.TaintEffectNoExecute })
}

func tolerationsChanged(nodes cluster.Cache, before, after kinds.Object) []loop.Key {
	p, ok := after.(*corev1.Pod)
	if !ok || p.Spec.NodeName == "" {
		return nil
	}
	if old, ok := before.(*corev1.Pod); ok && old.Spec.NodeName == p.Spec.NodeName &&
		apiequality.Semantic.DeepEqual(old.Spec.Tolerations, p.Spec.Tolerations) {
		return nil
	}
	if n, ok := cluster.Get[*corev1.Node](nodes, "", p.Spec.NodeName); !ok || len(noExecute(n)) == 0 {
		return nil // the node wakes its pods when it comes, or is tainted
	}
	return []loop.Key{{Namespace: p.Namespace, Name: p.Name}}
}

func taintsChanged(podCache cluster.Cache, before, after kinds.Object) []loop.Key {
	n, ok := after.(*corev1.Node)
	if !ok {
		return nil
	}
	if old, ok := before.(*corev1.Node); ok && apiequality.Semantic.DeepEqual(noExecute(old), noExecute(n)) || !ok && len(noExecute(n)) == 0 {
		return nil
	}
	var out []loop.Key
	for _, p := range cluster.By[*corev1.Pod](podCache, byNode, n.Name) {
		out = append(out, loop.Key{Namespace: p.Namespace, Name: p.Name})
	}
	return out
}

// computeEviction deletes a pod when the first of its tolerations has run out.
func computeEviction(s evictionState, now time.Time) plan.Plan {
	var due time.Time
	for i := range s.Taints {
		t := &s.Taints[i]
		seconds, tolerated := tolerated(s.Pod, t)
		if tolerated && seconds == nil {
			continue
		}
		end := now
		if tolerated {
			since := t.TimeAdded.Time
			if b := boundAt(s.Pod); b.After(since) {
				since = b
			}
			end = since.Add(time.Duration(max(0, *seconds)) * time.Second)
		}
		if due.IsZero() || end.Before(due) {
			due = end
		}
	}
	if due.IsZero() {
		return plan.Plan{}
	}
	if left := due.Sub(now); left > 0 {
		return plan.Plan{After: left}
	}
	p := s.Pod
	return plan.Plan{Do: []plan.Action{
		plan.Event{
			About: p, Type: corev1.EventTypeNormal, Reason: "TaintManagerEviction",
			Message: fmt.Sprintf("Marking for deletion Pod %s/%s", p.Namespace, p.Name),
		},
		disrupted(p, "DeletionByTaintManager", "Taint manager: deleting due to NoExecute taint", "", now),
		plan.DeleteOf(p),
	}}
}

// tolerated is how long a pod tolerates a taint; nil seconds is for ever.
func tolerated(p *corev1.Pod, t *corev1.Taint) (seconds *int64, ok bool) {
	for i := range p.Spec.Tolerations {
		if p.Spec.Tolerations[i].ToleratesTaint(klog.Logger{}, t, false) {
			return p.Spec.Tolerations[i].TolerationSeconds, true
		}
	}
	return nil, false
}

// boundAt is since when a pod is on its node.
func boundAt(p *corev1.Pod) time.Time {
	if c := pods.Condition(p, corev1.PodScheduled); c != nil && c.Status == corev1.ConditionTrue && !c.LastTransitionTime.IsZero() {
		return c.LastTransitionTime.Time
	}
	return p.CreationTimestamp.Time
}

// undatedTaints remembers when taints were first seen that say nothing of when
// they were added, as those that people set.
type undatedTaints struct {
	mu   sync.Mutex
	seen map[string]map[string]time.Time
}

// date returns taints that all have a time.
func (u *undatedTaints) date(n *corev1.Node, taints []corev1.Taint, now time.Time) []corev1.Taint {
	u.mu.Lock()
	defer u.mu.Unlock()
	if u.seen == nil {
		u.seen = map[string]map[string]time.Time{}
	}
	old, kept := u.seen[n.Name], map[string]time.Time{}
	for i := range taints {
		t := &taints[i]
		if t.TimeAdded != nil {
			continue
		}
		k := string(n.UID) + "/" + t.ToString()
		at, ok := old[k]
		if !ok {
			at = now
		}
		kept[k] = at
		t.TimeAdded = newTime(at)
	}
	if len(kept) == 0 {
		delete(u.seen, n.Name)
	} else {
		u.seen[n.Name] = kept
	}
	return taints
}
