package agent_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/services/kubelet/internal/engine/hollow"
	"coracle.local/services/kubelet/internal/lifecycle"
)

type option func(*corev1.Pod)

func newPod(name string, options ...option) *corev1.Pod {
	grace := int64(30)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID("uid-" + name), Generation: 1, Annotations: map[string]string{}},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: &grace, DNSPolicy: corev1.DNSDefault,
			Containers: []corev1.Container{{Name: "app", Image: "app:1", ImagePullPolicy: corev1.PullIfNotPresent}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
	for _, o := range options {
		o(p)
	}
	return p
}

func policy(p corev1.RestartPolicy) option {
	return func(pod *corev1.Pod) { pod.Spec.RestartPolicy = p }
}

func annotated(k, v string) option { return func(pod *corev1.Pod) { pod.Annotations[k] = v } }

func TestAPodRuns(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.create(newPod("web"))
		if got := c.containers("uid-web"); got != "app#0 running" {
			t.Fatalf("containers: %s", got)
		}
		s := c.pod("web").Status
		if s.Phase != corev1.PodRunning || s.PodIP == "" || !s.ContainerStatuses[0].Ready || s.StartTime == nil {
			t.Errorf("status: %+v", s)
		}
		want := []string{
			`Pulling: Pulling image "app:1"`, `Pulled: Successfully pulled image "app:1" in 0s (0s including waiting). Image size: 1048576 bytes.`,
			"Created: Container created", "Started: Container started",
		}
		if got := c.took(); !slices.Equal(got, want) {
			t.Errorf("events: %q", got)
		}
		c.after(time.Hour)
		if got := c.took(); len(got) != 0 || c.containers("uid-web") != "app#0 running" {
			t.Errorf("afterwards: %q, %s", got, c.containers("uid-web"))
		}
	})
}

func TestCrashLoop(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.create(newPod("web", annotated(hollow.RunAnnotation, "1s"), annotated(hollow.ExitAnnotation, "1")))
		c.after(time.Second) // ends, and is restarted at once
		if got := c.containers("uid-web"); got != "app#0 exited, app#1 running" {
			t.Fatalf("at first: %s", got)
		}
		c.after(time.Second)
		for i, wait := range []time.Duration{10, 20, 40, 80} {
			s := c.pod("web").Status.ContainerStatuses[0]
			if c.waiting("web") != "CrashLoopBackOff" || s.LastTerminationState.Terminated == nil || int(s.RestartCount) != i+1 {
				t.Fatalf("round %d: %+v", i, s)
			}
			c.after(wait*time.Second - time.Millisecond)
			if c.waiting("web") != "CrashLoopBackOff" {
				t.Fatalf("round %d: restarted before %ds had passed", i, wait)
			}
			c.after(time.Millisecond)
			if s := c.pod("web").Status.ContainerStatuses[0]; s.State.Running == nil || int(s.RestartCount) != i+2 {
				t.Fatalf("round %d: not restarted: %+v", i, s)
			}
			c.after(time.Second)
		}
		if !slices.Contains(c.took(), "BackOff: Back-off restarting failed container app in pod web_ns(uid-web)") {
			t.Error("no event tells of the back-off")
		}
	})
}

func TestRunToCompletion(t *testing.T) {
	for code, phase := range map[string]corev1.PodPhase{"0": corev1.PodSucceeded, "7": corev1.PodFailed} {
		t.Run(code, func(t *testing.T) {
			bubble(t, func(c *cluster) {
				c.create(newPod("job", policy(corev1.RestartPolicyNever), annotated(hollow.RunAnnotation, "30s"), annotated(hollow.ExitAnnotation, code)))
				if got := c.pod("job").Status.Phase; got != corev1.PodRunning {
					t.Fatalf("at first: %s", got)
				}
				c.after(30 * time.Second)
				if got := c.pod("job").Status.Phase; got != phase || c.containers("uid-job") != "app#0 exited" {
					t.Errorf("in the end: %s, %s", got, c.containers("uid-job"))
				}
				c.delete("job", 30)
				if c.has("job") || c.containers("uid-job") != "" {
					t.Errorf("after its deletion: %s", c.containers("uid-job"))
				}
			})
		})
	}
}

func TestGracefulDeletion(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.engine.slow["app"] = 5 * time.Second
		c.create(newPod("web"))
		c.took()
		c.delete("web", 30)
		c.after(4 * time.Second)
		if !c.has("web") || c.containers("uid-web") != "app#0 running" {
			t.Fatal("gone too early")
		}
		c.after(time.Second)
		if c.has("web") || c.containers("uid-web") != "" {
			t.Errorf("still there: %s", c.containers("uid-web"))
		}
		if got := c.took(); !slices.Equal(got, []string{"Killing: Stopping container app"}) {
			t.Errorf("events: %q", got)
		}
		if got := c.engine.graces["app"]; got != 30*time.Second {
			t.Errorf("grace was %s", got)
		}
	})
}

