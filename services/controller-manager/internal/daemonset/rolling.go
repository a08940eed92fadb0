package daemonset

import (
	"maps"
	"slices"
	"sync"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// pair is the pods of a node that live: at most one of each kind, else the
// node is left to manage.
func (r *round) pair(node string) (fresh, old *corev1.Pod, ok bool) {
	for _, p := range r.on[node] {
		switch {
		case p.DeletionTimestamp != nil:
		case r.updated(p) && fresh == nil:
			fresh = p
		case !r.updated(p) && old == nil:
			old = p
		default:
			return nil, nil, false
		}
	}
	return fresh, old, true
}

// roll replaces old pods within the limits of the update strategy.
func (r *round) roll() {
	runs := map[string]bool{}
	desired := 0
	for _, n := range r.Nodes {
		if run, _ := r.fit.on(n); run {
			runs[n.Name] = true
			desired++
		}
	}
	surge, unavailable := r.limits(desired)
	if surge == 0 {
		r.rollDown(runs, max(unavailable, 1))
	} else {
		r.rollUp(runs, desired, surge)
	}
}

// nodes is every node that has or should have a pod, in order.
func (r *round) nodes(runs map[string]bool) []string {
	all := maps.Clone(runs)
	for n := range r.on {
		all[n] = true
	}
	return slices.Sorted(maps.Keys(all))
}

// rollDown deletes old pods; manage makes new ones in their places.
func (r *round) rollDown(runs map[string]bool, most int) {
	down := 0
	var candidates []*corev1.Pod
	for _, node := range r.nodes(runs) {
		fresh, old, ok := r.pair(node)
		switch {
		case !ok, fresh == nil && old == nil, fresh != nil && old != nil:
			down++
		case fresh != nil:
			if !r.available(fresh) {
				down++
			}
		case !r.available(old):
			r.remove = append(r.remove, old) // it costs nothing
			down++
		default:
			candidates = append(candidates, old)
		}
	}
	r.remove = append(r.remove, candidates[:min(len(candidates), max(0, most-down))]...)
}

// rollUp makes new pods beside old ones, and deletes those when the new are
// available.
func (r *round) rollUp(runs map[string]bool, desired, most int) {
	surging, available := 0, 0
	var candidates []string
	var misplaced []*corev1.Pod
	for _, node := range r.nodes(runs) {
		fresh, old, ok := r.pair(node)
		if !ok {
			surging++
			continue
		}
		serves := old
		if serves == nil {
			serves = fresh
		}
		if serves != nil && r.available(serves) {
			available++
		}
		switch {
		case old == nil:
		case fresh != nil && !r.available(fresh):
			surging++
		case fresh != nil:
			r.remove = append(r.remove, old)
		case !r.available(old) && !runs[node]:
			r.remove = append(r.remove, old)
		case !r.available(old):
			r.create = append(r.create, node)
		case !runs[node]:
			misplaced = append(misplaced, old)
		default:
			candidates = append(candidates, node)
		}
	}
	// Pods on nodes where they no longer belong stay until enough others serve.
	r.remove = append(r.remove, misplaced[:min(len(misplaced), max(0, available-desired))]...)
	r.create = append(r.create, candidates[:min(len(candidates), max(0, most-surging))]...)
}

// Back-off between failed pods on a node, as upstream's.
const (
	firstFailure   = time.Second
	longestFailure = 15 * time.Minute
)

// failures remembers how often the pods of a DaemonSet failed on a node.
type failures struct {
	mu sync.Mutex
	by map[types.UID]map[string]*failure
}

type failure struct {
	pod   types.UID
	count int
	due   time.Time
	last  time.Time
}

func (f *failures) forget(d types.UID) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.by, d)
}

// observe notes failed pods that are new, and returns when they may go.
func (f *failures) observe(d *appsv1.DaemonSet, list []*corev1.Pod, now time.Time) map[string]time.Time {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.by == nil {
		f.by = map[types.UID]map[string]*failure{}
	}
	nodes := f.by[d.UID]
	out := map[string]time.Time{}
	for _, p := range list {
		node := target(p)
		if p.Status.Phase != corev1.PodFailed || p.DeletionTimestamp != nil || node == "" {
			continue
		}
		if nodes == nil {
			nodes = map[string]*failure{}
			f.by[d.UID] = nodes
		}
		x := nodes[node]
		if x == nil || now.Sub(x.last) > 2*longestFailure {
			x = &failure{}
			nodes[node] = x
		}
		if x.pod != p.UID {
			x.due = now
			if x.count > 0 {
				x.due = now.Add(min(longestFailure, firstFailure<<min(x.count-1, 20)))
			}
			x.pod, x.count, x.last = p.UID, x.count+1, now
		}
		out[node] = x.due
	}
	return out
}
