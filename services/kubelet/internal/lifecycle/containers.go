package lifecycle

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/kubelet/internal/engine"
)

// ReasonCrashLoop is why a container that keeps ending does not run right now.
const ReasonCrashLoop = "CrashLoopBackOff"

// regulars scans the pod's containers proper.
func (d *decision) regulars() {
	for i := range d.pod.Spec.Containers {
		c := &d.pod.Spec.Containers[i]
		if latest, ok := d.o.latest(c.Name); ok && latest.State == engine.Running {
			if latest.SandboxID != d.sandbox.ID {
				// Its network is gone: it must not serve on.
				d.kill(c, latest, fmt.Sprintf("Container %s runs in a sandbox that is gone", c.Name), nil)
				continue
			}
			d.check(c, latest, "Container ")
			continue
		}
		if wantsStart(d.pod, d.o, c) {
			d.start(c)
		}
	}
}

// ephemeral scans debug containers: started once, at any time.
func (d *decision) ephemeral() {
	for i := range d.pod.Spec.EphemeralContainers {
		c := (*corev1.Container)(&d.pod.Spec.EphemeralContainers[i].EphemeralContainerCommon)
		latest, ok := d.o.latest(c.Name)
		switch {
		case !ok && !lost(d.pod, d.o, c.Name), ok && latest.State == engine.Created && !d.o.Memory.Failed[latest.ID]:
			d.start(c)
		}
	}
}

// check looks for a reason to kill a running container.
func (d *decision) check(c *corev1.Container, running engine.Container, what string) {
	probes := d.o.Probes[running.ID]
	var why string
	var probe *corev1.Probe
	switch {
	case running.SpecHash != Hash(c):
		// The specification changed: restart whatever the policy says.
		d.kill(c, running, fmt.Sprintf("%s%s definition changed, will be restarted", what, c.Name), nil)
		return
	case probes.Liveness == Failure:
		why, probe = "failed liveness probe", c.LivenessProbe
	case probes.Startup == Failure:
		why, probe = "failed startup probe", c.StartupProbe
	default:
		return
	}
	message := what + c.Name + " " + why
	if restartsOnFailure(c, &d.pod.Spec) {
		message += ", will be restarted"
	}
	d.kill(c, running, message, probe)
}

func (d *decision) kill(c *corev1.Container, running engine.Container, message string, probe *corev1.Probe) {
	d.kills = append(d.kills, Victim{ID: running.ID, Name: c.Name, Message: message, Grace: killGrace(d.pod, probe)})
}

// killGrace is how long a container gets that is killed while its pod lives.
func killGrace(pod *corev1.Pod, probe *corev1.Probe) time.Duration {
	seconds := int64(0)
	switch {
	case probe != nil && probe.TerminationGracePeriodSeconds != nil:
		seconds = *probe.TerminationGracePeriodSeconds
	case pod.Spec.TerminationGracePeriodSeconds != nil:
		seconds = *pod.Spec.TerminationGracePeriodSeconds
	}
	return time.Duration(seconds) * time.Second
}

// start names the step that brings a container nearer to running, or notes
// what it has to wait for. It reports whether there is such a step.
func (d *decision) start(c *corev1.Container) bool {
	if h, ok := d.o.held(c.Name); ok {
		d.wait(h.Until, h.Message)
		return false
	}
	latest, exists := d.o.latest(c.Name)
	if exists && latest.State == engine.Exited {
		backoff := d.o.Memory.Backoffs[c.Name]
		if until := backoff.Until(latest.FinishedAt, d.o.Backoff); until.After(d.o.Now) {
			h := Hold{
				Container: c.Name, Reason: ReasonCrashLoop, Until: until,
				Message: fmt.Sprintf("back-off %s restarting failed container=%s pod=%s", backoff.Delay, c.Name, Format(d.pod)),
			}
			d.holds = append(d.holds, h)
			d.wait(until, h.Message)
			return false
		}
	}
	d.starts = append(d.starts, d.startStep(c, latest, exists))
	return true
}

func (d *decision) startStep(c *corev1.Container, latest engine.Container, exists bool) Action {
	why := "the container was never started"
	if exists && latest.State == engine.Exited {
		why = fmt.Sprintf("the container ended with code %d", latest.ExitCode)
	}
	made := exists && latest.State == engine.Created && latest.SandboxID == d.sandbox.ID
	if made && latest.SpecHash == Hash(c) && !d.o.Memory.Failed[latest.ID] {
		return Action{Verb: Start, Why: why, Container: c.Name, ID: latest.ID, Attempt: latest.Attempt}
	}
	if _, resolved := d.o.Memory.Images[c.Name]; !resolved {
		return Action{Verb: Pull, Why: why, Container: c.Name}
	}
	return Action{Verb: Create, Why: why, Container: c.Name, Attempt: d.attempt(c.Name)}
}

// attempt numbers a container's next instance. The API server remembers what
// an engine may have forgotten.
func (d *decision) attempt(name string) int {
	next := 0
	for _, c := range d.o.instances(name) {
		next = max(next, c.Attempt+1)
	}
	if status, ok := StatusOf(d.pod, name); ok && (status.ContainerID != "" || status.RestartCount > 0) && next <= int(status.RestartCount) {
		// The instance the server knows of was this attempt; with nothing in
		// the engine, the next one follows it.
		if _, known := d.o.latest(name); !known {
			next = int(status.RestartCount) + 1
		}
	}
	return next
}

func (d *decision) wait(until time.Time, why string) {
	if d.until.IsZero() || until.Before(d.until) {
		d.until, d.waiting = until, why
	}
}

// Format names a pod as upstream's messages do.
func Format(pod *corev1.Pod) string {
	return fmt.Sprintf("%s_%s(%s)", pod.Name, pod.Namespace, pod.UID)
}
