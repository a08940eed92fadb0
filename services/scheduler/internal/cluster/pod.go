package cluster

import (
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"
	corev1helpers "k8s.io/component-helpers/scheduling/corev1"
)

// Pod is a pod with everything computed that filters and scores ask for more
// than once. It is never modified.
type Pod struct {
	Object *corev1.Pod
	// Requests count against a node's allocatable; Scored is what scores take
	// the pod's CPU and memory to be.
	Requests, Scored Resources
	Priority         int32
	HostPorts        []HostPort

	RequiredAffinity, RequiredAntiAffinity   []Term
	PreferredAffinity, PreferredAntiAffinity []WeightedTerm
	// Invalid tells why the pod's affinity cannot be understood.
	Invalid error
}

// HostPort is a port of the node that a pod occupies.
type HostPort struct {
	IP       string
	Protocol corev1.Protocol
	Port     int32
}

// anyIP is what an empty host IP means.
const anyIP = "0.0.0.0"

// NewPod computes. The object belongs to the Pod from now on.
func NewPod(object *corev1.Pod) *Pod {
	p := &Pod{Object: object, Priority: corev1helpers.PodPriority(object), HostPorts: hostPortsOf(object)}
	p.Requests, p.Scored = requestsOf(object)
	if object.Spec.Affinity != nil {
		p.Invalid = p.readAffinity(object.Spec.Affinity)
	}
	return p
}

// UID is the pod's identity.
func (p *Pod) UID() types.UID { return p.Object.UID }

// Name is namespace/name.
func (p *Pod) Name() string { return p.Object.Namespace + "/" + p.Object.Name }

// Terminating pods hold their resources and are no longer counted by topology
// spread constraints.
func (p *Pod) Terminating() bool { return p.Object.DeletionTimestamp != nil }

// HasAffinity tells whether the pod has terms that bear on other pods.
func (p *Pod) HasAffinity() bool {
	a := p.Object.Spec.Affinity
	return a != nil && (a.PodAffinity != nil || a.PodAntiAffinity != nil)
}

func (p *Pod) readAffinity(a *corev1.Affinity) error {
	var err error
	if a.PodAffinity != nil {
		if p.RequiredAffinity, err = termsOf(p.Object, a.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution); err != nil {
			return fmt.Errorf("read pod affinity: %w", err)
		}
		if p.PreferredAffinity, err = weightedTermsOf(p.Object, a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution); err != nil {
			return fmt.Errorf("read preferred pod affinity: %w", err)
		}
	}
	if a.PodAntiAffinity != nil {
		if p.RequiredAntiAffinity, err = termsOf(p.Object, a.PodAntiAffinity.RequiredDuringSchedulingIgnoredDuringExecution); err != nil {
			return fmt.Errorf("read pod anti-affinity: %w", err)
		}
		if p.PreferredAntiAffinity, err = weightedTermsOf(p.Object, a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution); err != nil {
			return fmt.Errorf("read preferred pod anti-affinity: %w", err)
		}
	}
	return nil
}

// hostPortsOf collects the ports of containers that run as long as the pod.
func hostPortsOf(pod *corev1.Pod) []HostPort {
	var ports []HostPort
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort <= 0 {
				continue
			}
			hp := HostPort{IP: p.HostIP, Protocol: p.Protocol, Port: p.HostPort}
			if hp.IP == "" {
				hp.IP = anyIP
			}
			if hp.Protocol == "" {
				hp.Protocol = corev1.ProtocolTCP
			}
			ports = append(ports, hp)
		}
	}
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			add(c)
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	return ports
}

// Conflicts tells whether two ports cannot be held at once.
func (h HostPort) Conflicts(other HostPort) bool {
	return h.Port == other.Port && h.Protocol == other.Protocol &&
		(h.IP == other.IP || h.IP == anyIP || other.IP == anyIP)
}

// sameForOthers tells whether an update leaves everything as it was that
// other pods' placements depend on. Most updates of a running pod do: they
// report its status.
func sameForOthers(old, now *corev1.Pod) bool {
	return (old.DeletionTimestamp == nil) == (now.DeletionTimestamp == nil) &&
		maps.Equal(old.Labels, now.Labels) &&
		old.Namespace == now.Namespace &&
		sameResources(old, now)
}

// sameResources tells whether the pod's requests are the same. Only an
// in-place resize changes them, in the spec and then in the status.
func sameResources(old, now *corev1.Pod) bool {
	if len(old.Spec.Containers) != len(now.Spec.Containers) || len(old.Spec.InitContainers) != len(now.Spec.InitContainers) {
		return false
	}
	for i := range now.Spec.Containers {
		if !sameList(old.Spec.Containers[i].Resources.Requests, now.Spec.Containers[i].Resources.Requests) {
			return false
		}
	}
	for i := range now.Spec.InitContainers {
		if !sameList(old.Spec.InitContainers[i].Resources.Requests, now.Spec.InitContainers[i].Resources.Requests) {
			return false
		}
	}
	return equality.Semantic.DeepEqual(old.Spec.Resources, now.Spec.Resources) &&
		sameStatusResources(old.Status.ContainerStatuses, now.Status.ContainerStatuses) &&
		sameStatusResources(old.Status.InitContainerStatuses, now.Status.InitContainerStatuses)
}

func sameStatusResources(old, now []corev1.ContainerStatus) bool {
	if len(old) != len(now) {
		return false
	}
	for i := range now {
		if !sameList(old[i].AllocatedResources, now[i].AllocatedResources) {
			return false
		}
		a, b := old[i].Resources, now[i].Resources
		if (a == nil) != (b == nil) || (a != nil && !sameList(a.Requests, b.Requests)) {
			return false
		}
	}
	return true
}

func sameList(a, b corev1.ResourceList) bool {
	if len(a) != len(b) {
		return false
	}
	for name, q := range a {
		other, ok := b[name]
		if !ok || q.Cmp(other) != 0 {
			return false
		}
	}
	return true
}
