package lifecycle_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/lifecycle"
)

func TestNext(t *testing.T) {
	running, exited, created := engine.Running, engine.Exited, engine.Created
	for _, test := range []struct {
		name string
		pod  *corev1.Pod
		seen *seen
		want string
	}{
		{"a new pod is admitted", newPod(), &seen{}, "Admit"},
		{"volumes come first", newPod(), &seen{memory: lifecycle.Memory{Admitted: true}}, "MountVolumes"},
		{"then the sandbox", newPod(), admitted(), "RunSandbox #0"},
		{"then the image", newPod(), admitted().sandbox("s0", true), "Pull app"},
		{"then the container", newPod(), admitted().sandbox("s0", true).image("app"), "Create app #0"},
		{"which is started", newPod(), admitted().sandbox("s0", true).container("app", created, 0), "Start app"},
		{"and runs", newPod(), admitted().sandbox("s0", true).container("app", running, 0), "Wait"},
		{"it is restarted at once the first time", newPod(), admitted().sandbox("s0", true).container("app", exited, 1), "Pull app"},
		{"with the next attempt", newPod(), admitted().sandbox("s0", true).container("app", exited, 1).image("app"), "Create app #1"},
		{"one that could not start is made anew", newPod(), func() *seen {
			s := admitted().sandbox("s0", true).container("app", created, 0).image("app")
			s.memory.Failed = map[string]bool{"app-0": true}
			return s
		}(), "Create app #1"},
		{"volumes are rendered again when due", newPod(), func() *seen {
			s := admitted().sandbox("s0", true).container("app", running, 0)
			s.memory.Remount = now
			return s
		}(), "MountVolumes"},
		{"older dead instances go", newPod(), admitted().sandbox("s0", true).container("app", exited, 1).container("app", exited, 1).container("app", running, 0), "Remove app-0"},

		{"a dead sandbox takes its containers with it", newPod(), admitted().sandbox("s0", false).container("app", running, 0), "StopPod app"},
		{"and is replaced", newPod(), admitted().sandbox("s0", false).container("app", exited, 137), "RunSandbox #1"},
		{"a sandbox without address is replaced", newPod(), func() *seen {
			s := admitted().sandbox("s0", true)
			s.Sandboxes[0].IPs = nil
			return s
		}(), "StopPod s0"},
		{"two sandboxes are one too many", newPod(), admitted().sandbox("s0", true).sandbox("s1", true), "StopPod s1 s0"},

		{"init containers come in order", newPod(withInit("a"), withInit("b")), admitted().sandbox("s0", true), "Pull a"},
		{"one at a time", newPod(withInit("a"), withInit("b")), admitted().sandbox("s0", true).container("a", running, 0), "Wait"},
		{"the second follows the first", newPod(withInit("a"), withInit("b")), admitted().sandbox("s0", true).container("a", exited, 0), "Pull b"},
		{"the first's remains may be gone", newPod(withInit("a"), withInit("b")), admitted().sandbox("s0", true).container("b", exited, 0), "Pull app"},
		{"a failed one is tried again", newPod(withInit("a")), admitted().sandbox("s0", true).container("a", exited, 1), "Pull a"},
		{"unless the policy is Never", newPod(withInit("a"), policy(corev1.RestartPolicyNever)), admitted().sandbox("s0", true).container("a", exited, 1), "StopPod s0"},
		{"they run again in a new sandbox", newPod(withInit("a")), admitted().sandbox("s0", false).container("a", exited, 0).sandbox("s1", true), "Pull a"},
		{"but not once the pod has run in it", newPod(withInit("a")), admitted().sandbox("s0", true).container("app", exited, 1), "Pull app"},

		{"a sidecar runs before the rest", newPod(withSidecar("s", false)), admitted().sandbox("s0", true).container("s", running, 0), "Pull app"},
		{"once it has started", newPod(withSidecar("s", true)), admitted().sandbox("s0", true).container("s", running, 0), "Wait"},
		{"as its probe tells", newPod(withSidecar("s", true)), func() *seen {
			s := admitted().sandbox("s0", true).container("s", running, 0)
			s.probes["s-0"] = lifecycle.Probes{Startup: lifecycle.Success}
			return s
		}(), "Pull app"},
		{"a sidecar is kept running", newPod(withSidecar("s", false)), admitted().sandbox("s0", true).container("s", exited, 0).container("app", running, 0), "Pull s"},
		{"also while a later init container runs", newPod(withSidecar("s", false), withInit("b")), admitted().sandbox("s0", true).container("s", exited, 0).container("b", running, 0), "Pull s"},

		{"a changed image restarts", newPod(func(p *corev1.Pod) { p.Spec.Containers[0].Image = "app:2" }), admitted().sandbox("s0", true).container("app", running, 0), "Kill app"},
		{"so does a failed liveness probe", newPod(), func() *seen {
			s := admitted().sandbox("s0", true).container("app", running, 0)
			s.probes["app-0"] = lifecycle.Probes{Liveness: lifecycle.Failure}
			return s
		}(), "Kill app"},

		{"a finished pod stops its sidecars", newPod(withSidecar("s", false), policy(corev1.RestartPolicyNever)), admitted().sandbox("s0", true).container("s", running, 0).container("app", exited, 0), "StopPod s s0"},
		{"on failure, success is the end", newPod(policy(corev1.RestartPolicyOnFailure)), admitted().sandbox("s0", true).container("app", exited, 0), "StopPod s0"},
		{"and failure is not", newPod(policy(corev1.RestartPolicyOnFailure)), admitted().sandbox("s0", true).container("app", exited, 2), "Pull app"},
		{"half a pod may be finished", newPod(policy(corev1.RestartPolicyNever), withContainer("two")), admitted().sandbox("s0", true).container("app", exited, 0), "Pull two"},
		{"after the end comes order", newPod(policy(corev1.RestartPolicyNever)), admitted().sandbox("s0", false).container("app", exited, 0), "CleanUp"},
		{"and rest", newPod(policy(corev1.RestartPolicyNever)), func() *seen {
			s := admitted().sandbox("s0", false).container("app", exited, 0)
			s.memory.CleanedUp = true
			return s
		}(), "Done"},

		{"a deleted pod is stopped", newPod(deleted(30)), admitted().sandbox("s0", true).container("app", running, 0), "StopPod app s0"},
		{"even a new one is cleaned up", newPod(deleted(30)), &seen{}, "CleanUp"},
		{"its remains go", newPod(deleted(30)), func() *seen {
			s := admitted().sandbox("s0", false).container("app", exited, 0)
			s.memory.CleanedUp = true
			return s
		}(), "Remove app-0 s0"},
		{"and then itself", newPod(deleted(30)), &seen{memory: lifecycle.Memory{CleanedUp: true}}, "Delete"},
		{"once", newPod(deleted(30)), &seen{memory: lifecycle.Memory{Deleted: true}}, "Done"},
		{"an orphan is stopped", newPod(), func() *seen {
			s := admitted().sandbox("s0", true).container("app", running, 0)
			s.orphan = true
			return s
		}(), "StopPod app s0"},
		{"and forgotten", newPod(), &seen{orphan: true, memory: lifecycle.Memory{CleanedUp: true}}, "Done"},
		{"a rejected pod never starts", newPod(), &seen{memory: lifecycle.Memory{CleanedUp: true, Rejected: &lifecycle.Verdict{Reason: "OutOfcpu", Message: "no room"}}}, "Done"},
		{"a failed pod never starts again", newPod(func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }), &seen{memory: lifecycle.Memory{CleanedUp: true}}, "Done"},
		{"what ran and is lost does not run again under Never", newPod(policy(corev1.RestartPolicyNever), func(p *corev1.Pod) {
			p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
		}), admitted(), "CleanUp"},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := lifecycle.Next(test.pod, test.seen.observed())
			if got.String() != test.want {
				t.Errorf("got %q (%s), want %q", got, got.Why, test.want)
			}
			if got.Why == "" {
				t.Error("an action without a reason")
			}
		})
	}
}

