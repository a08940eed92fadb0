package cluster

import (
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
)

// Node is a node with the pods that are or will be on it. It is never
// modified: every change makes another.
type Node struct {
	Object *corev1.Node

	Allocatable Resources
	MaxPods     int
	// Requested is the sum of the pods' requests, Scored what scores take for it.
	Requested, Scored Resources

	Pods []*Pod
	// Affine are the pods among them that have affinity terms.
	Affine []*Pod
	// Ports in use, with the number of holders.
	Ports map[HostPort]int
	// Images are sizes in bytes by normalized name.
	Images map[string]int64
}

// NewNode makes a node without pods.
func NewNode(object *corev1.Node) *Node {
	return (&Node{}).withObject(object)
}

// Name is the node's name.
func (n *Node) Name() string { return n.Object.Name }

// withObject gives the node another object and keeps the pods.
func (n *Node) withObject(object *corev1.Node) *Node {
	next := *n
	next.Object = object
	next.Allocatable = ResourcesOf(object.Status.Allocatable)
	next.MaxPods = int(object.Status.Allocatable.Pods().Value())
	next.Images = imagesOf(object)
	return &next
}

// With adds a pod.
func (n *Node) With(p *Pod) *Node {
	next := *n
	next.Pods = appended(n.Pods, p)
	if p.HasAffinity() {
		next.Affine = appended(n.Affine, p)
	}
	next.Requested = n.Requested.Plus(p.Requests, 1)
	next.Scored = n.Scored.Plus(p.Scored, 1)
	if len(p.HostPorts) > 0 {
		next.Ports = maps.Clone(n.Ports)
		if next.Ports == nil {
			next.Ports = map[HostPort]int{}
		}
		for _, hp := range p.HostPorts {
			next.Ports[hp]++
		}
	}
	return &next
}

// Without removes a pod, which must be this very value.
func (n *Node) Without(p *Pod) *Node {
	i := slices.Index(n.Pods, p)
	if i < 0 {
		return n
	}
	next := *n
	next.Pods = slices.Concat(n.Pods[:i], n.Pods[i+1:])
	if j := slices.Index(n.Affine, p); j >= 0 {
		next.Affine = slices.Concat(n.Affine[:j], n.Affine[j+1:])
	}
	next.Requested = n.Requested.Plus(p.Requests, -1)
	next.Scored = n.Scored.Plus(p.Scored, -1)
	if len(p.HostPorts) > 0 {
		next.Ports = maps.Clone(n.Ports)
		for _, hp := range p.HostPorts {
			if next.Ports[hp]--; next.Ports[hp] <= 0 {
				delete(next.Ports, hp)
			}
		}
	}
	return &next
}

// replacing puts now in the place of old, which asks for the same.
func (n *Node) replacing(old, now *Pod) *Node {
	next := *n
	next.Pods = slices.Clone(n.Pods)
	next.Pods[slices.Index(n.Pods, old)] = now
	if j := slices.Index(n.Affine, old); j >= 0 {
		next.Affine = slices.Clone(n.Affine)
		next.Affine[j] = now
	}
	return &next
}

// appended never writes into the old slice's spare room, which other versions
// of the node share.
func appended(list []*Pod, p *Pod) []*Pod {
	out := make([]*Pod, len(list)+1)
	copy(out, list)
	out[len(list)] = p
	return out
}

func imagesOf(object *corev1.Node) map[string]int64 {
	if len(object.Status.Images) == 0 {
		return nil
	}
	images := make(map[string]int64, len(object.Status.Images))
	for i := range object.Status.Images {
		for _, name := range object.Status.Images[i].Names {
			images[name] = object.Status.Images[i].SizeBytes
		}
	}
	return images
}

// NormalizeImage adds the tag that an image name without one means.
func NormalizeImage(name string) string {
	if strings.LastIndex(name, ":") <= strings.LastIndex(name, "/") {
		return name + ":latest"
	}
	return name
}

// NodeChange tells which facts of a node an update changed.
type NodeChange uint8

// The facts that placements depend on.
const (
	NodeAllocatable NodeChange = 1 << iota
	NodeLabels
	NodeTaints
	NodeSchedulable
	NodeImages
	NodeFeatures
)

// diffNode compares two versions of a node.
func diffNode(old, now *corev1.Node) NodeChange {
	var c NodeChange
	if !sameList(old.Status.Allocatable, now.Status.Allocatable) {
		c |= NodeAllocatable
	}
	if !maps.Equal(old.Labels, now.Labels) {
		c |= NodeLabels
	}
	if !equality.Semantic.DeepEqual(old.Spec.Taints, now.Spec.Taints) {
		c |= NodeTaints
	}
	if old.Spec.Unschedulable != now.Spec.Unschedulable {
		c |= NodeSchedulable
	}
	if !sameImages(old.Status.Images, now.Status.Images) {
		c |= NodeImages
	}
	if !slices.Equal(old.Status.DeclaredFeatures, now.Status.DeclaredFeatures) {
		c |= NodeFeatures
	}
	return c
}

func sameImages(a, b []corev1.ContainerImage) bool {
	return slices.EqualFunc(a, b, func(x, y corev1.ContainerImage) bool {
		return x.SizeBytes == y.SizeBytes && slices.Equal(x.Names, y.Names)
	})
}
