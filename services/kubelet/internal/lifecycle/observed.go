package lifecycle

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/kubelet/internal/engine"
)

// Observed is all that a decision about one pod rests on, besides the pod.
type Observed struct {
	Now time.Time
	// Runtime is what the engine holds of the pod, newest first.
	Runtime engine.Pod
	// Probes are the results so far, by container ID.
	Probes map[string]Probes
	Memory Memory
	// Limits of the restart back-off.
	Backoff BackoffLimits
	// Orphan: the API server has no such pod (any more).
	Orphan bool
}

// Result is a probe's verdict; empty while there is none.
type Result string

// The verdicts.
const (
	Success Result = "Success"
	Failure Result = "Failure"
)

// Probes are the verdicts on one container instance.
type Probes struct {
	Startup, Liveness, Readiness Result
}

// Memory is what the kubelet knows of a pod beyond engine and API server. All
// of it may be lost: then back-offs begin anew and volumes are rendered once
// more, and nothing else happens.
type Memory struct {
	// Admitted: the node has taken the pod. Rejected tells why it has not.
	Admitted bool
	Rejected *Verdict
	// Evicted: the kubelet itself ends the pod, for this reason.
	Evicted *Verdict
	// Holds by container name; the pod's own has the name "".
	Holds map[string]Hold
	// Backoffs of restarts, by container name.
	Backoffs map[string]Backoff
	// Images resolved for the next Create, by container name.
	Images map[string]engine.Image
	// Failed are the IDs of containers that could not be started.
	Failed map[string]bool
	// Mounted: the volumes have been rendered; they are due again at Remount
	// (zero: not before something changes).
	Mounted bool
	Remount time.Time
	// Grace is the shortest grace period asked for so far, zero for none.
	Grace time.Duration
	// StartTime is when the kubelet took the pod, for activeDeadlineSeconds.
	StartTime time.Time
	CleanedUp bool
	Deleted   bool
}

// Verdict is a reason in one word and a sentence.
type Verdict struct{ Reason, Message string }

// instances returns a container's instances, newest first.
func (o *Observed) instances(name string) []engine.Container {
	var out []engine.Container
	for _, c := range o.Runtime.Containers {
		if c.Name == name {
			out = append(out, c)
		}
	}
	return out
}

// latest returns a container's newest instance.
func (o *Observed) latest(name string) (engine.Container, bool) {
	for _, c := range o.Runtime.Containers {
		if c.Name == name {
			return c, true
		}
	}
	return engine.Container{}, false
}

// active returns a container's newest instance in the given sandbox.
func (o *Observed) active(name, sandbox string) (engine.Container, bool) {
	for _, c := range o.Runtime.Containers {
		if c.Name == name && c.SandboxID == sandbox {
			return c, true
		}
	}
	return engine.Container{}, false
}

// running returns all running containers.
func (o *Observed) running() []engine.Container {
	var out []engine.Container
	for _, c := range o.Runtime.Containers {
		if c.State == engine.Running {
			out = append(out, c)
		}
	}
	return out
}

// held tells whether a hold is in force.
func (o *Observed) held(container string) (Hold, bool) {
	h, ok := o.Memory.Holds[container]
	return h, ok && h.Until.After(o.Now)
}

// startTime is when the pod began to count as active.
func (o *Observed) startTime(pod *corev1.Pod) time.Time {
	if pod.Status.StartTime != nil {
		return pod.Status.StartTime.Time
	}
	return o.Memory.StartTime
}

// lost tells of a container that has run, says the API server, but which the
// engine does not know.
func lost(pod *corev1.Pod, o *Observed, name string) bool {
	if _, ok := o.latest(name); ok {
		return false
	}
	status, ok := StatusOf(pod, name)
	return ok && (status.State.Running != nil || status.State.Terminated != nil)
}

// StatusOf finds a container's status, whatever kind of container it is.
func StatusOf(pod *corev1.Pod, name string) (corev1.ContainerStatus, bool) {
	for _, list := range [][]corev1.ContainerStatus{
		pod.Status.ContainerStatuses, pod.Status.InitContainerStatuses, pod.Status.EphemeralContainerStatuses,
	} {
		for _, s := range list {
			if s.Name == name {
				return s, true
			}
		}
	}
	return corev1.ContainerStatus{}, false
}

// SpecOf finds a container's specification, whatever kind of container it is.
func SpecOf(pod *corev1.Pod, name string) *corev1.Container {
	for i := range pod.Spec.Containers {
		if pod.Spec.Containers[i].Name == name {
			return &pod.Spec.Containers[i]
		}
	}
	for i := range pod.Spec.InitContainers {
		if pod.Spec.InitContainers[i].Name == name {
			return &pod.Spec.InitContainers[i]
		}
	}
	for i := range pod.Spec.EphemeralContainers {
		if pod.Spec.EphemeralContainers[i].Name == name {
			return (*corev1.Container)(&pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		}
	}
	return nil
}
