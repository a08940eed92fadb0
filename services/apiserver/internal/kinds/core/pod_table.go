package core

import (
	"fmt"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/apiserver/internal/kinds/cells"
)

// nodeLost is the reason that the node controller gives a pod whose node does
// not answer.
const nodeLost = "NodeLost"

func podColumns() []metav1.TableColumnDefinition {
	spec, status := corev1.PodSpec{}.SwaggerDoc(), corev1.PodStatus{}.SwaggerDoc()
	return cells.Columns(
		cells.Name(),
		cells.Text("Ready", "The aggregate readiness state of this pod for accepting traffic."),
		cells.Text("Status", "The aggregate status of the containers in this pod."),
		cells.Text("Restarts", "The number of times the containers in this pod have been restarted and when the last container in this pod has restarted."),
		cells.Age(),
		cells.Wide(cells.Text("IP", status["podIP"])),
		cells.Wide(cells.Text("Node", spec["nodeName"])),
		cells.Wide(cells.Text("Nominated Node", status["nominatedNodeName"])),
		cells.Wide(cells.Text("Readiness Gates", spec["readinessGates"])),
	)
}

func podRowConditions(pod *corev1.Pod) []metav1.TableRowCondition {
	condition := metav1.TableRowCondition{Type: metav1.RowCompleted, Status: metav1.ConditionTrue, Reason: string(pod.Status.Phase)}
	switch pod.Status.Phase {
	case corev1.PodSucceeded:
		condition.Message = "The pod has completed successfully."
	case corev1.PodFailed:
		condition.Message = "The pod failed."
	default:
		return nil
	}
	return []metav1.TableRowCondition{condition}
}

func podCells(pod *corev1.Pod) []any {
	s := summarize(pod)
	restarts := strconv.Itoa(s.restarts)
	if s.restarts != 0 && !s.lastRestart.IsZero() {
		restarts = fmt.Sprintf("%d (%s ago)", s.restarts, cells.Since(s.lastRestart))
	}
	ip := ""
	if len(pod.Status.PodIPs) > 0 {
		ip = pod.Status.PodIPs[0].IP
	}
	return []any{
		pod.Name,
		fmt.Sprintf("%d/%d", s.ready, s.total),
		s.reason,
		restarts,
		cells.AgeOf(pod),
		cells.Or(ip, "<none>"),
		cells.Or(pod.Spec.NodeName, "<none>"),
		cells.Or(pod.Status.NominatedNodeName, "<none>"),
		readinessGates(pod),
	}
}

func readinessGates(pod *corev1.Pod) string {
	if len(pod.Spec.ReadinessGates) == 0 {
		return "<none>"
	}
	passed := 0
	for _, gate := range pod.Spec.ReadinessGates {
		if podConditionTrue(pod, gate.ConditionType) {
			passed++
		}
	}
	return fmt.Sprintf("%d/%d", passed, len(pod.Spec.ReadinessGates))
}

func podConditionTrue(pod *corev1.Pod, kind corev1.PodConditionType) bool {
	for i := range pod.Status.Conditions {
		if pod.Status.Conditions[i].Type == kind {
			return pod.Status.Conditions[i].Status == corev1.ConditionTrue
		}
	}
	return false
}

// podSummary is what the first columns say of a pod.
type podSummary struct {
	reason       string
	ready, total int
	restarts     int
	lastRestart  metav1.Time
	// seen is how many init containers were looked at.
	seen int
}

func summarize(pod *corev1.Pod) podSummary {
	s := podSummary{reason: cells.Or(pod.Status.Reason, string(pod.Status.Phase)), total: len(pod.Spec.Containers)}
	for _, condition := range pod.Status.Conditions {
		if condition.Type == corev1.PodScheduled && condition.Reason == corev1.PodReasonSchedulingGated {
			s.reason = corev1.PodReasonSchedulingGated
		}
	}
	sidecars := map[string]bool{}
	for i := range pod.Spec.InitContainers {
		if isSidecar(&pod.Spec.InitContainers[i]) {
			s.total++
			sidecars[pod.Spec.InitContainers[i].Name] = true
		}
	}
	initializing := s.addInit(pod, sidecars)
	if !initializing || podConditionTrue(pod, corev1.PodInitialized) {
		s.addRegular(pod, sidecars)
	}
	switch terminal := pod.Status.Phase == corev1.PodFailed || pod.Status.Phase == corev1.PodSucceeded; {
	case pod.DeletionTimestamp == nil:
	case pod.Status.Reason == nodeLost:
		s.reason = "Unknown"
	case !terminal:
		s.reason = "Terminating"
	}
	return s
}

// addInit goes through the init containers up to the one that the pod waits
// for, if there is one.
func (s *podSummary) addInit(pod *corev1.Pod, sidecars map[string]bool) (initializing bool) {
	for i := range pod.Status.InitContainerStatuses {
		c := &pod.Status.InitContainerStatuses[i]
		s.seen++
		s.count(c)
		switch {
		case c.State.Terminated != nil && c.State.Terminated.ExitCode == 0:
			continue
		case sidecars[c.Name] && c.Started != nil && *c.Started:
			if c.Ready {
				s.ready++
			}
			continue
		case c.State.Terminated != nil:
			s.reason = "Init:" + terminationReason(c.State.Terminated)
		case c.State.Waiting != nil && c.State.Waiting.Reason != "" && c.State.Waiting.Reason != "PodInitializing":
			s.reason = "Init:" + c.State.Waiting.Reason
		default:
			s.reason = fmt.Sprintf("Init:%d/%d", i, len(pod.Spec.InitContainers))
		}
		return true
	}
	return false
}

// addRegular counts the restarts anew: those of init containers that have
// ended are no longer of interest.
func (s *podSummary) addRegular(pod *corev1.Pod, sidecars map[string]bool) {
	s.restarts, s.lastRestart = 0, metav1.Time{}
	for i := range s.seen {
		if c := &pod.Status.InitContainerStatuses[i]; sidecars[c.Name] {
			s.count(c)
		}
	}
	running, failure := false, ""
	for i := len(pod.Status.ContainerStatuses) - 1; i >= 0; i-- {
		c := &pod.Status.ContainerStatuses[i]
		s.count(c)
		switch {
		case c.State.Waiting != nil && c.State.Waiting.Reason != "":
			s.reason = c.State.Waiting.Reason
		case c.State.Terminated != nil:
			s.reason = terminationReason(c.State.Terminated)
			if c.State.Terminated.ExitCode != 0 {
				failure = s.reason
			}
		case c.Ready && c.State.Running != nil:
			running = true
			s.ready++
		}
	}
	if s.reason != "Completed" {
		return
	}
	switch {
	case running && podConditionTrue(pod, corev1.PodReady):
		s.reason = string(corev1.PodRunning)
	case failure != "":
		s.reason = failure
	case running:
		s.reason = "NotReady"
	}
}

func (s *podSummary) count(c *corev1.ContainerStatus) {
	s.restarts += int(c.RestartCount)
	if t := c.LastTerminationState.Terminated; t != nil && s.lastRestart.Before(&t.FinishedAt) {
		s.lastRestart = t.FinishedAt
	}
}

func terminationReason(t *corev1.ContainerStateTerminated) string {
	switch {
	case t.Reason != "":
		return t.Reason
	case t.Signal != 0:
		return fmt.Sprintf("Signal:%d", t.Signal)
	}
	return fmt.Sprintf("ExitCode:%d", t.ExitCode)
}
