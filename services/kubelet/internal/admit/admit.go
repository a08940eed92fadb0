// Package admit decides whether a node takes a pod that was bound to it. The
// scheduler has asked the same before, but others may bind pods too, and the
// node may have changed since.
package admit

import (
	"fmt"
	"runtime"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/component-helpers/resource"
	scheduling "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"

	"coracle.local/services/kubelet/internal/lifecycle"
)

// Admit returns why the node does not take the pod beside the others it has,
// or nil when it does. Reasons and messages are upstream's.
func Admit(pod *corev1.Pod, node *corev1.Node, others []*corev1.Pod) *lifecycle.Verdict {
	if v := operatingSystem(pod); v != nil {
		return v
	}
	if v := resources(pod, node, others); v != nil {
		return v
	}
	if fits, err := nodeaffinity.GetRequiredNodeAffinity(pod).Match(node); err != nil || !fits {
		return predicate("NodeAffinity", "node(s) didn't match Pod's node affinity/selector")
	}
	if pod.Spec.NodeName != "" && pod.Spec.NodeName != node.Name {
		return predicate("NodeName", "node(s) didn't match the requested node name")
	}
	if portsTaken(pod, others) {
		return predicate("NodePorts", "node(s) didn't have free ports for the requested pod ports")
	}
	_, untolerated := scheduling.FindMatchingUntoleratedTaint(klog.Background(), node.Spec.Taints, pod.Spec.Tolerations,
		func(t *corev1.Taint) bool { return t.Effect == corev1.TaintEffectNoExecute }, false)
	if untolerated {
		return predicate("TaintToleration", "node(s) had taints that the pod didn't tolerate")
	}
	return nil
}

func predicate(name, text string) *lifecycle.Verdict {
	return &lifecycle.Verdict{Reason: name, Message: fmt.Sprintf("Predicate %s failed: %s", name, text)}
}

func operatingSystem(pod *corev1.Pod) *lifecycle.Verdict {
	if want, ok := pod.Labels[corev1.LabelOSStable]; ok && want != runtime.GOOS {
		return &lifecycle.Verdict{
			Reason:  "PodOSSelectorNodeLabelDoesNotMatch",
			Message: "Failed to admit pod as the `kubernetes.io/os` label doesn't match node label",
		}
	}
	if pod.Spec.OS != nil && string(pod.Spec.OS.Name) != runtime.GOOS {
		return &lifecycle.Verdict{Reason: "PodOSNotSupported", Message: "Failed to admit pod as the OS field doesn't match node OS"}
	}
	return nil
}

// resources finds the first resource of which too little is left.
func resources(pod *corev1.Pod, node *corev1.Node, others []*corev1.Pod) *lifecycle.Verdict {
	allocatable := node.Status.Allocatable
	if capacity := allocatable.Pods().Value(); int64(len(others))+1 > capacity {
		return outOf(corev1.ResourcePods, 1, int64(len(others)), capacity)
	}
	requests := resource.PodRequests(pod, resource.PodResourcesOptions{})
	if len(requests) == 0 {
		return nil
	}
	used := corev1.ResourceList{}
	for _, o := range others {
		for name, q := range resource.PodRequests(o, resource.PodResourcesOptions{}) {
			sum := used[name]
			sum.Add(q)
			used[name] = sum
		}
	}
	for _, name := range names(requests) {
		have, known := allocatable[name]
		if !known && strings.Contains(string(name), "/") {
			continue // a resource of the cluster that nodes do not count
		}
		want, taken, capacity := amount(name, requests), amount(name, used), amount(name, corev1.ResourceList{name: have})
		if want > 0 && want > capacity-taken {
			return outOf(name, want, taken, capacity)
		}
	}
	return nil
}

// names has the resources in the order in which upstream complains.
func names(list corev1.ResourceList) []corev1.ResourceName {
	first := []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourceEphemeralStorage}
	var rest []corev1.ResourceName
	for name := range list {
		if !slices.Contains(first, name) {
			rest = append(rest, name)
		}
	}
	slices.Sort(rest)
	return append(first, rest...)
}

func amount(name corev1.ResourceName, list corev1.ResourceList) int64 {
	q := list[name]
	if name == corev1.ResourceCPU {
		return q.MilliValue()
	}
	return q.Value()
}

func outOf(name corev1.ResourceName, requested, used, capacity int64) *lifecycle.Verdict {
	return &lifecycle.Verdict{
		Reason: "OutOf" + string(name),
		Message: fmt.Sprintf("Node didn't have enough resource: %s, requested: %d, used: %d, capacity: %d",
			name, requested, used, capacity),
	}
}

// hostPort is a port of the node that a pod wants.
type hostPort struct {
	ip, protocol string
	port         int32
}

func portsTaken(pod *corev1.Pod, others []*corev1.Pod) bool {
	wanted := hostPorts(pod)
	if len(wanted) == 0 {
		return false
	}
	for _, o := range others {
		for _, taken := range hostPorts(o) {
			for _, w := range wanted {
				if w.port == taken.port && w.protocol == taken.protocol && (w.ip == taken.ip || w.ip == anyIP || taken.ip == anyIP) {
					return true
				}
			}
		}
	}
	return false
}

const anyIP = "0.0.0.0"

func hostPorts(pod *corev1.Pod) []hostPort {
	var out []hostPort
	add := func(c *corev1.Container) {
		for _, p := range c.Ports {
			if p.HostPort <= 0 {
				continue
			}
			h := hostPort{ip: p.HostIP, protocol: string(p.Protocol), port: p.HostPort}
			if h.ip == "" {
				h.ip = anyIP
			}
			if h.protocol == "" {
				h.protocol = string(corev1.ProtocolTCP)
			}
			out = append(out, h)
		}
	}
	for i := range pod.Spec.Containers {
		add(&pod.Spec.Containers[i])
	}
	for i := range pod.Spec.InitContainers {
		if lifecycle.IsSidecar(&pod.Spec.InitContainers[i]) {
			add(&pod.Spec.InitContainers[i])
		}
	}
	return out
}