func TestDeletionMayBecomeMoreUrgent(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.engine.slow["app"] = time.Hour
		c.create(newPod("web"))
		c.delete("web", 30)
		c.after(10 * time.Second)
		c.delete("web", 3)
		c.after(3 * time.Second)
		if c.has("web") || c.engine.graces["app"] != 3*time.Second {
			t.Errorf("grace was %s", c.engine.graces["app"])
		}
	})
}

func TestAPodThatVanishesIsCleanedUp(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.create(newPod("web"))
		c.vanish("web")
		c.after(time.Second)
		if got := c.containers("uid-web"); got != "" {
			t.Errorf("left: %s", got)
		}
	})
}

func TestSidecarsEndLast(t *testing.T) {
	always := corev1.ContainerRestartPolicyAlways
	bubble(t, func(c *cluster) {
		c.engine.slow["app"] = 2 * time.Second
		c.create(newPod("web", func(p *corev1.Pod) {
			p.Spec.InitContainers = []corev1.Container{
				{Name: "setup", Image: "setup:1"}, {Name: "mesh", Image: "mesh:1", RestartPolicy: &always}, {Name: "logs", Image: "logs:1", RestartPolicy: &always},
			}
		}))
		if got := c.containers("uid-web"); got != "setup#0 exited, mesh#0 running, logs#0 running, app#0 running" {
			t.Fatalf("at first: %s", got)
		}
		c.delete("web", 30)
		c.after(10 * time.Second)
		if !slices.Equal(c.engine.stopped, []string{"app", "logs", "mesh"}) || c.has("web") {
			t.Errorf("ended as %v", c.engine.stopped)
		}
	})
}

func TestANewKubeletAdoptsWhatRuns(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.create(newPod("web"))
		c.create(newPod("other"))
		before := c.running("uid-web", "app")
		c.crash()
		c.took()
		c.vanish("other")
		c.verdict = &lifecycle.Verdict{Reason: "OutOfcpu", Message: "no room"} // for new pods only
		c.boot()
		c.after(time.Minute)
		if got := c.running("uid-web", "app"); got != before || c.pod("web").Status.Phase != corev1.PodRunning {
			t.Errorf("%s became %s", before, got)
		}
		if got := c.containers("uid-other"); got != "" {
			t.Errorf("the orphan is left: %s", got)
		}
		if got := c.took(); !slices.Equal(got, []string{"Killing: Stopping container app"}) {
			t.Errorf("events: %q", got)
		}
	})
}

func TestRejection(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.verdict = &lifecycle.Verdict{Reason: "OutOfcpu", Message: "no room"}
		c.create(newPod("web"))
		s := c.pod("web").Status
		if s.Phase != corev1.PodFailed || s.Reason != "OutOfcpu" || s.Message != "Pod was rejected: no room" || c.containers("uid-web") != "" {
			t.Errorf("got %+v", s)
		}
		if got := c.took(); !slices.Equal(got, []string{"OutOfcpu: no room"}) {
			t.Errorf("events: %q", got)
		}
		c.delete("web", 30)
		if c.has("web") {
			t.Error("it cannot be deleted")
		}
	})
}

func TestADeadSandboxIsReplaced(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.create(newPod("web"))
		ip := c.pod("web").Status.PodIP
		p, err := c.engine.Engine.Pod(t.Context(), "uid-web")
		if err != nil {
			t.Fatal(err)
		}
		if err := c.engine.Engine.StopSandbox(t.Context(), p.Sandboxes[0].ID); err != nil {
			t.Fatal(err)
		}
		c.after(11 * time.Second)
		if got := c.containers("uid-web"); got != "app#0 exited, app#1 running" {
			t.Errorf("containers: %s", got)
		}
		if got := c.pod("web").Status; got.PodIP == ip || got.ContainerStatuses[0].RestartCount != 1 {
			t.Errorf("status: %+v", got)
		}
	})
}

func TestDeadline(t *testing.T) {
	seconds := int64(60)
	bubble(t, func(c *cluster) {
		c.create(newPod("web", func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = &seconds }))
		c.after(59 * time.Second)
		if got := c.pod("web").Status.Phase; got != corev1.PodRunning {
			t.Fatalf("before: %s", got)
		}
		c.took()
		c.after(2 * time.Second)
		s := c.pod("web").Status
		if s.Phase != corev1.PodFailed || s.Reason != "DeadlineExceeded" || s.Message != "Pod was active on the node longer than the specified deadline" {
			t.Errorf("after: %+v", s)
		}
		if got := c.took(); len(got) == 0 || !strings.HasPrefix(got[0], "DeadlineExceeded") {
			t.Errorf("events: %q", got)
		}
	})
}

