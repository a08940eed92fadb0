package agent

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"coracle.local/services/kubelet/internal/lifecycle"
)

// leastGrace is what a container always gets to shut down.
const leastGrace = 2 * time.Second

// stopRetry bounds the delay between attempts to stop a pod.
const stopRetry = 10 * time.Second

// killSome stops containers of a pod that lives on.
func (s *step) killSome(ctx context.Context) error {
	err := s.kill(ctx, s.action.Victims)
	if err != nil && !interrupted(ctx) {
		s.holdPod(s.r, reasonStop, err, stopRetry)
	}
	return err
}

// stopPod stops all containers and then the sandboxes.
func (s *step) stopPod(ctx context.Context) error {
	switch {
	case s.stop == nil:
		s.cfg.Events.Pod(s.pod, corev1.EventTypeNormal, "SandboxChanged", "Pod sandbox changed, it will be killed and re-created.")
	case s.stop.Evict != nil:
		v := *s.stop.Evict
		s.r.remember(func(m *lifecycle.Memory) { m.Evicted = &v })
		s.cfg.Events.Pod(s.pod, corev1.EventTypeNormal, v.Reason, "%s", v.Message)
	}
	err := s.kill(ctx, s.action.Victims)
	if err == nil {
		for _, id := range s.action.Sandboxes {
			err = errors.Join(err, s.cfg.Engine.StopSandbox(ctx, id))
		}
	}
	switch {
	case interrupted(ctx):
	case err != nil:
		s.cfg.Events.Pod(s.pod, corev1.EventTypeWarning, reasonStop, "error killing pod: %v", err)
		s.holdPod(s.r, reasonStop, err, stopRetry)
	default:
		s.unhold(s.r)
	}
	return err
}

// kill stops containers, all at once but for those that must outlive others.
func (s *step) kill(ctx context.Context, victims []lifecycle.Victim) error {
	ended := map[string]chan struct{}{}
	for _, v := range victims {
		ended[v.Name] = make(chan struct{})
	}
	errs := make([]error, len(victims))
	var group sync.WaitGroup
	for i, v := range victims {
		hooked := s.r.hooked[v.ID]
		put(&s.r.hooked, v.ID, true)
		group.Go(func() {
			defer close(ended[v.Name])
			errs[i] = s.killOne(ctx, v, ended, hooked)
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

func (s *step) killOne(ctx context.Context, v lifecycle.Victim, ended map[string]chan struct{}, hooked bool) error {
	s.cfg.Events.Container(s.pod, v.Name, v.ID, corev1.EventTypeNormal, "Killing", "%s", v.Message)
	end := s.cfg.Clock.Now().Add(v.Grace)
	spec := lifecycle.SpecOf(s.pod, v.Name)
	if spec != nil && spec.Lifecycle != nil && spec.Lifecycle.PreStop != nil && v.Grace > 0 && !hooked {
		s.preStop(ctx, spec, v)
	}
	for _, name := range v.After {
		s.await(ctx, ended[name], end)
	}
	if interrupted(ctx) {
		return ctx.Err()
	}
	grace := max(end.Sub(s.cfg.Clock.Now()), leastGrace)
	if err := s.cfg.Engine.StopContainer(ctx, v.ID, grace); err != nil {
		return fmt.Errorf("stop container %s: %w", v.Name, err)
	}
	return nil
}

// await returns when another victim has ended, or time is up.
func (s *step) await(ctx context.Context, ended <-chan struct{}, end time.Time) {
	left := end.Sub(s.cfg.Clock.Now())
	if left <= 0 {
		return
	}
	timer := s.cfg.Clock.NewTimer(left)
	defer timer.Stop()
	select {
	case <-ended:
	case <-timer.C():
	case <-ctx.Done():
	}
}

// preStop runs the hook for as long as there is grace.
func (s *step) preStop(ctx context.Context, c *corev1.Container, v lifecycle.Victim) {
	ctx, cancel := context.WithCancel(ctx)
	timer := s.cfg.Clock.AfterFunc(v.Grace, cancel)
	defer func() {
		timer.Stop()
		cancel()
	}()
	err := s.cfg.Hooks.Run(ctx, s.pod, c, v.ID, first(s.podIPs()), c.Lifecycle.PreStop)
	if err == nil {
		return
	}
	s.cfg.Log.Info("pre-stop hook failed", zap.String("pod", lifecycle.Format(s.pod)), zap.String("container", c.Name), zap.Error(err))
	if ctx.Err() == nil {
		// The text may hold secrets and stays out of the event.
		s.cfg.Events.Container(s.pod, c.Name, v.ID, corev1.EventTypeWarning, "FailedPreStopHook", "PreStopHook failed")
	}
}

// remove removes what is dead.
func (s *step) remove(ctx context.Context) error {
	var errs []error
	for _, id := range s.action.Containers {
		errs = append(errs, s.cfg.Engine.RemoveContainer(ctx, id))
	}
	for _, id := range s.action.Sandboxes {
		errs = append(errs, s.cfg.Engine.RemoveSandbox(ctx, id))
	}
	return s.settled(ctx, reasonStop, errors.Join(errs...))
}

// settled holds the pod after a failure and lets it go on after a success.
func (s *step) settled(ctx context.Context, reason string, err error) error {
	switch {
	case interrupted(ctx):
	case err != nil:
		s.holdPod(s.r, reason, err, stopRetry)
	default:
		s.unhold(s.r)
	}
	return err
}

// cleanUp takes the pod's files off the node, and what else is kept of it.
func (s *step) cleanUp() error {
	s.cfg.Probes.Forget(s.pod.UID)
	s.cfg.References.Forget(s.pod.UID)
	s.cfg.Images.Forget(s.pod.UID)
	if err := s.cfg.Files.Remove(s.pod.UID); err != nil {
		s.holdPod(s.r, reasonStop, err, stopRetry)
		return err
	}
	s.unhold(s.r)
	s.r.remember(func(m *lifecycle.Memory) { m.CleanedUp, m.Mounted, m.Remount = true, false, time.Time{} })
	return nil
}

// delete reports the end and deletes the pod from the API server.
func (s *step) delete(ctx context.Context) error {
	err := s.cfg.Reporter.Finish(ctx, s.pod, s.status)
	if apierrors.IsNotFound(err) {
		err = nil
	}
	if err == nil {
		s.r.remember(func(m *lifecycle.Memory) { m.Deleted = true })
	}
	return s.settled(ctx, reasonDelete, err)
}
