package podstatus

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/lifecycle"
)

type containerKind int

const (
	regular containerKind = iota
	initial
	ephemeral
)

// Reasons and messages for containers that cannot be found, upstream's.
const (
	reasonUnknown = "ContainerStatusUnknown"
	messageLost   = "The container could not be located when the pod was terminated"
	messageGone   = "The container could not be located when the pod was deleted.  The container used to be Running"
	messageInit   = "Unable to get init container status from container runtime and pod has been initialized, treat it as exited normally"
)

// statuses computes the statuses of one kind of containers.
func statuses(in *Input, specs []corev1.Container, old []corev1.ContainerStatus, kind containerKind) []corev1.ContainerStatus {
	if len(specs) == 0 {
		return nil
	}
	before := map[string]*corev1.ContainerStatus{}
	for i := range old {
		before[old[i].Name] = &old[i]
	}
	out := make([]corev1.ContainerStatus, 0, len(specs))
	for i := range specs {
		c := &specs[i]
		instances := instancesOf(in.Runtime, c.Name)
		var s corev1.ContainerStatus
		if len(instances) == 0 {
			s = absent(in, c, before[c.Name])
		} else {
			s = present(in, c, instances, before[c.Name])
		}
		s.VolumeMounts = volumeMounts(c)
		if kind != initial || !initEnded(in, c, instances, &s) {
			hold(in, c, instances, &s)
		}
		setReady(in, c, instances, before[c.Name], kind, &s)
		out = append(out, s)
	}
	if kind != initial {
		slices.SortFunc(out, func(a, b corev1.ContainerStatus) int { return cmp.Compare(a.Name, b.Name) })
	}
	return out
}

func instancesOf(seen engine.Pod, name string) []engine.Container {
	var out []engine.Container
	for _, c := range seen.Containers {
		if c.Name == name {
			out = append(out, c)
		}
	}
	return out
}

// absent is the status of a container the engine does not know.
func absent(in *Input, c *corev1.Container, old *corev1.ContainerStatus) corev1.ContainerStatus {
	reason := "ContainerCreating"
	if len(in.Pod.Spec.InitContainers) > 0 {
		reason = "PodInitializing"
	}
	s := corev1.ContainerStatus{
		Name: c.Name, Image: c.Image,
		State: corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: reason}},
	}
	if old == nil {
		return s
	}
	if old.State.Terminated != nil {
		return *old.DeepCopy()
	}
	s.RestartCount, s.LastTerminationState = old.RestartCount, *old.LastTerminationState.DeepCopy()
	if old.State.Running != nil && s.LastTerminationState.Terminated == nil {
		// It ran and is gone: that it waits for its first start would be a lie.
		s.LastTerminationState.Terminated = &corev1.ContainerStateTerminated{
			Reason: reasonUnknown, Message: messageGone, ExitCode: lifecycle.ExitCodeLost,
		}
		if in.Pod.DeletionTimestamp == nil {
			s.RestartCount++
		}
	}
	return s
}

// present is the status of a container from its instances, newest first.
func present(in *Input, c *corev1.Container, instances []engine.Container, old *corev1.ContainerStatus) corev1.ContainerStatus {
	newest := instances[0]
	s := corev1.ContainerStatus{
		Name: c.Name, RestartCount: int32(newest.Attempt), Image: newest.Image, ImageID: newest.ImageID,
		ContainerID: in.Engine + "://" + newest.ID, State: state(in.Engine, newest),
		Resources: c.Resources.DeepCopy(), AllocatedResources: c.Resources.Requests.DeepCopy(),
	}
	if s.Image == "" {
		s.Image = c.Image
	}
	switch {
	case len(instances) > 1:
		s.LastTerminationState = state(in.Engine, instances[1])
	case old != nil && old.ContainerID != s.ContainerID && old.State.Terminated != nil:
		s.LastTerminationState.Terminated = old.State.Terminated.DeepCopy()
	case old != nil:
		s.LastTerminationState = *old.LastTerminationState.DeepCopy()
		if t := s.LastTerminationState.Terminated; t != nil && t.ContainerID == s.ContainerID {
			// While it waited for its restart, this very instance was the last.
			s.LastTerminationState = corev1.ContainerState{}
		}
	}
	if old != nil {
		s.RestartCount = max(s.RestartCount, old.RestartCount)
	}
	return s
}

