package podstatus

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/kubelet/internal/lifecycle"
)

// Ours tells whether a condition is the kubelet's to write.
func Ours(t corev1.PodConditionType) bool {
	switch t {
	case corev1.PodScheduled, corev1.PodReady, corev1.PodInitialized, corev1.ContainersReady, corev1.PodReadyToStartContainers,
		corev1.PodResizePending, corev1.PodResizeInProgress, corev1.AllContainersRestarting:
		return true
	}
	return false
}

// conditions are the others' as they are, and then ours.
func conditions(in *Input, s *corev1.PodStatus) []corev1.PodCondition {
	var out []corev1.PodCondition
	for _, c := range in.Pod.Status.Conditions {
		if !Ours(c.Type) {
			out = append(out, c)
		}
	}
	all := append(append([]corev1.ContainerStatus{}, s.InitContainerStatuses...), s.ContainerStatuses...)
	containers := containersReady(in.Pod, all, s.Phase)
	for _, c := range []corev1.PodCondition{
		readyToStart(in),
		initialized(in, all, s.Phase),
		ready(in.Pod, containers, out),
		containers,
		{Type: corev1.PodScheduled, Status: corev1.ConditionTrue},
	} {
		c.ObservedGeneration = in.Pod.Generation
		out = append(out, c)
	}
	return out
}

func readyToStart(in *Input) corev1.PodCondition {
	if needed, _, why := lifecycle.SandboxNeeded(in.Pod, in.Runtime); needed {
		return corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionFalse, Reason: "PodSandboxNotReady", Message: why}
	}
	return corev1.PodCondition{Type: corev1.PodReadyToStartContainers, Status: corev1.ConditionTrue}
}

func initialized(in *Input, all []corev1.ContainerStatus, phase corev1.PodPhase) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.PodInitialized, Status: corev1.ConditionTrue}
	var unknown, incomplete []string
	for i := range in.Pod.Spec.InitContainers {
		spec := &in.Pod.Spec.InitContainers[i]
		switch s := find(all, spec.Name); {
		case s == nil:
			unknown = append(unknown, spec.Name)
		case lifecycle.IsSidecar(spec) && (s.Started == nil || !*s.Started), !lifecycle.IsSidecar(spec) && !s.Ready:
			incomplete = append(incomplete, spec.Name)
		}
	}
	switch {
	case phase == corev1.PodSucceeded && len(unknown) == 0:
		c.Reason = "PodCompleted"
	case regularStarted(in.Pod, all), len(unknown)+len(incomplete) == 0:
	default:
		c.Status, c.Reason = corev1.ConditionFalse, "ContainersNotInitialized"
		c.Message = listing(unknown, "containers with unknown status", incomplete, "containers with incomplete status")
	}
	return c
}

func regularStarted(pod *corev1.Pod, all []corev1.ContainerStatus) bool {
	for i := range pod.Spec.Containers {
		if s := find(all, pod.Spec.Containers[i].Name); s != nil &&
			(s.State.Running != nil || s.State.Terminated != nil || s.LastTerminationState.Terminated != nil) {
			return true
		}
	}
	return false
}

func containersReady(pod *corev1.Pod, all []corev1.ContainerStatus, phase corev1.PodPhase) corev1.PodCondition {
	c := corev1.PodCondition{Type: corev1.ContainersReady, Status: corev1.ConditionFalse}
	var unknown, unready []string
	check := func(name string) {
		switch s := find(all, name); {
		case s == nil:
			unknown = append(unknown, name)
		case !s.Ready:
			unready = append(unready, name)
		}
	}
	for i := range pod.Spec.InitContainers {
		if lifecycle.IsSidecar(&pod.Spec.InitContainers[i]) {
			check(pod.Spec.InitContainers[i].Name)
		}
	}
	for i := range pod.Spec.Containers {
		check(pod.Spec.Containers[i].Name)
	}
	switch {
	case phase == corev1.PodSucceeded && len(unknown) == 0:
		c.Reason = "PodCompleted"
	case phase == corev1.PodFailed:
		c.Reason = "PodFailed"
	case len(unknown)+len(unready) == 0:
		c.Status = corev1.ConditionTrue
	default:
		c.Reason = "ContainersNotReady"
		c.Message = listing(unknown, "containers with unknown status", unready, "containers with unready status")
	}
	return c
}

// ready is ContainersReady and every readiness gate.
func ready(pod *corev1.Pod, containers corev1.PodCondition, others []corev1.PodCondition) corev1.PodCondition {
	c := containers
	c.Type = corev1.PodReady
	if c.Status != corev1.ConditionTrue {
		return c
	}
	var missing []string
	for _, gate := range pod.Spec.ReadinessGates {
		status, found := corev1.ConditionStatus(""), false
		for _, o := range others {
			if o.Type == gate.ConditionType {
				status, found = o.Status, true
			}
		}
		switch {
		case !found:
			missing = append(missing, fmt.Sprintf("corresponding condition of pod readiness gate %q does not exist.", gate.ConditionType))
		case status != corev1.ConditionTrue:
			missing = append(missing, fmt.Sprintf("the status of pod readiness gate %q is not \"True\", but %v", gate.ConditionType, status))
		}
	}
	if len(missing) > 0 {
		c.Status, c.Reason, c.Message = corev1.ConditionFalse, "ReadinessGatesNotReady", strings.Join(missing, ", ")
	}
	return c
}

func listing(a []string, aText string, b []string, bText string) string {
	var parts []string
	if len(a) > 0 {
		parts = append(parts, fmt.Sprintf("%s: %s", aText, a))
	}
	if len(b) > 0 {
		parts = append(parts, fmt.Sprintf("%s: %s", bText, b))
	}
	return strings.Join(parts, ", ")
}

// transitions dates conditions: the old date where the status is the old one.
func transitions(s *corev1.PodStatus, old []corev1.PodCondition, now time.Time) {
	for i := range s.Conditions {
		c := &s.Conditions[i]
		if !Ours(c.Type) {
			continue
		}
		c.LastTransitionTime = metav1.NewTime(now).Rfc3339Copy()
		for _, o := range old {
			if o.Type == c.Type && o.Status == c.Status {
				c.LastTransitionTime = o.LastTransitionTime
			}
		}
	}
}
