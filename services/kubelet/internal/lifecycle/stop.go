package lifecycle

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/kubelet/internal/engine"
)

// Stop says that a pod must not run (on), and why.
type Stop struct {
	// Reason: Deleted, Orphaned, Rejected, Completed, or an eviction's.
	Reason, Message string
	// Final: nothing of the pod may stay on the node. Else its dead containers
	// do, for their logs, until it is deleted.
	Final bool
	// Evict is set when this decision is new and must be told to the world.
	Evict *Verdict
}

// Reasons to stop a pod that are not part of its status.
const (
	Deleted   = "Deleted"
	Orphaned  = "Orphaned"
	Rejected  = "Rejected"
	Completed = "Completed"
)

// deadlineExceeded is the verdict on a pod that ran for too long.
var deadlineExceeded = Verdict{
	Reason:  "DeadlineExceeded",
	Message: "Pod was active on the node longer than the specified deadline",
}

// Stopping tells whether the pod must stop, and why; nil when it must not.
func Stopping(pod *corev1.Pod, o Observed) *Stop {
	switch {
	case o.Orphan:
		return &Stop{Reason: Orphaned, Message: "the API server has no such pod on this node", Final: true}
	case pod.DeletionTimestamp != nil:
		return &Stop{Reason: Deleted, Message: "the pod is being deleted", Final: true}
	case o.Memory.Rejected != nil:
		return &Stop{Reason: Rejected, Message: o.Memory.Rejected.Message}
	case o.Memory.Evicted != nil:
		return &Stop{Reason: o.Memory.Evicted.Reason, Message: o.Memory.Evicted.Message}
	case pod.Status.Phase == corev1.PodFailed, pod.Status.Phase == corev1.PodSucceeded:
		return &Stop{Reason: Completed, Message: "the pod's phase is " + string(pod.Status.Phase)}
	}
	if end := deadline(pod, &o); !end.IsZero() && !o.Now.Before(end) {
		verdict := deadlineExceeded
		return &Stop{Reason: verdict.Reason, Message: verdict.Message, Evict: &verdict}
	}
	if completed(pod, &o) {
		return &Stop{Reason: Completed, Message: "the pod's containers have ended and are not restarted"}
	}
	return nil
}

// completed tells whether the pod has run to its end.
func completed(pod *corev1.Pod, o *Observed) bool {
	if initFailed(pod, o) {
		return true
	}
	for i := range pod.Spec.Containers {
		c := &pod.Spec.Containers[i]
		latest, ok := o.latest(c.Name)
		if ok && latest.State == engine.Running || wantsStart(pod, o, c) {
			return false
		}
	}
	return len(pod.Spec.Containers) > 0
}

// nextStop decides for a pod that must not run.
func nextStop(pod *corev1.Pod, o *Observed, stop *Stop) Action {
	if h, ok := o.held(""); ok {
		return Action{Verb: Wait, Why: h.Message, Until: h.Until}
	}
	a := Action{Verb: StopPod, Why: stop.Message, Victims: victims(pod, o)}
	for _, s := range o.Runtime.Sandboxes {
		if s.Ready {
			a.Sandboxes = append(a.Sandboxes, s.ID)
		}
	}
	if len(a.Victims)+len(a.Sandboxes) > 0 || stop.Evict != nil {
		return a
	}
	if !o.Memory.CleanedUp {
		return Action{Verb: CleanUp, Why: stop.Message}
	}
	if !stop.Final {
		return Action{Verb: Done, Why: stop.Message}
	}
	a = Action{Verb: Remove, Why: stop.Message}
	for _, c := range o.Runtime.Containers {
		a.Containers = append(a.Containers, c.ID)
	}
	for _, s := range o.Runtime.Sandboxes {
		a.Sandboxes = append(a.Sandboxes, s.ID)
	}
	if len(a.Containers)+len(a.Sandboxes) > 0 {
		return a
	}
	if o.Orphan {
		return Action{Verb: Done, Why: "nothing of the pod is left"}
	}
	return Action{Verb: Delete, Why: "nothing of the pod is left on the node"}
}

// victims lists the running containers, with what each must wait for.
func victims(pod *corev1.Pod, o *Observed) []Victim {
	running := o.running()
	grace := StopGrace(pod, o.Memory.Grace)
	alive := map[string]bool{}
	for _, c := range running {
		alive[c.Name] = true
	}
	var out []Victim
	for _, c := range running {
		out = append(out, Victim{
			ID: c.ID, Name: c.Name, Grace: grace,
			Message: "Stopping container " + c.Name, After: after(pod, c.Name, alive),
		})
	}
	return out
}

// after lists the living containers that must end before the named one: for a
// sidecar, all containers proper and every later sidecar.
func after(pod *corev1.Pod, name string, alive map[string]bool) []string {
	var out []string
	for i := len(pod.Spec.InitContainers) - 1; i >= 0; i-- {
		c := &pod.Spec.InitContainers[i]
		if c.Name != name {
			if IsSidecar(c) && alive[c.Name] {
				out = append(out, c.Name)
			}
			continue
		}
		if !IsSidecar(c) {
			return nil
		}
		for j := range pod.Spec.Containers {
			if alive[pod.Spec.Containers[j].Name] {
				out = append(out, pod.Spec.Containers[j].Name)
			}
		}
		return out
	}
	return nil
}

// StopGrace is how long the containers of a stopping pod get. What the API
// server says of a deletion rules; otherwise the pod's own wish. It never grows
// again and is a second at least.
func StopGrace(pod *corev1.Pod, soFar time.Duration) time.Duration {
	grace := soFar
	if s := pod.DeletionGracePeriodSeconds; s != nil {
		if d := time.Duration(*s) * time.Second; grace == 0 || d < grace {
			grace = d
		}
	}
	if grace == 0 && pod.DeletionGracePeriodSeconds == nil && pod.Spec.TerminationGracePeriodSeconds != nil {
		grace = time.Duration(*pod.Spec.TerminationGracePeriodSeconds) * time.Second
	}
	return max(grace, time.Second)
}
