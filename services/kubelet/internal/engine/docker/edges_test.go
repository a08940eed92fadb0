package docker

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/docker/docker/api/types/container"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/engine/enginetest"
)

// fixture is a runtime with one pod, for what the acceptance suite cannot do.
type fixture struct {
	*bed
	*Runtime
	ctx     context.Context
	pod     engine.SandboxSpec
	sandbox engine.Sandbox
}

func newFixture(t *testing.T, change func(*engine.SandboxSpec)) *fixture {
	t.Helper()
	b := newBed(t)
	f := &fixture{bed: b, Runtime: b.runtime(t).(*Runtime), ctx: context.Background()}
	f.pod = engine.SandboxSpec{PodUID: "coracle-enginetest-edge", Namespace: "default", Name: "edge", Hostname: "edge"}
	if change != nil {
		change(&f.pod)
	}
	var err error
	if f.sandbox, err = f.RunSandbox(f.ctx, f.pod); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		pod, err := f.Pod(f.ctx, f.pod.PodUID)
		if err != nil {
			t.Errorf("clean up: %v", err)
		}
		for _, s := range pod.Sandboxes {
			if err := f.RemoveSandbox(f.ctx, s.ID); err != nil {
				t.Errorf("clean up: %v", err)
			}
		}
		f.mustBeEmpty(t)
	})
	return f
}

func (f *fixture) start(t *testing.T, change func(*engine.ContainerSpec), verb ...string) string {
	t.Helper()
	image, ok, err := f.Image(f.ctx, enginetest.Image)
	if err != nil || !ok {
		t.Fatalf("image: %v, %v", ok, err)
	}
	spec := engine.ContainerSpec{
		PodUID: f.pod.PodUID, PodNamespace: f.pod.Namespace, PodName: f.pod.Name, Name: "c",
		Image: image.ID, Command: []string{enginetest.Guest}, Args: verb, CgroupParent: f.pod.CgroupParent,
	}
	if change != nil {
		change(&spec)
	}
	id, err := f.CreateContainer(f.ctx, f.sandbox.ID, spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.StartContainer(f.ctx, id); err != nil {
		t.Fatal(err)
	}
	return id
}

func TestForeignContainersAreLeftAlone(t *testing.T) {
	f := newFixture(t, nil)
	other := calls{f.calls.api}
	for name, labels := range map[string]map[string]string{
		"plain":            nil,
		"another instance": joinLabels(identity{instance: "coracle-enginetest-other", kind: typeSandbox, uid: f.pod.PodUID}, nil, nil),
	} {
		id, _, err := other.create(f.ctx, creation{
			config: &container.Config{Image: DefaultPauseImage, Labels: labels},
			host:   &container.HostConfig{NetworkMode: "none"},
		})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = other.remove(context.Background(), id) })
		pods, err := f.Pods(f.ctx)
		if err != nil || len(pods) != 1 || len(pods[0].Sandboxes) != 1 {
			t.Errorf("%s: listed %+v, %v", name, pods, err)
		}
	}
}

// TestPauseKilled is what a pod looks like after its sandbox died beneath it,
// while a container keeps the network namespace alive.
func TestPauseKilled(t *testing.T) {
	f := newFixture(t, nil)
	f.start(t, nil, "stubborn")
	if err := f.calls.api.ContainerKill(f.ctx, f.sandbox.ID, "SIGKILL"); err != nil {
		t.Fatal(err)
	}
	wait, errs := f.calls.api.ContainerWait(f.ctx, f.sandbox.ID, container.WaitConditionNotRunning)
	select {
	case <-wait:
	case err := <-errs:
		t.Fatal(err)
	}
	pod, err := f.Pod(f.ctx, f.pod.PodUID)
	if err != nil || pod.Sandboxes[0].Ready {
		t.Fatalf("dead and ready: %+v, %v", pod, err)
	}
	again, err := f.RunSandbox(f.ctx, f.pod)
	if err != nil || !again.Ready || again.ID == f.sandbox.ID {
		t.Errorf("anew: %+v, %v", again, err)
	}
	if left, _ := filepath.Glob(filepath.Join(f.folder, "network/addresses/coracle/10.*")); len(left) != 1 {
		t.Errorf("addresses given out: %v", left)
	}
}

// TestHalfMadeSandbox stands for a crash between start and attachment.
func TestHalfMadeSandbox(t *testing.T) {
	f := newFixture(t, nil)
	c, err := f.calls.inspect(f.ctx, f.sandbox.ID)
	if err != nil {
		t.Fatal(err)
	}
	if err := f.network.Detach(f.ctx, networkSandbox(c)); err != nil {
		t.Fatal(err)
	}
	pod, err := f.Pod(f.ctx, f.pod.PodUID)
	if err != nil || pod.Sandboxes[0].Ready {
		t.Fatalf("off the network and ready: %+v, %v", pod, err)
	}
	again, err := f.RunSandbox(f.ctx, f.pod)
	if err != nil || !again.Ready || again.ID == f.sandbox.ID {
		t.Errorf("anew: %+v, %v", again, err)
	}
}

func TestFailedAttachLeavesNoSandbox(t *testing.T) {
	f := newFixture(t, nil)
	spec := f.pod
	spec.PodUID += "-2"
	spec.PortMappings = []engine.PortMapping{{HostPort: -1, ContainerPort: 80, Protocol: "TCP"}}
	if s, err := f.RunSandbox(f.ctx, spec); err == nil {
		t.Errorf("made: %+v", s)
	}
	pod, err := f.Pod(f.ctx, spec.PodUID)
	if err != nil || len(pod.Sandboxes) != 0 {
		t.Errorf("left: %+v, %v", pod, err)
	}
}