func TestImageThatCannotBePulled(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.engine.fail("Pull", errors.New("manifest unknown"))
		c.create(newPod("web"))
		if got := c.waiting("web"); got != "ErrImagePull" {
			t.Fatalf("at first: %s", got)
		}
		c.after(3 * time.Second)
		if got := c.waiting("web"); got != "ImagePullBackOff" {
			t.Fatalf("then: %s", got)
		}
		c.engine.fail("Pull", nil)
		c.after(10 * time.Second)
		if got := c.containers("uid-web"); got != "app#0 running" {
			t.Errorf("in the end: %s", got)
		}
		events := c.took()
		for _, want := range []string{`Failed: Failed to pull image "app:1": manifest unknown`, "Failed: Error: ErrImagePull", `BackOff: Back-off pulling image "app:1"`, "Failed: Error: ImagePullBackOff"} {
			if !slices.Contains(events, want) {
				t.Errorf("no event %q in %q", want, events)
			}
		}
	})
}

func TestMissingObjectsAreWaitedFor(t *testing.T) {
	bubble(t, func(c *cluster) {
		ref := corev1.LocalObjectReference{Name: "cfg"}
		c.create(newPod("vol", func(p *corev1.Pod) {
			p.Spec.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{LocalObjectReference: ref}}}}
		}))
		c.create(newPod("env", func(p *corev1.Pod) {
			p.Spec.Containers[0].EnvFrom = []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: ref}}}
		}))
		c.after(time.Second)
		if v, e := c.waiting("vol"), c.waiting("env"); v != "ContainerCreating" || e != "CreateContainerConfigError" {
			t.Fatalf("at first: %s, %s", v, e)
		}
		if got := c.took(); !slices.Contains(got, `FailedMount: MountVolume.SetUp failed for volume "v" : configmap "cfg" not found`) ||
			!slices.Contains(got, `Failed: Error: configmap "cfg" not found`) {
			t.Errorf("events: %q", got)
		}
		c.mu.Lock()
		c.configMaps["cfg"] = &corev1.ConfigMap{}
		c.mu.Unlock()
		c.agent.ObjectChanged("uid-vol")
		c.agent.ObjectChanged("uid-env")
		c.after(0)
		if v, e := c.containers("uid-vol"), c.containers("uid-env"); v != "app#0 running" || e != "app#0 running" {
			t.Errorf("in the end: %s, %s", v, e)
		}
	})
}

func TestProbesAndHooks(t *testing.T) {
	bubble(t, func(c *cluster) {
		hook := func(word string) *corev1.LifecycleHandler {
			return &corev1.LifecycleHandler{Exec: &corev1.ExecAction{Command: []string{word}}}
		}
		var ran []string
		c.hooks = func(h *corev1.LifecycleHandler) error {
			ran = append(ran, h.Exec.Command[0])
			if len(ran) == 1 {
				return errors.New("not yet")
			}
			return nil
		}
		c.create(newPod("web", func(p *corev1.Pod) {
			p.Spec.Containers[0].Lifecycle = &corev1.Lifecycle{PostStart: hook("post"), PreStop: hook("pre")}
			p.Spec.Containers[0].LivenessProbe = &corev1.Probe{}
		}))
		// The first postStart fails and the container is stopped, preStop first.
		c.after(time.Minute)
		if !slices.Equal(ran, []string{"post", "pre", "post"}) || c.containers("uid-web") != "app#0 exited, app#1 running" {
			t.Fatalf("hooks %v, containers %s", ran, c.containers("uid-web"))
		}
		if got := c.took(); !slices.Contains(got, "FailedPostStartHook: PostStartHook failed") || !slices.Contains(got, "Killing: FailedPostStartHook") {
			t.Errorf("events: %q", got)
		}
		c.mu.Lock()
		c.probes[c.running("uid-web", "app")] = lifecycle.Probes{Liveness: lifecycle.Failure}
		c.mu.Unlock()
		c.agent.Wake("uid-web")
		c.after(time.Minute)
		if got := c.containers("uid-web"); got != "app#1 exited, app#2 running" {
			t.Errorf("after the probe failed: %s", got)
		}
		if got := c.took(); !slices.Contains(got, "Killing: Container app failed liveness probe, will be restarted") {
			t.Errorf("events: %q", got)
		}
	})
}

func TestNoProgressDoesNotKeepAProcessorBusy(t *testing.T) {
	bubble(t, func(c *cluster) {
		c.engine.mu.Lock()
		c.engine.forgetful = true // sandboxes are made and are gone at once
		c.engine.mu.Unlock()
		c.create(newPod("web"))
		c.after(time.Minute)
		c.engine.mu.Lock()
		made := c.engine.made
		c.engine.forgetful = false
		c.engine.mu.Unlock()
		if made < 2 || made > 500 {
			t.Errorf("%d sandboxes in a minute", made)
		}
		c.after(time.Minute)
		if got := c.containers("uid-web"); got != "app#0 running" {
			t.Errorf("in the end: %s", got)
		}
	})
}
