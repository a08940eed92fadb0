package cluster

import (
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/labels"
)

// View is what filters and scores read: all nodes with their pods, and the
// objects around them. Filters never modify it.
type View struct {
	// Nodes by slot. A node keeps its slot while Epoch stays the same.
	Nodes []*Node
	// Epoch grows when nodes come, go, or change labels or taints, and when
	// namespaces do: everything that moves the borders of topology domains.
	Epoch uint64
	// Namespaces are their labels.
	Namespaces map[string]labels.Set
	// Holders is the number of nodes that have an image.
	Holders map[string]int
	// Claims tells how many pods use a claim, by namespace/name.
	Claims map[string]int

	Workloads Workloads
	Volumes   Volumes

	// promised are the volumes given to pods whose binding is under way.
	promised map[string]bool
	slots    map[string]int
	domains  map[string]*Domains
}

// Workloads answers which pods belong together.
type Workloads interface {
	// Siblings selects the pods that the services and the controller of a pod
	// select; Nothing or an empty selector if there are none.
	Siblings(pod *corev1.Pod) labels.Selector
}

// Volumes answers what is known of storage; nil means not found.
type Volumes interface {
	Claim(namespace, name string) *corev1.PersistentVolumeClaim
	Volume(name string) *corev1.PersistentVolume
	// VolumesOf lists the volumes of a storage class.
	VolumesOf(class string) []*corev1.PersistentVolume
	Class(name string) *storagev1.StorageClass
}

// Slot finds a node.
func (v *View) Slot(name string) (int, bool) {
	slot, ok := v.slots[name]
	return slot, ok
}

// Node finds a node; nil if there is none of that name.
func (v *View) Node(name string) *Node {
	if slot, ok := v.slots[name]; ok {
		return v.Nodes[slot]
	}
	return nil
}

// Domains divides the nodes by a topology key. The answer is kept until the
// borders move.
func (v *View) Domains(key string) *Domains {
	d, ok := v.domains[key]
	if !ok {
		d = divide(key, v.Nodes)
		v.domains[key] = d
	}
	return d
}

// Promised tells whether a volume is given to a pod whose binding is under way.
func (v *View) Promised(volume string) bool { return v.promised[volume] }

// EachPod calls f with every pod on a node.
func (v *View) EachPod(f func(slot int, p *Pod)) {
	for slot, n := range v.Nodes {
		for _, p := range n.Pods {
			f(slot, p)
		}
	}
}

// EachAffine calls f with every pod on a node that has affinity terms.
func (v *View) EachAffine(f func(slot int, p *Pod)) {
	for slot, n := range v.Nodes {
		for _, p := range n.Affine {
			f(slot, p)
		}
	}
}

// NamespacesMatching lists the namespaces whose labels a selector matches.
func (v *View) NamespacesMatching(s labels.Selector) []string {
	var names []string
	for name, set := range v.Namespaces {
		if s.Matches(set) {
			names = append(names, name)
		}
	}
	return names
}
