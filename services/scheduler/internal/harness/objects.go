package harness

import (
	"hash/fnv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// PodOption shapes a pod.
type PodOption func(*corev1.Pod)

// NewPod makes a pending pod in the default namespace.
func NewPod(name string, options ...PodOption) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, UID: uid(name), Generation: 1},
		Spec: corev1.PodSpec{
			SchedulerName: corev1.DefaultSchedulerName,
			Containers:    []corev1.Container{{Name: "main", Image: "image"}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, option := range options {
		option(p)
	}
	return p
}

// uid derives 32 hexadecimal digits from a name, so that traces have an ID.
func uid(name string) types.UID {
	h := fnv.New128a()
	_, _ = h.Write([]byte(name))
	const digits = "0123456789abcdef"
	var out []byte
	for _, b := range h.Sum(nil) {
		out = append(out, digits[b>>4], digits[b&15])
	}
	return types.UID(out)
}

// Requests sets what the first container asks for.
func Requests(pairs ...string) PodOption {
	return func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests = List(pairs...) }
}

// List makes a resource list of names and quantities.
func List(pairs ...string) corev1.ResourceList {
	list := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		list[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return list
}

// Labels sets labels by name and value.
func Labels(pairs ...string) PodOption {
	return func(p *corev1.Pod) { p.Labels = pairsOf(pairs) }
}

// In puts the pod into a namespace.
func In(namespace string) PodOption {
	return func(p *corev1.Pod) { p.Namespace, p.UID = namespace, uid(namespace+"/"+p.Name) }
}

// On has the pod bound already.
func On(node string) PodOption { return func(p *corev1.Pod) { p.Spec.NodeName = node } }

// Priority sets the pod's priority.
func Priority(n int32) PodOption { return func(p *corev1.Pod) { p.Spec.Priority = &n } }

// Away keeps the pod from nodes that share a topology key's value with pods of
// a label.
func Away(topologyKey string, pairs ...string) PodOption {
	return func(p *corev1.Pod) {
		a := affinity(p)
		if a.PodAntiAffinity == nil {
			a.PodAntiAffinity = &corev1.PodAntiAffinity{}
		}
		list := &a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution
		*list = append(*list, term(topologyKey, pairs))
	}
}

// Near brings the pod to nodes that share a topology key's value with pods of
// a label.
func Near(topologyKey string, pairs ...string) PodOption {
	return func(p *corev1.Pod) {
		a := affinity(p)
		if a.PodAffinity == nil {
			a.PodAffinity = &corev1.PodAffinity{}
		}
		list := &a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution
		*list = append(*list, term(topologyKey, pairs))
	}
}

// Spread adds a topology spread constraint on pods of a label.
func Spread(skew int32, topologyKey string, action corev1.UnsatisfiableConstraintAction, pairs ...string) PodOption {
	return func(p *corev1.Pod) {
		p.Spec.TopologySpreadConstraints = append(p.Spec.TopologySpreadConstraints, corev1.TopologySpreadConstraint{
			MaxSkew: skew, TopologyKey: topologyKey, WhenUnsatisfiable: action,
			LabelSelector: &metav1.LabelSelector{MatchLabels: pairsOf(pairs)},
		})
	}
}

// Claim mounts a persistent volume claim.
func Claim(name string) PodOption {
	return func(p *corev1.Pod) {
		p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: name, VolumeSource: corev1.VolumeSource{
			PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: name},
		}})
	}
}

func affinity(p *corev1.Pod) *corev1.Affinity {
	if p.Spec.Affinity == nil {
		p.Spec.Affinity = &corev1.Affinity{}
	}
	return p.Spec.Affinity
}

func term(topologyKey string, pairs []string) corev1.PodAffinityTerm {
	return corev1.PodAffinityTerm{TopologyKey: topologyKey, LabelSelector: &metav1.LabelSelector{MatchLabels: pairsOf(pairs)}}
}

func pairsOf(pairs []string) map[string]string {
	m := map[string]string{}
	for i := 0; i < len(pairs); i += 2 {
		m[pairs[i]] = pairs[i+1]
	}
	return m
}

// NodeOption shapes a node.
type NodeOption func(*corev1.Node)

// NewNode makes a node of 4 CPUs, 8 GiB and room for 110 pods.
func NewNode(name string, options ...NodeOption) *corev1.Node {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}},
		Status:     corev1.NodeStatus{Allocatable: List("cpu", "4", "memory", "8Gi", "pods", "110", "ephemeral-storage", "100Gi")},
	}
	for _, option := range options {
		option(n)
	}
	return n
}

// Capacity sets allocatable resources beside those of NewNode.
func Capacity(pairs ...string) NodeOption {
	return func(n *corev1.Node) {
		for name, q := range List(pairs...) {
			n.Status.Allocatable[name] = q
		}
	}
}

// Label adds labels.
func Label(pairs ...string) NodeOption {
	return func(n *corev1.Node) {
		for name, value := range pairsOf(pairs) {
			n.Labels[name] = value
		}
	}
}

// Taint adds a taint.
func Taint(key string, effect corev1.TaintEffect) NodeOption {
	return func(n *corev1.Node) { n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{Key: key, Effect: effect}) }
}

// Cordoned makes the node unschedulable.
func Cordoned() NodeOption { return func(n *corev1.Node) { n.Spec.Unschedulable = true } }
