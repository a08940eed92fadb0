package podstatus_test

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/lifecycle"
	"coracle.local/services/kubelet/internal/podstatus"
)

var now = time.Date(2026, 5, 1, 12, 0, 0, 123, time.UTC)

func pod(policy corev1.RestartPolicy, inits ...string) *corev1.Pod {
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "web", UID: "u", Generation: 3},
		Spec:       corev1.PodSpec{RestartPolicy: policy, Containers: []corev1.Container{{Name: "app", Image: "app:1"}}},
	}
	for _, name := range inits {
		p.Spec.InitContainers = append(p.Spec.InitContainers, corev1.Container{Name: name, Image: name})
	}
	return p
}

func container(name string, attempt int, state engine.State, code int) engine.Container {
	c := engine.Container{
		ID: name + string(rune('0'+attempt)), SandboxID: "s", Name: name, Attempt: attempt, Image: name + ":1", ImageID: "sha256:1",
		State: state, ExitCode: code, StartedAt: now.Add(-time.Minute),
	}
	if state == engine.Exited {
		c.FinishedAt, c.Reason = now, engine.ReasonCompleted
		if code != 0 {
			c.Reason = engine.ReasonError
		}
	}
	return c
}

func input(p *corev1.Pod, containers ...engine.Container) podstatus.Input {
	return podstatus.Input{
		Pod: p, Engine: "docker", Now: now, HostIPs: []string{"192.168.0.1"},
		Runtime: engine.Pod{Sandboxes: []engine.Sandbox{{ID: "s", Ready: true, IPs: []string{"10.0.0.7"}}}, Containers: containers},
	}
}

func condition(s corev1.PodStatus, t corev1.PodConditionType) corev1.PodCondition {
	for _, c := range s.Conditions {
		if c.Type == t {
			return c
		}
	}
	return corev1.PodCondition{}
}

func TestPhase(t *testing.T) {
	running, exited := engine.Running, engine.Exited
	for _, test := range []struct {
		name    string
		policy  corev1.RestartPolicy
		inits   []string
		seen    []engine.Container
		stopped bool
		want    corev1.PodPhase
	}{
		{"nothing yet", corev1.RestartPolicyAlways, nil, nil, false, corev1.PodPending},
		{"runs", corev1.RestartPolicyAlways, nil, []engine.Container{container("app", 0, running, 0)}, false, corev1.PodRunning},
		{"restarts", corev1.RestartPolicyAlways, nil, []engine.Container{container("app", 0, exited, 1)}, false, corev1.PodRunning},
		{"restarts on failure", corev1.RestartPolicyOnFailure, nil, []engine.Container{container("app", 0, exited, 1)}, false, corev1.PodRunning},
		{"succeeded", corev1.RestartPolicyOnFailure, nil, []engine.Container{container("app", 0, exited, 0)}, true, corev1.PodSucceeded},
		{"failed", corev1.RestartPolicyNever, nil, []engine.Container{container("app", 0, exited, 3)}, true, corev1.PodFailed},
		{"initializing", corev1.RestartPolicyAlways, []string{"i"}, []engine.Container{container("i", 0, running, 0)}, false, corev1.PodPending},
		{"initialized", corev1.RestartPolicyAlways, []string{"i"}, []engine.Container{container("app", 0, running, 0), container("i", 0, exited, 0)}, false, corev1.PodRunning},
		{"init failed", corev1.RestartPolicyNever, []string{"i"}, []engine.Container{container("i", 0, exited, 1)}, true, corev1.PodFailed},
		{"init to be repeated", corev1.RestartPolicyAlways, []string{"i"}, []engine.Container{container("i", 0, exited, 1)}, false, corev1.PodPending},
		{"stopped before it ran", corev1.RestartPolicyAlways, nil, nil, true, corev1.PodFailed},
		{"stopped in good order", corev1.RestartPolicyAlways, nil, []engine.Container{container("app", 0, exited, 0)}, true, corev1.PodSucceeded},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := input(pod(test.policy, test.inits...), test.seen...)
			in.Stopped = test.stopped
			if got := podstatus.Compute(in).Phase; got != test.want {
				t.Errorf("got %s, want %s", got, test.want)
			}
		})
	}
}

