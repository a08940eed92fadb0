package agent

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/libs/trace"
	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/images"
	"coracle.local/services/kubelet/internal/lifecycle"
	"coracle.local/services/kubelet/internal/podspec"
	"coracle.local/services/kubelet/internal/podstatus"
)

// Reasons of waiting containers and held pods.
const (
	reasonMount      = "FailedMount"
	reasonSandbox    = "FailedCreatePodSandBox"
	reasonStop       = "FailedKillPod"
	reasonDelete     = "FailedDelete"
	reasonNoProgress = "NoProgress"
	reasonConfig     = "CreateContainerConfigError"
	reasonCreate     = "CreateContainerError"
	reasonRun        = "RunContainerError"
	reasonPostStart  = "PostStartHookError"
)

// step is one action about to be taken, with what it was decided upon.
type step struct {
	*Agent
	r      *record
	pod    *corev1.Pod
	seen   engine.Pod
	memory lifecycle.Memory
	status corev1.PodStatus
	stop   *lifecycle.Stop
	action lifecycle.Action
}

func (s *step) apply(ctx context.Context) error {
	switch s.action.Verb {
	case lifecycle.Admit:
		s.admit()
		return nil
	case lifecycle.MountVolumes:
		return s.mountVolumes(ctx)
	case lifecycle.RunSandbox:
		return s.runSandbox(ctx)
	case lifecycle.Pull:
		return s.pull(ctx)
	case lifecycle.Create:
		return s.create(ctx)
	case lifecycle.Start:
		return s.start(ctx)
	case lifecycle.Kill:
		return s.killSome(ctx)
	case lifecycle.StopPod:
		return s.stopPod(ctx)
	case lifecycle.Remove:
		return s.remove(ctx)
	case lifecycle.CleanUp:
		return s.cleanUp()
	case lifecycle.Delete:
		return s.delete(ctx)
	}
	return fmt.Errorf("no such step: %s", s.action.Verb)
}

// admit asks whether the node takes the pod, and counts it if so.
func (s *step) admit() {
	s.admission.Lock()
	defer s.admission.Unlock()
	var others []*corev1.Pod
	for uid, p := range s.admitted {
		if uid != s.r.uid {
			others = append(others, p)
		}
	}
	verdict := s.cfg.Admit(s.pod, others)
	now := s.cfg.Clock.Now()
	s.r.remember(func(m *lifecycle.Memory) {
		m.StartTime = now
		m.Admitted, m.Rejected = verdict == nil, verdict
	})
	if verdict != nil {
		s.cfg.Events.Pod(s.pod, corev1.EventTypeWarning, verdict.Reason, "%s", verdict.Message)
		return
	}
	s.admitted[s.r.uid] = s.pod
	s.cfg.References.Use(s.pod)
}

// release stops counting a pod that runs no more.
func (a *Agent) release(r *record) {
	a.admission.Lock()
	defer a.admission.Unlock()
	delete(a.admitted, r.uid)
}

func (s *step) podIPs() []string {
	return podstatus.PodIPs(s.pod, s.seen, s.cfg.HostIPs())
}

func (s *step) mountVolumes(ctx context.Context) error {
	s.cfg.References.Use(s.pod)
	again, err := s.cfg.Files.Mount(ctx, s.pod, s.podIPs())
	if interrupted(ctx) {
		return err
	}
	if err != nil {
		for _, e := range split(err) {
			s.cfg.Events.Pod(s.pod, corev1.EventTypeWarning, reasonMount, "%v", e)
		}
		if s.memory.Mounted {
			// What runs goes on with what it has.
			s.r.remember(func(m *lifecycle.Memory) { m.Remount = s.cfg.Clock.Now().Add(configRetry) })
		} else {
			s.holdPod(s.r, reasonMount, err, lastRetry)
		}
		return err
	}
	s.unhold(s.r)
	asked := s.memory.Remount
	s.r.remember(func(m *lifecycle.Memory) {
		m.Mounted = true
		if m.Remount.Equal(asked) { // not asked for anew meanwhile
			m.Remount = again
		}
	})
	return nil
}

// split takes joined errors apart, for one event each.
func split(err error) []error {
	var joined interface{ Unwrap() []error }
	if errors.As(err, &joined) {
		return joined.Unwrap()
	}
	return []error{err}
}

func (s *step) runSandbox(ctx context.Context) error {
	spec := podspec.Sandbox(s.pod, s.action.Attempt, s.cfg.SeccompDir)
	settings := s.cfg.DNS()
	dns, warnings := settings.For(s.pod)
	for _, w := range warnings {
		s.cfg.Events.Pod(s.pod, corev1.EventTypeWarning, w.Reason, "%s", w.Message)
	}
	spec.DNS = dns
	if s.cfg.PodCgroups {
		spec.CgroupParent = podspec.CgroupParent(s.pod)
	}
	name, domain, err := podspec.Hostname(s.pod, settings.ClusterDomain)
	if err == nil {
		spec.Hostname, err = podspec.FQDN(s.pod, name, domain)
	}
	if err == nil {
		spanned, span := s.cfg.Tracer.Start(ctx, s.pod.UID, "sandbox")
		_, err = s.cfg.Engine.RunSandbox(spanned, spec)
		trace.Fail(span, err)
		span.End()
	}
	if interrupted(ctx) {
		return err
	}
	if err != nil {
		s.cfg.Events.Pod(s.pod, corev1.EventTypeWarning, reasonSandbox, "Failed to create pod sandbox: %v", err)
		s.holdPod(s.r, reasonSandbox, err, configRetry)
		return err
	}
	s.unhold(s.r)
	return nil
}

func (s *step) pull(ctx context.Context) error {
	c := lifecycle.SpecOf(s.pod, s.action.Container)
	spanned, span := s.cfg.Tracer.Start(ctx, s.pod.UID, "pull")
	image, err := s.cfg.Images.Ensure(spanned, s.pod, c.Name, c.Image, c.ImagePullPolicy)
	trace.Fail(span, err)
	span.End()
	if interrupted(ctx) {
		return err
	}
	var f *images.Failure
	switch {
	case errors.As(err, &f):
		s.cfg.Events.Container(s.pod, c.Name, "", corev1.EventTypeWarning, "Failed", "Error: %s", f.Reason)
		s.hold(s.r, c.Name, f.Reason, f.Message, f.Until)
	case err != nil:
		s.hold(s.r, c.Name, images.ErrImagePull, err.Error(), s.cfg.Clock.Now().Add(configRetry))
	default:
		s.r.remember(func(m *lifecycle.Memory) { put(&m.Images, c.Name, image) })
	}
	return err
}
