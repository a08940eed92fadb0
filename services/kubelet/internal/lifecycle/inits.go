package lifecycle

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/kubelet/internal/engine"
)

// inits scans the init containers and reports whether the pod is initialized,
// so that its containers proper may start.
//
// Init containers count only in the present sandbox: a new one is initialized
// again. They run one after the other. A sidecar has had its turn when it has
// started, and is kept running from then on.
func (d *decision) inits() bool {
	list := d.pod.Spec.InitContainers
	if len(list) == 0 {
		return true
	}
	turn, done := d.turn()
	for i := range list {
		c := &list[i]
		switch {
		case i < turn || done:
			if IsSidecar(c) {
				d.keep(c)
			}
		case i == turn:
			return d.advance(c, i)
		}
	}
	return done
}

// turn finds the init container whose turn it is: the last one that was made
// in this sandbox. All before it have ended well, even if their remains are
// gone. When a container proper has run, all have.
func (d *decision) turn() (index int, done bool) {
	for i := range d.pod.Spec.Containers {
		if c, ok := d.o.active(d.pod.Spec.Containers[i].Name, d.sandbox.ID); ok && c.State != engine.Created {
			return 0, true
		}
	}
	for i := len(d.pod.Spec.InitContainers) - 1; i > 0; i-- {
		if _, ok := d.o.active(d.pod.Spec.InitContainers[i].Name, d.sandbox.ID); ok {
			return i, false
		}
	}
	return 0, false
}

// advance decides about the init container at index, whose turn it is, and
// about the next ones when it is through.
func (d *decision) advance(c *corev1.Container, index int) (initialized bool) {
	latest, ok := d.o.active(c.Name, d.sandbox.ID)
	through := false
	switch {
	case !ok, latest.State == engine.Created:
		d.start(c)
	case latest.State == engine.Running && IsSidecar(c):
		through = c.StartupProbe == nil || d.o.Probes[latest.ID].Startup == Success
		d.check(c, latest, "Init container ")
	case latest.State == engine.Running:
		d.waiting = fmt.Sprintf("init container %s runs", c.Name)
	case IsSidecar(c):
		d.start(c)
	case latest.ExitCode == 0:
		through = true
	default:
		d.start(c) // that it may is known: otherwise the pod has failed
	}
	if !through {
		if d.waiting == "everything runs" {
			d.waiting = fmt.Sprintf("init container %s has not started", c.Name)
		}
		return false
	}
	if index+1 == len(d.pod.Spec.InitContainers) {
		return true
	}
	d.start(&d.pod.Spec.InitContainers[index+1])
	return false
}

// keep restarts a sidecar that ended, and kills one that is not well.
func (d *decision) keep(c *corev1.Container) {
	latest, ok := d.o.active(c.Name, d.sandbox.ID)
	if ok && latest.State == engine.Running {
		d.check(c, latest, "Init container ")
		return
	}
	d.start(c)
}

// initFailed tells whether an init container has failed for good.
func initFailed(pod *corev1.Pod, o *Observed) bool {
	for i := range pod.Spec.InitContainers {
		c := &pod.Spec.InitContainers[i]
		latest, ok := o.latest(c.Name)
		if ok && !IsSidecar(c) && latest.State == engine.Exited && latest.ExitCode != 0 &&
			!ShouldRestart(c, &pod.Spec, int32(latest.ExitCode)) {
			return true
		}
	}
	return false
}