func TestRunningPod(t *testing.T) {
	s := podstatus.Compute(input(pod(corev1.RestartPolicyAlways), container("app", 0, engine.Running, 0)))
	if s.PodIP != "10.0.0.7" || len(s.PodIPs) != 1 || s.HostIP != "192.168.0.1" || s.QOSClass != corev1.PodQOSBestEffort {
		t.Errorf("addresses or class: %+v", s)
	}
	c := s.ContainerStatuses[0]
	if c.ContainerID != "docker://app0" || !c.Ready || c.Started == nil || !*c.Started || c.State.Running == nil {
		t.Errorf("container: %+v", c)
	}
	var order []corev1.PodConditionType
	for _, c := range s.Conditions {
		order = append(order, c.Type)
		if c.Status != corev1.ConditionTrue || c.ObservedGeneration != 3 || c.LastTransitionTime.Nanosecond() != 0 {
			t.Errorf("condition: %+v", c)
		}
	}
	if len(order) != 5 || order[0] != corev1.PodReadyToStartContainers || order[4] != corev1.PodScheduled {
		t.Errorf("conditions: %v", order)
	}
	if s.StartTime == nil || s.StartTime.Nanosecond() != 0 {
		t.Errorf("start time: %v", s.StartTime)
	}
}

func TestWaitingReasons(t *testing.T) {
	in := input(pod(corev1.RestartPolicyAlways, "i"))
	s := podstatus.Compute(in)
	if got := s.ContainerStatuses[0].State.Waiting.Reason; got != "PodInitializing" {
		t.Errorf("before init: %s", got)
	}
	if c := condition(s, corev1.PodInitialized); c.Message != "containers with incomplete status: [i]" || c.Reason != "ContainersNotInitialized" {
		t.Errorf("initialized: %+v", c)
	}
	if c := condition(s, corev1.PodReady); c.Message != "containers with unready status: [app]" || c.Reason != "ContainersNotReady" {
		t.Errorf("ready: %+v", c)
	}
	if got := podstatus.Compute(input(pod(corev1.RestartPolicyAlways))).ContainerStatuses[0].State.Waiting.Reason; got != "ContainerCreating" {
		t.Errorf("without init: %s", got)
	}
}

func TestCrashLoop(t *testing.T) {
	in := input(pod(corev1.RestartPolicyAlways), container("app", 2, engine.Exited, 1))
	in.Memory.Holds = map[string]lifecycle.Hold{"app": {Reason: "CrashLoopBackOff", Message: "back-off"}}
	c := podstatus.Compute(in).ContainerStatuses[0]
	if c.State.Waiting == nil || c.State.Waiting.Reason != "CrashLoopBackOff" || c.LastTerminationState.Terminated == nil ||
		c.LastTerminationState.Terminated.ExitCode != 1 || c.RestartCount != 2 {
		t.Fatalf("got %+v", c)
	}
	in.Old = corev1.PodStatus{ContainerStatuses: []corev1.ContainerStatus{c}}
	in.Runtime.Containers = []engine.Container{container("app", 3, engine.Running, 0)}
	c = podstatus.Compute(in).ContainerStatuses[0]
	if c.State.Running == nil || c.RestartCount != 3 || c.LastTerminationState.Terminated == nil || c.LastTerminationState.Terminated.ContainerID != "docker://app2" {
		t.Errorf("after the restart: %+v", c)
	}
}

func TestReadiness(t *testing.T) {
	p := pod(corev1.RestartPolicyAlways)
	p.Spec.Containers[0].ReadinessProbe, p.Spec.Containers[0].StartupProbe = &corev1.Probe{}, &corev1.Probe{}
	ready, started := true, true
	for _, test := range []struct {
		name           string
		probes         lifecycle.Probes
		old            *corev1.ContainerStatus
		started, ready bool
	}{
		{"nothing is known", lifecycle.Probes{}, nil, false, false},
		{"started, not ready", lifecycle.Probes{Startup: lifecycle.Success}, nil, true, false},
		{"both", lifecycle.Probes{Startup: lifecycle.Success, Readiness: lifecycle.Success}, nil, true, true},
		{"failing", lifecycle.Probes{Startup: lifecycle.Success, Readiness: lifecycle.Failure}, nil, true, false},
		{"kept over a restart of the kubelet", lifecycle.Probes{}, &corev1.ContainerStatus{Name: "app", ContainerID: "docker://app0", Ready: ready, Started: &started}, true, true},
		{"not kept over one of the container", lifecycle.Probes{}, &corev1.ContainerStatus{Name: "app", ContainerID: "docker://other", Ready: ready, Started: &started}, false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			in := input(p, container("app", 0, engine.Running, 0))
			in.Probes = map[string]lifecycle.Probes{"app0": test.probes}
			if test.old != nil {
				in.Old.ContainerStatuses = []corev1.ContainerStatus{*test.old}
			}
			c := podstatus.Compute(in).ContainerStatuses[0]
			if *c.Started != test.started || c.Ready != test.ready {
				t.Errorf("started %v, ready %v", *c.Started, c.Ready)
			}
		})
	}
}

