package nodes

import (
	"cmp"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/plan"
	"coracle.local/services/controller-manager/internal/pods"
)

func newTime(t time.Time) *metav1.Time { return &metav1.Time{Time: t} }

const (
	// quarantine is how long a node may be missing before it is asked for.
	quarantine = 40 * time.Second
	// gcPeriod gathers the ends of pods, when there are too many of them.
	gcPeriod = 20 * time.Second
	// byFinished is the index of pods that have ended.
	byFinished = "finished"
)

// gcState is a pod and its node.
type gcState struct {
	Pod  *corev1.Pod
	Node *corev1.Node
	// Missing is since when the node is not there; zero if it is.
	Missing time.Time
}

// PodGC is pod-garbage-collector-controller: pods that no kubelet will end, and
// ended pods beyond threshold; zero is no limit.
func PodGC(d loop.Deps, threshold int) []loop.Loop {
	nodes, podCache := cluster.Of[*corev1.Node](d.API), podsByNode(d.API)
	missing := &missingNodes{}
	unattended := loop.New(d, loop.Spec[loop.Key, gcState]{
		Name: "pod-garbage-collector-controller", Part: "unattended",
		Sources: []loop.Source[loop.Key]{
			{Cache: podCache, Keys: func(_, after kinds.Object) []loop.Key {
				p, ok := after.(*corev1.Pod)
				if !ok || !suspicious(nodes, p) {
					return nil
				}
				return []loop.Key{{Namespace: p.Namespace, Name: p.Name}}
			}},
			{Cache: nodes, Keys: func(before, after kinds.Object) []loop.Key { return podsOf(podCache, before, after) }},
		},
		Observe: func(k loop.Key, now time.Time) (gcState, bool) {
			p, ok := cluster.Get[*corev1.Pod](podCache, k.Namespace, k.Name)
			if !ok {
				return gcState{}, false
			}
			s := gcState{Pod: p}
			if p.Spec.NodeName != "" {
				n, there := cluster.Get[*corev1.Node](nodes, "", p.Spec.NodeName)
				s.Node, s.Missing = n, missing.since(p.Spec.NodeName, there, now)
			}
			return s, true
		},
		Compute: computeGC,
	})
	if threshold <= 0 {
		return []loop.Loop{unattended}
	}
	return []loop.Loop{unattended, finishedLoop(d, podCache, threshold)}
}

func suspicious(nodes cluster.Cache, p *corev1.Pod) bool {
	if p.DeletionTimestamp != nil {
		return true
	}
	if p.Spec.NodeName == "" {
		return false
	}
	_, there := cluster.Get[*corev1.Node](nodes, "", p.Spec.NodeName)
	return !there
}

// podsOf is the pods of a node that went, or that was declared out of service.
func podsOf(podCache cluster.Cache, before, after kinds.Object) []loop.Key {
	n, ok := after.(*corev1.Node)
	if ok && taintAny(n, corev1.TaintNodeOutOfService) == nil {
		return nil
	}
	name := ""
	if ok {
		name = n.Name
	} else {
		name = before.GetName()
	}
	var out []loop.Key
	for _, p := range cluster.By[*corev1.Pod](podCache, byNode, name) {
		out = append(out, loop.Key{Namespace: p.Namespace, Name: p.Name})
	}
	return out
}

func taintAny(n *corev1.Node, key string) *corev1.Taint {
	for i := range n.Spec.Taints {
		if n.Spec.Taints[i].Key == key {
			return &n.Spec.Taints[i]
		}
	}
	return nil
}

func computeGC(s gcState, now time.Time) plan.Plan {
	p := s.Pod
	switch {
	case p.Spec.NodeName == "":
		if p.DeletionTimestamp != nil {
			return end(p, "", "", now)
		}
	case s.Node != nil:
		if p.DeletionTimestamp != nil && readyStatus(s.Node) != corev1.ConditionTrue && taintAny(s.Node, corev1.TaintNodeOutOfService) != nil {
			return end(p, "", "", now)
		}
	default:
		if left := s.Missing.Add(quarantine).Sub(now); left > 0 {
			return plan.Plan{After: left}
		}
		get := plan.Get{Kind: kinds.For[*corev1.Node](), Name: p.Spec.NodeName}
		return plan.Plan{Do: []plan.Action{get}, Then: func(out plan.Outcome) plan.Plan {
			if out.Err != nil {
				return plan.Plan{}
			}
			if out.Results[0].Object != nil {
				return plan.Plan{After: quarantine}
			}
			return end(p, "DeletionByPodGC", "PodGC: node no longer exists", now)
		}}
	}
	return plan.Plan{}
}

// end marks a pod failed, as no kubelet will, and deletes it at once.
func end(p *corev1.Pod, reason, message string, now time.Time) plan.Plan {
	var out plan.Plan
	if !pods.Finished(p) {
		out.Add(disrupted(p, reason, message, corev1.PodFailed, now))
	}
	remove := plan.DeleteOf(p)
	remove.Options.GracePeriodSeconds = ptr.To[int64](0)
	out.Add(remove)
	return out
}

// missingNodes remembers since when nodes are missing that pods name.
type missingNodes struct {
	mu sync.Mutex
	at map[string]time.Time
}

func (m *missingNodes) since(name string, there bool, now time.Time) time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	if there {
		delete(m.at, name)
		return time.Time{}
	}
	if m.at == nil {
		m.at = map[string]time.Time{}
	}
	if _, ok := m.at[name]; !ok {
		m.at[name] = now
	}
	return m.at[name]
}

// finishedLoop deletes the oldest of the pods that have ended, evicted ones
// first, beyond a number.
func finishedLoop(d loop.Deps, podCache cluster.Cache, threshold int) loop.Loop {
	podCache.Index(byFinished, func(v any) ([]string, error) {
		if p, ok := v.(*corev1.Pod); ok && pods.Finished(p) {
			return []string{byFinished}, nil
		}
		return nil, nil
	})
	return loop.New(d, loop.Spec[string, []*corev1.Pod]{
		Name: "pod-garbage-collector-controller", Part: "finished", Workers: 1,
		Sources: []loop.Source[string]{{Cache: podCache, Delay: gcPeriod, Keys: func(_, after kinds.Object) []string {
			if p, ok := after.(*corev1.Pod); !ok || !pods.Finished(p) {
				return nil
			}
			return []string{byFinished}
		}}},
		Observe: func(string, time.Time) ([]*corev1.Pod, bool) {
			keys, err := podCache.Indexer().IndexKeys(byFinished, byFinished)
			if err != nil || len(keys) <= threshold {
				return nil, false
			}
			return cluster.By[*corev1.Pod](podCache, byFinished, byFinished), true
		},
		Compute: func(all []*corev1.Pod, now time.Time) plan.Plan { return trim(all, threshold, now) },
	})
}

func trim(all []*corev1.Pod, threshold int, now time.Time) plan.Plan {
	evicted := func(p *corev1.Pod) int {
		if p.Status.Phase == corev1.PodFailed && p.Status.Reason == "Evicted" {
			return 0
		}
		return 1
	}
	slices.SortStableFunc(all, func(a, b *corev1.Pod) int {
		return cmp.Or(cmp.Compare(evicted(a), evicted(b)), a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Name, b.Name))
	})
	var remove plan.Parallel
	for _, p := range all[:max(0, len(all)-threshold)] {
		remove.Parts = append(remove.Parts, end(p, "", "", now).Do...)
	}
	return plan.Plan{Do: []plan.Action{remove}}
}
