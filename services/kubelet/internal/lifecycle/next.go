package lifecycle

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/kubelet/internal/engine"
)

// Next names the step that the pod needs now.
func Next(pod *corev1.Pod, o Observed) Action {
	if o.Memory.Deleted {
		return Action{Verb: Done, Why: "the pod is deleted"}
	}
	if stop := Stopping(pod, o); stop != nil {
		return nextStop(pod, &o, stop)
	}
	if !o.Memory.Admitted {
		return Action{Verb: Admit, Why: "the pod is new on this node"}
	}
	if h, ok := o.held(""); ok {
		return Action{Verb: Wait, Why: h.Message, Until: earliest(h.Until, deadline(pod, &o))}
	}
	return nextRun(pod, &o)
}

// decision gathers what a scan of the pod's containers comes upon.
type decision struct {
	pod     *corev1.Pod
	o       *Observed
	sandbox engine.Sandbox
	kills   []Victim
	starts  []Action
	holds   []Hold
	until   time.Time
	// waiting says what is waited for when there is nothing to do.
	waiting string
}

// nextRun decides for a pod that is to run.
func nextRun(pod *corev1.Pod, o *Observed) Action {
	fresh, attempt, why := SandboxNeeded(pod, o.Runtime)
	if fresh {
		return nextSandbox(pod, o, attempt, why)
	}
	if a, ok := mount(o); ok {
		return a
	}
	d := &decision{pod: pod, o: o, sandbox: o.Runtime.Sandboxes[0], waiting: "everything runs"}
	d.ephemeral()
	if d.inits() {
		d.regulars()
	}
	switch {
	case len(d.kills) > 0:
		return Action{Verb: Kill, Why: d.kills[0].Message, Victims: d.kills}
	case len(d.starts) > 0:
		a := d.starts[0]
		a.Holds = d.holds
		return a
	}
	if a, ok := surplus(o); ok {
		a.Holds = d.holds
		return a
	}
	until := earliest(d.until, deadline(pod, o), o.Memory.Remount)
	return Action{Verb: Wait, Why: d.waiting, Until: until, Holds: d.holds}
}

// nextSandbox clears what is left of an old sandbox and makes a new one.
func nextSandbox(pod *corev1.Pod, o *Observed, attempt int, why string) Action {
	stop := Action{Verb: StopPod, Why: why}
	for _, c := range o.running() {
		stop.Victims = append(stop.Victims, Victim{ID: c.ID, Name: c.Name, Message: "Stopping container " + c.Name, Grace: StopGrace(pod, 0)})
	}
	for _, s := range o.Runtime.Sandboxes {
		if s.Ready {
			stop.Sandboxes = append(stop.Sandboxes, s.ID)
		}
	}
	if len(stop.Victims)+len(stop.Sandboxes) > 0 {
		return stop
	}
	if a, ok := mount(o); ok {
		return a
	}
	return Action{Verb: RunSandbox, Why: why, Attempt: attempt}
}

// Why a pod has no usable sandbox, in upstream's words for the condition
// PodReadyToStartContainers.
const (
	NoSandbox         = "no pod sandbox exists"
	MultipleSandboxes = "multiple pod sandboxes are ready and need to be reconciled"
	SandboxNotReady   = "pod sandbox is not ready"
	SandboxNetwork    = "network namespace mode changed and sandbox needs to be recreated"
	SandboxNoIP       = "pod sandbox has no IP address"
)

// SandboxNeeded tells whether the pod needs a (new) sandbox, which attempt it
// would be, and why.
func SandboxNeeded(pod *corev1.Pod, seen engine.Pod) (needed bool, attempt int, why string) {
	if len(seen.Sandboxes) == 0 {
		return true, 0, NoSandbox
	}
	newest, ready := seen.Sandboxes[0], 0
	for _, s := range seen.Sandboxes {
		attempt = max(attempt, s.Attempt)
		if s.Ready {
			ready++
		}
	}
	switch {
	case ready > 1:
		return true, attempt + 1, MultipleSandboxes
	case !newest.Ready:
		return true, attempt + 1, SandboxNotReady
	case newest.HostNetwork != pod.Spec.HostNetwork:
		return true, attempt + 1, SandboxNetwork
	case !pod.Spec.HostNetwork && len(newest.IPs) == 0:
		return true, attempt + 1, SandboxNoIP
	}
	return false, newest.Attempt, ""
}

// mount asks for the volumes when they are due.
func mount(o *Observed) (Action, bool) {
	switch {
	case !o.Memory.Mounted:
		return Action{Verb: MountVolumes, Why: "the pod's volumes are not mounted"}, true
	case !o.Memory.Remount.IsZero() && !o.Memory.Remount.After(o.Now):
		return Action{Verb: MountVolumes, Why: "what the volumes were rendered from has changed, or expires"}, true
	}
	return Action{}, false
}

// surplus finds dead containers and sandboxes that nobody asks for any more.
// The newest dead instance of a container stays, for its logs and last state.
func surplus(o *Observed) (Action, bool) {
	dead, needed := map[string]int{}, map[string]bool{}
	a := Action{Verb: Remove, Why: "older dead instances are of no use"}
	for _, c := range o.Runtime.Containers {
		if c.State == engine.Exited {
			if dead[c.Name]++; dead[c.Name] > 1 {
				a.Containers = append(a.Containers, c.ID)
				continue
			}
		}
		needed[c.SandboxID] = true
	}
	for i, s := range o.Runtime.Sandboxes {
		if i > 0 && !s.Ready && !needed[s.ID] {
			a.Sandboxes = append(a.Sandboxes, s.ID)
		}
	}
	return a, len(a.Containers)+len(a.Sandboxes) > 0
}

// deadline is when activeDeadlineSeconds ends, or zero.
func deadline(pod *corev1.Pod, o *Observed) time.Time {
	start := o.startTime(pod)
	if pod.Spec.ActiveDeadlineSeconds == nil || start.IsZero() {
		return time.Time{}
	}
	return start.Add(time.Duration(*pod.Spec.ActiveDeadlineSeconds) * time.Second)
}

// earliest is the first of the moments that are set.
func earliest(moments ...time.Time) time.Time {
	var first time.Time
	for _, t := range moments {
		if !t.IsZero() && (first.IsZero() || t.Before(first)) {
			first = t
		}
	}
	return first
}