func TestLogLink(t *testing.T) {
	f := newFixture(t, nil)
	link := filepath.Join(f.folder, "pods", "edge", "c", "0.log")
	id := f.start(t, func(s *engine.ContainerSpec) { s.LogPath = link }, "wait")
	if err := f.Logs(f.ctx, id, engine.LogOptions{Tail: -1, Follow: true, LimitBytes: 5}, &bytes.Buffer{}, nil); err != nil {
		t.Fatal(err)
	}
	if content, err := os.ReadFile(link); err != nil || !bytes.Contains(content, []byte("ready")) {
		t.Errorf("%q, %v", content, err)
	}
	if err := f.RemoveContainer(f.ctx, id); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(link); !os.IsNotExist(err) {
		t.Errorf("after the container's removal: %v", err)
	}
}

func TestPrivileged(t *testing.T) {
	f := newFixture(t, nil)
	id := f.start(t, func(s *engine.ContainerSpec) {
		s.Security.Privileged = true
		s.Resources.OOMScoreAdj = -500
	}, "wait")
	// Whether granted whole or in part, /proc is writable.
	code, err := f.Exec(f.ctx, id, engine.ExecSpec{Command: []string{enginetest.Guest, "write", "/proc/sys/kernel/domainname", "edge"}}, engine.Streams{})
	if err != nil || code != 0 {
		t.Errorf("code %d, %v", code, err)
	}
}

func TestSeccompProfileOfTheNode(t *testing.T) {
	f := newFixture(t, nil)
	profile := filepath.Join(f.folder, "profile.json")
	const refuseHostnames = `{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["uname"],"action":"SCMP_ACT_ERRNO"}]}`
	if err := os.WriteFile(profile, []byte(refuseHostnames), 0o644); err != nil {
		t.Fatal(err)
	}
	id := f.start(t, func(s *engine.ContainerSpec) {
		s.Security.Seccomp = engine.Profile{Type: engine.ProfileLocalhost, Localhost: profile}
	}, "wait")
	code, err := f.Exec(f.ctx, id, engine.ExecSpec{Command: []string{enginetest.Guest, "uname"}}, engine.Streams{})
	if err != nil || code != 1 {
		t.Errorf("a refused call ends with code %d, %v", code, err)
	}
}

func TestCgroupsGoWithThePod(t *testing.T) {
	f := newFixture(t, func(s *engine.SandboxSpec) { s.CgroupParent = "/coracle-enginetest/podedge" })
	t.Cleanup(func() { removeTestCgroups("coracle-enginetest") })
	if m, err := f.machine(f.ctx); err != nil || m.systemdCgroup {
		t.Skip("systemd makes and removes the cgroups here")
	}
	f.start(t, nil, "wait")
	find := func() []string {
		v1, _ := filepath.Glob("/sys/fs/cgroup/*/coracle-enginetest/podedge")
		v2, _ := filepath.Glob("/sys/fs/cgroup/coracle-enginetest/podedge")
		return append(v1, v2...)
	}
	if len(find()) == 0 {
		t.Skip("the engine's cgroups are not visible here")
	}
	if err := f.RemoveSandbox(f.ctx, f.sandbox.ID); err != nil {
		t.Fatal(err)
	}
	if left := find(); len(left) != 0 {
		t.Errorf("left: %v", left)
	}
}

func removeTestCgroups(name string) {
	for _, pattern := range []string{"/sys/fs/cgroup/*/", "/sys/fs/cgroup/"} {
		found, _ := filepath.Glob(pattern + name)
		for _, dir := range found {
			_ = syscall.Rmdir(dir)
		}
	}
}

func TestSandboxRemovedByOthers(t *testing.T) {
	f := newFixture(t, nil)
	if err := f.calls.remove(f.ctx, f.sandbox.ID); err != nil {
		t.Fatal(err)
	}
	if err := f.RemoveSandbox(f.ctx, f.sandbox.ID); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(f.folder, "network/addresses/coracle/10.*")); len(left) != 0 {
		t.Errorf("addresses still given out: %v", left)
	}
	if err := os.RemoveAll(filepath.Join(f.folder, "engine")); err != nil {
		t.Fatal(err)
	}
}

func TestPrepare(t *testing.T) {
	f := newFixture(t, nil)
	fresh := f.runtime(t).(*Runtime)
	if err := fresh.Prepare(f.ctx); err != nil {
		t.Fatal(err)
	}
	pod, err := fresh.Pod(f.ctx, f.pod.PodUID)
	if err != nil || !pod.Sandboxes[0].Ready {
		t.Errorf("a living sandbox lost its addresses: %+v, %v", pod, err)
	}
	// Removed behind the kubelet's back, while it does not run.
	if err := fresh.calls.remove(f.ctx, f.sandbox.ID); err != nil {
		t.Fatal(err)
	}
	if err := f.runtime(t).(*Runtime).Prepare(f.ctx); err != nil {
		t.Fatal(err)
	}
	if left, _ := filepath.Glob(filepath.Join(f.folder, "network/addresses/coracle/10.*")); len(left) != 0 {
		t.Errorf("addresses still given out: %v", left)
	}
	if err := os.RemoveAll(filepath.Join(f.folder, "engine")); err != nil {
		t.Fatal(err)
	}
}
