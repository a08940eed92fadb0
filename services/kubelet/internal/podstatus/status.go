// Package podstatus computes a pod's status from what the engine holds, what
// the probes say and what was reported before; it does no I/O.
package podstatus

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/lifecycle"
	"coracle.local/services/kubelet/internal/qos"
)

// Input is everything a status is computed from.
type Input struct {
	Pod *corev1.Pod
	// Old is the status computed last, or the API server's.
	Old     corev1.PodStatus
	Runtime engine.Pod
	// Engine is the scheme of container IDs, "docker".
	Engine string
	Probes map[string]lifecycle.Probes
	Memory lifecycle.Memory
	// Stopped: no container runs, and none ever will.
	Stopped bool
	// HostIPs are the node's addresses, the primary first.
	HostIPs []string
	Now     time.Time
}

// Compute returns the pod's status. Conditions of others in Pod.Status are
// kept.
func Compute(in Input) corev1.PodStatus {
	if v := in.Memory.Rejected; v != nil {
		return finish(in, corev1.PodStatus{
			Phase: corev1.PodFailed, Reason: v.Reason, Message: "Pod was rejected: " + v.Message, QOSClass: qos.Of(in.Pod),
		})
	}
	s := corev1.PodStatus{QOSClass: qos.Of(in.Pod)}
	s.ContainerStatuses = statuses(&in, in.Pod.Spec.Containers, in.Old.ContainerStatuses, regular)
	s.InitContainerStatuses = statuses(&in, in.Pod.Spec.InitContainers, in.Old.InitContainerStatuses, initial)
	s.EphemeralContainerStatuses = statuses(&in, ephemeralSpecs(in.Pod), in.Old.EphemeralContainerStatuses, ephemeral)
	addresses(&in, &s)

	s.Phase = phase(&in, &s)
	if in.Stopped {
		terminate(&in, &s)
	}
	keepVerdict(&in, &s)
	s.Conditions = conditions(&in, &s)
	return finish(in, s)
}

// keepVerdict applies an eviction and lets nothing leave a terminal phase.
func keepVerdict(in *Input, s *corev1.PodStatus) {
	for _, before := range []*corev1.PodStatus{&in.Old, &in.Pod.Status} {
		if terminal(before.Phase) {
			s.Phase = before.Phase
		}
	}
	if s.Phase == in.Old.Phase {
		s.Reason, s.Message = in.Old.Reason, in.Old.Message
		if s.Reason == "" {
			s.Reason = in.Pod.Status.Reason
		}
		if s.Message == "" {
			s.Message = in.Pod.Status.Message
		}
	}
	if v := in.Memory.Evicted; v != nil && in.Stopped && in.Pod.Status.Phase != corev1.PodSucceeded {
		s.Phase, s.Reason, s.Message = corev1.PodFailed, v.Reason, v.Message
	}
	// A phase that says all is over must wait until all is over.
	if terminal(s.Phase) && !in.Stopped && !terminal(in.Old.Phase) && !terminal(in.Pod.Status.Phase) {
		s.Phase = in.Old.Phase
		if s.Phase == "" {
			s.Phase = corev1.PodPending
		}
	}
}

// finish fills in what depends on the former status, and rounds times to the
// precision the API has.
func finish(in Input, s corev1.PodStatus) corev1.PodStatus {
	s.ObservedGeneration = max(in.Pod.Generation, in.Old.ObservedGeneration)
	s.StartTime = in.Old.StartTime
	if s.StartTime.IsZero() {
		s.StartTime = in.Pod.Status.StartTime
	}
	if s.StartTime.IsZero() {
		start := in.Memory.StartTime
		if start.IsZero() {
			start = in.Now
		}
		t := metav1.NewTime(start)
		s.StartTime = &t
	}
	t := s.StartTime.Rfc3339Copy()
	s.StartTime = &t
	transitions(&s, in.Old.Conditions, in.Now)
	limit := maxMessages / max(1, len(in.Pod.Spec.Containers)+len(in.Pod.Spec.InitContainers)+len(in.Pod.Spec.EphemeralContainers))
	for _, list := range [][]corev1.ContainerStatus{s.ContainerStatuses, s.InitContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			round(&list[i].State, limit)
			round(&list[i].LastTerminationState, limit)
		}
	}
	return s
}

// maxMessages bounds all termination messages of a pod together, in bytes.
const maxMessages = 12 << 10

func round(s *corev1.ContainerState, limit int) {
	if s.Running != nil {
		r := *s.Running
		r.StartedAt = r.StartedAt.Rfc3339Copy()
		s.Running = &r
	}
	if s.Terminated != nil {
		t := *s.Terminated
		t.StartedAt, t.FinishedAt = t.StartedAt.Rfc3339Copy(), t.FinishedAt.Rfc3339Copy()
		if len(t.Message) > limit {
			t.Message = t.Message[:limit]
		}
		s.Terminated = &t
	}
}

func terminal(p corev1.PodPhase) bool { return p == corev1.PodFailed || p == corev1.PodSucceeded }

func ephemeralSpecs(pod *corev1.Pod) []corev1.Container {
	var out []corev1.Container
	for i := range pod.Spec.EphemeralContainers {
		out = append(out, corev1.Container(pod.Spec.EphemeralContainers[i].EphemeralContainerCommon))
	}
	return out
}

// addresses fills in the pod's and the node's.
func addresses(in *Input, s *corev1.PodStatus) {
	if len(in.HostIPs) > 0 {
		s.HostIP = in.HostIPs[0]
		for _, ip := range in.HostIPs {
			s.HostIPs = append(s.HostIPs, corev1.HostIP{IP: ip})
		}
	}
	for _, ip := range PodIPs(in.Pod, in.Runtime, in.HostIPs) {
		s.PodIPs = append(s.PodIPs, corev1.PodIP{IP: ip})
	}
	if len(s.PodIPs) == 0 {
		// A pod that has stopped, or gets a new sandbox, keeps the address it
		// had until it has another.
		s.PodIPs = slices.Clone(in.Old.PodIPs)
	}
	if len(s.PodIPs) > 0 {
		s.PodIP = s.PodIPs[0].IP
	}
}

// PodIPs are the addresses of a pod: its sandbox's, or the node's.
func PodIPs(pod *corev1.Pod, seen engine.Pod, hostIPs []string) []string {
	if pod.Spec.HostNetwork {
		if len(seen.Sandboxes) == 0 {
			return nil
		}
		return hostIPs
	}
	for _, s := range seen.Sandboxes {
		if s.Ready {
			return s.IPs
		}
	}
	return nil
}