func state(scheme string, c engine.Container) corev1.ContainerState {
	switch c.State {
	case engine.Running:
		return corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.NewTime(c.StartedAt)}}
	case engine.Exited:
		return corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{
			ExitCode: int32(c.ExitCode), Reason: c.Reason, Message: c.Message,
			StartedAt: metav1.NewTime(c.StartedAt), FinishedAt: metav1.NewTime(c.FinishedAt),
			ContainerID: scheme + "://" + c.ID,
		}}
	}
	return corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{}}
}

// initEnded tells of an init container that will not run again. One that can
// no longer be found has ended well if the pod went on.
func initEnded(in *Input, c *corev1.Container, instances []engine.Container, s *corev1.ContainerStatus) bool {
	if len(instances) > 0 {
		return instances[0].State == engine.Exited && instances[0].ExitCode == 0 && !lifecycle.IsSidecar(c)
	}
	if lifecycle.IsSidecar(c) || s.State.Waiting == nil || !regularMade(in) {
		return false
	}
	s.State = corev1.ContainerState{Terminated: &corev1.ContainerStateTerminated{Reason: "Completed", Message: messageInit}}
	return true
}

func regularMade(in *Input) bool {
	for i := range in.Pod.Spec.Containers {
		if len(instancesOf(in.Runtime, in.Pod.Spec.Containers[i].Name)) > 0 {
			return true
		}
	}
	return false
}

// hold shows why a container that is to be started does not run.
func hold(in *Input, c *corev1.Container, instances []engine.Container, s *corev1.ContainerStatus) {
	h, ok := in.Memory.Holds[c.Name]
	if !ok || in.Stopped || in.Pod.DeletionTimestamp != nil || in.Memory.Evicted != nil {
		return
	}
	if len(instances) > 0 {
		newest := instances[0]
		if newest.State == engine.Running || newest.State == engine.Exited && !lifecycle.ShouldRestart(c, &in.Pod.Spec, int32(newest.ExitCode)) {
			return
		}
	}
	if s.State.Terminated != nil {
		s.LastTerminationState = s.State
	}
	s.State = corev1.ContainerState{Waiting: &corev1.ContainerStateWaiting{Reason: h.Reason, Message: h.Message}}
}

// setReady sets Started and Ready.
func setReady(in *Input, c *corev1.Container, instances []engine.Container, old *corev1.ContainerStatus, kind containerKind, s *corev1.ContainerStatus) {
	started := false
	s.Started, s.Ready = &started, false
	if kind == initial && !lifecycle.IsSidecar(c) {
		s.Ready = s.State.Terminated != nil && s.State.Terminated.ExitCode == 0
	}
	if s.State.Running == nil || len(instances) == 0 {
		return
	}
	same := old != nil && old.ContainerID == s.ContainerID
	probes := in.Probes[instances[0].ID]
	switch {
	case probes.Startup != "":
		started = probes.Startup == lifecycle.Success
	case same && old.Started != nil && *old.Started:
		started = true // it was running before this kubelet was
	default:
		started = c.StartupProbe == nil
	}
	if kind == ephemeral || kind == initial && !lifecycle.IsSidecar(c) {
		return
	}
	switch {
	case !started:
	case probes.Readiness != "":
		s.Ready = probes.Readiness == lifecycle.Success
	case c.ReadinessProbe == nil:
		s.Ready = true
	default:
		s.Ready = same && old.Ready
	}
}

func volumeMounts(c *corev1.Container) []corev1.VolumeMountStatus {
	var out []corev1.VolumeMountStatus
	for _, m := range c.VolumeMounts {
		s := corev1.VolumeMountStatus{Name: m.Name, MountPath: m.MountPath, ReadOnly: m.ReadOnly}
		if m.ReadOnly {
			mode := corev1.RecursiveReadOnlyDisabled
			s.RecursiveReadOnly = &mode
		}
		out = append(out, s)
	}
	return out
}
