package agent

import (
	"context"
	"path/filepath"
	"strconv"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/libs/trace"
	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/environ"
	"coracle.local/services/kubelet/internal/lifecycle"
	"coracle.local/services/kubelet/internal/podspec"
)

// create makes a container's next instance.
func (s *step) create(ctx context.Context) error {
	c := lifecycle.SpecOf(s.pod, s.action.Container)
	s.countRestart(c.Name)
	spec, err := s.containerSpec(ctx, c)
	if interrupted(ctx) {
		return err
	}
	now := s.cfg.Clock.Now()
	if err != nil {
		s.cfg.Events.Container(s.pod, c.Name, "", corev1.EventTypeWarning, "Failed", "Error: %v", err)
		s.hold(s.r, c.Name, reasonConfig, err.Error(), now.Add(configRetry))
		return err
	}
	spanned, span := s.cfg.Tracer.Start(ctx, s.pod.UID, "create")
	id, err := s.cfg.Engine.CreateContainer(spanned, s.seen.Sandboxes[0].ID, spec)
	trace.Fail(span, err)
	span.End()
	if interrupted(ctx) {
		return err
	}
	// The image is resolved for one instance: the next may have to pull again.
	s.r.remember(func(m *lifecycle.Memory) { delete(m.Images, c.Name) })
	if err != nil {
		s.cfg.Events.Container(s.pod, c.Name, id, corev1.EventTypeWarning, "Failed", "Error: %v", err)
		s.hold(s.r, c.Name, reasonCreate, err.Error(), now.Add(configRetry))
		return err
	}
	s.cfg.Events.Container(s.pod, c.Name, id, corev1.EventTypeNormal, "Created", "Container created")
	return nil
}

// countRestart raises the back-off that the next exit will meet.
func (s *step) countRestart(name string) {
	for _, c := range s.seen.Containers {
		if c.Name != name {
			continue
		}
		if c.State == engine.Exited {
			now := s.cfg.Clock.Now()
			s.r.remember(func(m *lifecycle.Memory) {
				if b := m.Backoffs[name]; b.Updated.Before(c.FinishedAt) || b.Delay == 0 {
					put(&m.Backoffs, name, b.Next(c.FinishedAt, now, s.cfg.Backoff))
				}
			})
		}
		return
	}
}

// containerSpec gathers all that a container is made of.
func (s *step) containerSpec(ctx context.Context, c *corev1.Container) (engine.ContainerSpec, error) {
	image := s.memory.Images[c.Name]
	spec := podspec.Container(s.pod, c, s.action.Attempt, s.cfg.Memory())
	spec.Image = image.ID
	env, err := s.cfg.Environment.Vars(ctx, s.pod, c, s.podIPs())
	if err != nil {
		return spec, err
	}
	spec.Env = env
	values := make(map[string]string, len(env))
	for _, kv := range env {
		values[kv.Key] = kv.Value
	}
	spec.Command, spec.Args = expand(c.Command, values), expand(c.Args, values)
	if spec.Mounts, err = s.cfg.Files.Container(s.pod, c, s.action.Attempt, env, s.podIPs()); err != nil {
		return spec, err
	}
	if spec.Security, err = podspec.Security(s.pod, c, image.User, s.cfg.SeccompDir); err != nil {
		return spec, err
	}
	if s.cfg.PodCgroups {
		spec.CgroupParent = podspec.CgroupParent(s.pod)
	}
	if s.cfg.LogDir != "" {
		folder := s.pod.Namespace + "_" + s.pod.Name + "_" + string(s.pod.UID)
		spec.LogPath = filepath.Join(s.cfg.LogDir, folder, c.Name, strconv.Itoa(s.action.Attempt)+".log")
	}
	return spec, nil
}

func expand(words []string, values map[string]string) []string {
	var out []string
	for _, w := range words {
		out = append(out, environ.Expand(w, func(name string) (string, bool) { v, ok := values[name]; return v, ok }))
	}
	return out
}

// start starts a container and runs its postStart hook.
func (s *step) start(ctx context.Context) error {
	c, id := lifecycle.SpecOf(s.pod, s.action.Container), s.action.ID
	spanned, span := s.cfg.Tracer.Start(ctx, s.pod.UID, "start")
	err := s.cfg.Engine.StartContainer(spanned, id)
	trace.Fail(span, err)
	span.End()
	if interrupted(ctx) {
		return err
	}
	if err != nil {
		s.cfg.Events.Container(s.pod, c.Name, id, corev1.EventTypeWarning, "Failed", "Error: %v", err)
		now := s.cfg.Clock.Now()
		s.r.remember(func(m *lifecycle.Memory) {
			put(&m.Failed, id, true)
			b := m.Backoffs[c.Name].Next(now, now, s.cfg.Backoff)
			put(&m.Backoffs, c.Name, b)
			put(&m.Holds, c.Name, lifecycle.Hold{Container: c.Name, Reason: reasonRun, Message: err.Error(), Until: now.Add(b.Delay)})
		})
		return err
	}
	s.r.started = s.cfg.Clock.Now()
	s.cfg.Events.Container(s.pod, c.Name, id, corev1.EventTypeNormal, "Started", "Container started")
	s.r.remember(func(m *lifecycle.Memory) { delete(m.Holds, c.Name) })
	if c.Lifecycle == nil || c.Lifecycle.PostStart == nil {
		return nil
	}
	return s.postStart(ctx, c, id)
}

// postStart runs the hook; a container whose hook fails is stopped.
func (s *step) postStart(ctx context.Context, c *corev1.Container, id string) error {
	err := s.cfg.Hooks.Run(ctx, s.pod, c, id, first(s.podIPs()), c.Lifecycle.PostStart)
	if err == nil || interrupted(ctx) {
		return err
	}
	// The text may hold secrets: it goes into the status, not into an event.
	s.cfg.Events.Container(s.pod, c.Name, id, corev1.EventTypeWarning, "FailedPostStartHook", "PostStartHook failed")
	s.hold(s.r, c.Name, reasonPostStart, err.Error(), s.cfg.Clock.Now())
	grace := lifecycle.StopGrace(s.pod, 0)
	if killErr := s.kill(ctx, []lifecycle.Victim{{ID: id, Name: c.Name, Message: "FailedPostStartHook", Grace: grace}}); killErr != nil {
		return killErr
	}
	return err
}

func first(list []string) string {
	if len(list) == 0 {
		return ""
	}
	return list[0]
}