func TestReadinessGates(t *testing.T) {
	p := pod(corev1.RestartPolicyAlways)
	p.Spec.ReadinessGates = []corev1.PodReadinessGate{{ConditionType: "example.com/lb"}}
	in := input(p, container("app", 0, engine.Running, 0))
	c := condition(podstatus.Compute(in), corev1.PodReady)
	if c.Status != corev1.ConditionFalse || c.Message != `corresponding condition of pod readiness gate "example.com/lb" does not exist.` {
		t.Errorf("got %+v", c)
	}
	p.Status.Conditions = []corev1.PodCondition{{Type: "example.com/lb", Status: corev1.ConditionTrue}}
	s := podstatus.Compute(in)
	if condition(s, corev1.PodReady).Status != corev1.ConditionTrue || condition(s, "example.com/lb").Status != corev1.ConditionTrue {
		t.Errorf("got %+v", s.Conditions)
	}
}

func TestTerminalPhaseWaitsForContainers(t *testing.T) {
	in := input(pod(corev1.RestartPolicyNever), container("app", 0, engine.Exited, 0))
	in.Old.Phase = corev1.PodRunning
	if got := podstatus.Compute(in).Phase; got != corev1.PodRunning {
		t.Errorf("while its sandbox runs: %s", got)
	}
	in.Stopped = true
	s := podstatus.Compute(in)
	if s.Phase != corev1.PodSucceeded || condition(s, corev1.PodReady).Reason != "PodCompleted" {
		t.Errorf("afterwards: %+v", s)
	}
	in.Old, in.Stopped = s, false
	in.Runtime = engine.Pod{}
	if got := podstatus.Compute(in).Phase; got != corev1.PodSucceeded {
		t.Errorf("a terminal phase was left for %s", got)
	}
}

func TestVerdicts(t *testing.T) {
	in := input(pod(corev1.RestartPolicyAlways))
	in.Memory.Rejected = &lifecycle.Verdict{Reason: "OutOfcpu", Message: "Node didn't have enough resource"}
	if s := podstatus.Compute(in); s.Phase != corev1.PodFailed || s.Reason != "OutOfcpu" || s.Message != "Pod was rejected: Node didn't have enough resource" {
		t.Errorf("rejected: %+v", s)
	}
	in = input(pod(corev1.RestartPolicyAlways), container("app", 0, engine.Exited, 0))
	in.Memory.Evicted, in.Stopped = &lifecycle.Verdict{Reason: "DeadlineExceeded", Message: "too long"}, true
	if s := podstatus.Compute(in); s.Phase != corev1.PodFailed || s.Reason != "DeadlineExceeded" || s.Message != "too long" {
		t.Errorf("evicted: %+v", s)
	}
}

func TestVanishedContainer(t *testing.T) {
	in := input(pod(corev1.RestartPolicyAlways))
	in.Old.ContainerStatuses = []corev1.ContainerStatus{{Name: "app", ContainerID: "docker://app0", State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{}}}}
	c := podstatus.Compute(in).ContainerStatuses[0]
	if c.RestartCount != 1 || c.LastTerminationState.Terminated == nil || c.LastTerminationState.Terminated.Reason != "ContainerStatusUnknown" {
		t.Errorf("got %+v", c)
	}
	in.Stopped = true
	if c := podstatus.Compute(in).ContainerStatuses[0]; c.State.Terminated == nil || c.State.Terminated.ExitCode != 137 {
		t.Errorf("when the pod is stopped: %+v", c)
	}
}
