package podstatus

import (
	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/lifecycle"
)

// count is how many containers are in which state, for the phase.
type count struct {
	unknown, running, waiting int
	stopped, final, succeeded int
	pendingInit               int
	failedInit                bool
}

// phase follows upstream's getPhase.
func phase(in *Input, s *corev1.PodStatus) corev1.PodPhase {
	var n count
	initialized := regularRan(in)
	for i := range in.Pod.Spec.InitContainers {
		c := &in.Pod.Spec.InitContainers[i]
		if lifecycle.IsSidecar(c) {
			n.sidecar(find(s.InitContainerStatuses, c.Name), initialized)
		} else {
			n.init(c, &in.Pod.Spec, find(s.InitContainerStatuses, c.Name))
		}
	}
	for i := range in.Pod.Spec.Containers {
		c := &in.Pod.Spec.Containers[i]
		n.regular(c, &in.Pod.Spec, find(s.ContainerStatuses, c.Name))
	}
	switch {
	case n.failedInit:
		return corev1.PodFailed
	case n.pendingInit > 0, n.waiting > 0:
		return corev1.PodPending
	case n.running > 0 && n.unknown == 0:
		return corev1.PodRunning
	case n.running == 0 && n.stopped > 0 && n.unknown == 0:
		if !in.Stopped && n.stopped != n.final {
			return corev1.PodRunning // some are about to be restarted
		}
		if n.stopped == n.succeeded {
			return corev1.PodSucceeded
		}
		return corev1.PodFailed
	}
	return corev1.PodPending
}

// regularRan tells whether a container proper has run in the newest sandbox:
// then the pod is initialized, even while a sidecar restarts.
func regularRan(in *Input) bool {
	if len(in.Runtime.Sandboxes) == 0 {
		return false
	}
	for i := range in.Pod.Spec.Containers {
		for _, c := range instancesOf(in.Runtime, in.Pod.Spec.Containers[i].Name) {
			if c.SandboxID == in.Runtime.Sandboxes[0].ID && c.State != engine.Created {
				return true
			}
		}
	}
	return false
}

func (n *count) init(c *corev1.Container, spec *corev1.PodSpec, s *corev1.ContainerStatus) {
	ended := lastExit(s)
	switch {
	case s == nil, s.State.Running != nil, ended == nil:
		n.pendingInit++
	case ended.ExitCode != 0:
		if !lifecycle.ShouldRestart(c, spec, ended.ExitCode) {
			n.failedInit = true
			return
		}
		n.pendingInit++
	}
}

func (n *count) sidecar(s *corev1.ContainerStatus, initialized bool) {
	switch {
	case s == nil:
		n.unknown++
	case s.State.Running != nil:
		if !initialized && (s.Started == nil || !*s.Started) {
			n.pendingInit++
		}
		n.running++
	case lastExit(s) != nil: // an ended sidecar does not count
	case s.State.Waiting != nil:
		if !initialized {
			n.pendingInit++
		}
		n.waiting++
	default:
		n.unknown++
	}
}

func (n *count) regular(c *corev1.Container, spec *corev1.PodSpec, s *corev1.ContainerStatus) {
	switch ended := lastExit(s); {
	case s == nil:
		n.unknown++
	case s.State.Running != nil:
		n.running++
	case ended != nil:
		n.stopped++
		if !lifecycle.ShouldRestart(c, spec, ended.ExitCode) {
			n.final++
		}
		if s.State.Terminated != nil && ended.ExitCode == 0 {
			n.succeeded++
		}
	case s.State.Waiting != nil:
		n.waiting++
	default:
		n.unknown++
	}
}

// lastExit is how a container that does not run has ended.
func lastExit(s *corev1.ContainerStatus) *corev1.ContainerStateTerminated {
	switch {
	case s == nil:
		return nil
	case s.State.Terminated != nil:
		return s.State.Terminated
	case s.State.Waiting != nil:
		return s.LastTerminationState.Terminated
	}
	return nil
}

func find(list []corev1.ContainerStatus, name string) *corev1.ContainerStatus {
	for i := range list {
		if list[i].Name == name {
			return &list[i]
		}
	}
	return nil
}

// terminate makes the status of a stopped pod final: a container that could
// have run and whose end is not known has failed.
func terminate(in *Input, s *corev1.PodStatus) {
	unknown := corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
		Reason: reasonUnknown, Message: messageLost, ExitCode: lifecycle.ExitCodeLost,
	}}
	if hasInitialized(in) {
		for i := range s.ContainerStatuses {
			if s.ContainerStatuses[i].State.Terminated == nil {
				s.ContainerStatuses[i].State = unknown
			}
		}
	}
	for i := range attempted(s.InitContainerStatuses) {
		if s.InitContainerStatuses[i].State.Terminated == nil {
			s.InitContainerStatuses[i].State = unknown
		}
	}
	if !terminal(s.Phase) {
		s.Phase = corev1.PodFailed
	}
}

// hasInitialized tells whether any container proper may have been started.
func hasInitialized(in *Input) bool {
	if len(in.Pod.Spec.InitContainers) == 0 || regularMade(in) {
		return true
	}
	for _, list := range [][]corev1.ContainerStatus{in.Pod.Status.ContainerStatuses, in.Old.ContainerStatuses} {
		for _, c := range list {
			if c.LastTerminationState.Terminated != nil || c.State.Waiting == nil {
				return true
			}
		}
	}
	return false
}

// attempted cuts off the trailing init containers that never had their turn;
// the first one always had.
func attempted(list []corev1.ContainerStatus) []corev1.ContainerStatus {
	for i := len(list) - 1; i >= 0; i-- {
		if list[i].State.Waiting == nil || list[i].LastTerminationState.Terminated != nil {
			return list[:i+1]
		}
	}
	return list[:min(1, len(list))]
}