func TestRestartBackoff(t *testing.T) {
	s := admitted().sandbox("s0", true).container("app", engine.Exited, 1)
	finished := s.Containers[0].FinishedAt
	s.memory.Backoffs = map[string]lifecycle.Backoff{"app": {Delay: 20 * time.Second, Updated: now.Add(-time.Minute)}}
	a := lifecycle.Next(newPod(), s.observed())
	if a.Verb != lifecycle.Wait || !a.Until.Equal(finished.Add(20*time.Second)) {
		t.Fatalf("got %s until %s", a, a.Until)
	}
	want := lifecycle.Hold{
		Container: "app", Reason: "CrashLoopBackOff", Until: finished.Add(20 * time.Second),
		Message: "back-off 20s restarting failed container=app pod=web_default(uid-1)",
	}
	if len(a.Holds) != 1 || a.Holds[0] != want {
		t.Errorf("got holds %+v, want %+v", a.Holds, want)
	}
}

func TestOneHoldDoesNotHoldTheOthers(t *testing.T) {
	s := admitted().sandbox("s0", true)
	s.memory.Holds = map[string]lifecycle.Hold{"app": {Container: "app", Reason: "ErrImagePull", Message: "no", Until: now.Add(time.Second)}}
	if a := lifecycle.Next(newPod(withContainer("two")), s.observed()); a.String() != "Pull two" {
		t.Errorf("got %s", a)
	}
	if a := lifecycle.Next(newPod(), s.observed()); a.Verb != lifecycle.Wait || !a.Until.Equal(now.Add(time.Second)) {
		t.Errorf("got %s until %s", a, a.Until)
	}
}

