package cluster

import (
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
)

// Change is one entry of the log: a pod came to or left a node, or, without a
// pod, the node's own facts changed.
type Change struct {
	Slot  int
	Pod   *Pod
	Delta int64
}

// logLength bounds the log of changes. Who is further behind starts anew.
const logLength = 8192

// placed is where a pod is.
type placed struct {
	pod  *Pod
	node string
	// assumed pods were placed by the scheduler and not yet seen bound.
	assumed bool
}

// State is the live cluster. It has one owner and no locks.
type State struct {
	View
	pods map[types.UID]*placed
	// stray are pods on nodes that are not known, by node name.
	stray map[string][]*Pod

	log  []Change
	base uint64

	// keys counts who looks at a pod label key in affinity terms; keysVersion
	// grows when the set of keys grows.
	keys        map[string]int
	keysVersion uint64
}

// NewState makes an empty cluster.
func NewState(w Workloads, v Volumes) *State {
	return &State{
		View: View{
			Namespaces: map[string]labels.Set{}, Holders: map[string]int{}, Claims: map[string]int{},
			Workloads: w, Volumes: v,
			slots: map[string]int{}, domains: map[string]*Domains{}, promised: map[string]bool{},
		},
		pods:  map[types.UID]*placed{},
		stray: map[string][]*Pod{},
		keys:  map[string]int{},
	}
}

// Snapshot is the view as it is now, for others to read at leisure.
func (s *State) Snapshot() *View {
	v := s.View
	v.Nodes = slices.Clone(s.Nodes)
	v.Namespaces, v.Holders, v.Claims = maps.Clone(s.Namespaces), maps.Clone(s.Holders), maps.Clone(s.Claims)
	v.slots, v.domains = maps.Clone(s.slots), map[string]*Domains{}
	v.promised = maps.Clone(s.promised)
	return &v
}

// Fork makes an independent state that starts from a view.
func Fork(v *View) *State {
	s := NewState(v.Workloads, v.Volumes)
	s.View = *v
	s.Nodes = slices.Clone(v.Nodes)
	s.Holders, s.Claims = maps.Clone(v.Holders), maps.Clone(v.Claims)
	s.slots, s.domains = maps.Clone(v.slots), map[string]*Domains{}
	s.promised = maps.Clone(v.promised)
	v.EachPod(func(slot int, p *Pod) {
		s.pods[p.UID()] = &placed{pod: p, node: v.Nodes[slot].Name()}
		s.countKeys(p, 1)
	})
	return s
}

// Sequence numbers the newest change.
func (s *State) Sequence() uint64 { return s.base + uint64(len(s.log)) }

// Since returns the changes after a sequence number; false if they are no
// longer known.
func (s *State) Since(sequence uint64) ([]Change, bool) {
	if sequence < s.base {
		return nil, false
	}
	return s.log[sequence-s.base:], true
}

func (s *State) record(c Change) {
	if len(s.log) == 2*logLength {
		s.base += logLength
		s.log = append(s.log[:0], s.log[logLength:]...)
	}
	s.log = append(s.log, c)
}

// moveBorders forgets all divisions into domains.
func (s *State) moveBorders() {
	s.Epoch++
	clear(s.domains)
}

// LooksAt tells whether any pod's affinity terms look at a pod label key.
func (s *State) LooksAt(key string) bool { return s.keys[key] > 0 }

// KeysVersion grows when LooksAt becomes true for another key.
func (s *State) KeysVersion() uint64 { return s.keysVersion }

func (s *State) countKeys(p *Pod, delta int) {
	p.EachKey(func(key string) {
		if s.keys[key] == 0 && delta > 0 {
			s.keysVersion++
		}
		if s.keys[key] += delta; s.keys[key] <= 0 {
			delete(s.keys, key)
		}
	})
}

// Lookup finds a pod that is on a node, and the node's name; assumed tells
// that the binding is not confirmed.
func (s *State) Lookup(uid types.UID) (p *Pod, node string, assumed bool) {
	if at, ok := s.pods[uid]; ok {
		return at.pod, at.node, at.assumed
	}
	return nil, "", false
}

// Pods is the number of pods on nodes.
func (s *State) Pods() int { return len(s.pods) }

// Promise gives volumes to a pod that is about to be bound.
func (s *State) Promise(volumes ...string) {
	for _, name := range volumes {
		s.promised[name] = true
	}
}

// Release takes a promise back, or notes that it was kept.
func (s *State) Release(volumes ...string) {
	for _, name := range volumes {
		delete(s.promised, name)
	}
}

// SetNamespace records a namespace's labels and reports whether they changed.
func (s *State) SetNamespace(ns *corev1.Namespace) bool {
	old, ok := s.Namespaces[ns.Name]
	if ok && maps.Equal(old, ns.Labels) {
		return false
	}
	s.Namespaces[ns.Name] = labels.Set(ns.Labels)
	s.moveBorders()
	return true
}

// RemoveNamespace forgets a namespace.
func (s *State) RemoveNamespace(name string) {
	if _, ok := s.Namespaces[name]; ok {
		delete(s.Namespaces, name)
		s.moveBorders()
	}
}