func TestBackoffGrowsAndResets(t *testing.T) {
	limits := lifecycle.DefaultBackoff()
	var b lifecycle.Backoff
	at := now
	var got []time.Duration
	for range 7 {
		b = b.Next(at, at, limits)
		got = append(got, b.Delay)
		at = at.Add(b.Delay)
	}
	want := []time.Duration{10, 20, 40, 80, 160, 300, 300}
	for i := range want {
		if got[i] != want[i]*time.Second {
			t.Fatalf("got %v", got)
		}
	}
	finished := at.Add(11 * time.Minute)
	if until := b.Until(finished, limits); !until.Equal(finished) {
		t.Errorf("a container that ran for long waits until %s", until)
	}
	if b = b.Next(finished, finished, limits); b.Delay != limits.Initial {
		t.Errorf("got %s after a long run", b.Delay)
	}
}

func TestDeadline(t *testing.T) {
	seconds := int64(60)
	started := metav1.NewTime(now.Add(-time.Minute + time.Second))
	pod := newPod(func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds, p.Status.StartTime = &seconds, &started })
	s := admitted().sandbox("s0", true).container("app", engine.Running, 0)
	if a := lifecycle.Next(pod, s.observed()); a.Verb != lifecycle.Wait || !a.Until.Equal(now.Add(time.Second)) {
		t.Fatalf("before: got %s until %s", a, a.Until)
	}
	o := s.observed()
	o.Now = now.Add(time.Second)
	if a := lifecycle.Next(pod, o); a.String() != "StopPod app s0" {
		t.Errorf("after: got %s", a)
	}
	if stop := lifecycle.Stopping(pod, o); stop == nil || stop.Evict == nil || stop.Evict.Reason != "DeadlineExceeded" {
		t.Errorf("got %+v", stop)
	}
}

func TestTerminationOrder(t *testing.T) {
	pod := newPod(withSidecar("first", false), withSidecar("second", false), withContainer("two"), deleted(5))
	s := admitted().sandbox("s0", true)
	for _, name := range []string{"first", "second", "app", "two"} {
		s.container(name, engine.Running, 0)
	}
	a := lifecycle.Next(pod, s.observed())
	after := map[string]map[string]bool{}
	for _, v := range a.Victims {
		after[v.Name] = map[string]bool{}
		for _, name := range v.After {
			after[v.Name][name] = true
		}
		if v.Grace != 5*time.Second {
			t.Errorf("%s gets %s", v.Name, v.Grace)
		}
	}
	if len(after["app"])+len(after["two"]) != 0 {
		t.Errorf("containers wait: %v", after)
	}
	if !after["second"]["app"] || !after["second"]["two"] || after["second"]["first"] {
		t.Errorf("second waits for %v", after["second"])
	}
	if !after["first"]["app"] || !after["first"]["two"] || !after["first"]["second"] {
		t.Errorf("first waits for %v", after["first"])
	}
}

func TestStopGrace(t *testing.T) {
	for _, test := range []struct {
		name  string
		pod   *corev1.Pod
		soFar time.Duration
		want  time.Duration
	}{
		{"the pod's own", newPod(), 0, 30 * time.Second},
		{"the deletion's", newPod(deleted(7)), 0, 7 * time.Second},
		{"zero is a second", newPod(deleted(0)), 0, time.Second},
		{"it shrinks", newPod(deleted(3)), 7 * time.Second, 3 * time.Second},
		{"and does not grow", newPod(deleted(9)), 7 * time.Second, 7 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := lifecycle.StopGrace(test.pod, test.soFar); got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestRestartRules(t *testing.T) {
	never, onFailure := corev1.ContainerRestartPolicyNever, corev1.ContainerRestartPolicyOnFailure
	rule := corev1.ContainerRestartRule{
		Action:    corev1.ContainerRestartRuleActionRestart,
		ExitCodes: &corev1.ContainerRestartRuleOnExitCodes{Operator: corev1.ContainerRestartRuleOnExitCodesOpIn, Values: []int32{42}},
	}
	spec := &corev1.PodSpec{RestartPolicy: corev1.RestartPolicyNever}
	for _, test := range []struct {
		name string
		c    corev1.Container
		code int32
		want bool
	}{
		{"the pod's policy", corev1.Container{}, 1, false},
		{"the container's policy", corev1.Container{RestartPolicy: &onFailure}, 1, true},
		{"which may be content", corev1.Container{RestartPolicy: &onFailure}, 0, false},
		{"a rule comes first", corev1.Container{RestartPolicy: &never, RestartPolicyRules: []corev1.ContainerRestartRule{rule}}, 42, true},
		{"where it matches", corev1.Container{RestartPolicy: &never, RestartPolicyRules: []corev1.ContainerRestartRule{rule}}, 41, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := lifecycle.ShouldRestart(&test.c, spec, test.code); got != test.want {
				t.Errorf("got %v", got)
			}
		})
	}
}
