package enginetest

import (
	"bytes"
	"net"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"coracle.local/services/kubelet/internal/engine"
)

// RunProcesses tests what a runtime promises whose containers run Guest for
// real. shared makes a folder that kubelet and engine see at one path.
func RunProcesses(t *testing.T, open func(*testing.T) engine.Runtime, shared func(*testing.T) string) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *harness)
	}{
		{"exit", testExit},
		{"command that cannot run", testCannotRun},
		{"grace", testGrace},
		{"out of memory", testOutOfMemory},
		{"environment and identity", testIdentity},
		{"shared process namespace", testSharedProcesses},
		{"pods reach each other", testPodsReachEachOther},
		{"adoption", testAdoption},
		{"logs", testLogs},
		{"logs followed", testLogsFollowed},
		{"exec", testExec},
		{"exec terminal", testExecTerminal},
		{"exec abandoned", testExecAbandoned},
		{"attach", testAttach},
		{"port forward", testPortForward},
		{"stats", testStats},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newHarness(t, open)) })
	}
	t.Run("files", func(t *testing.T) { testFiles(t, newHarness(t, open), shared(t)) })
}

// output runs a container to its end and returns its code and standard output.
func (h *harness) output(pod engine.SandboxSpec, sandbox engine.Sandbox, spec engine.ContainerSpec) (engine.Container, string) {
	h.t.Helper()
	c := h.awaitExit(pod.PodUID, h.start(sandbox, spec))
	var out bytes.Buffer
	h.check(h.Logs(h.ctx, c.ID, engine.LogOptions{Tail: -1}, &out, &out))
	return c, out.String()
}

// awaitReady waits for a container's first line.
func (h *harness) awaitReady(id string) {
	h.t.Helper()
	h.check(h.Logs(h.ctx, id, engine.LogOptions{Tail: -1, Follow: true, LimitBytes: int64(len("ready"))}, &bytes.Buffer{}, nil))
}

func testExit(t *testing.T, h *harness) {
	pod, sandbox := h.pod(nil)
	for _, test := range []struct {
		name, code, reason string
		want               int
	}{
		{"zero", "0", engine.ReasonCompleted, 0},
		{"seven", "7", engine.ReasonError, 7},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, _ := h.output(pod, sandbox, h.spec(pod, test.name, "exit", test.code))
			if c.ExitCode != test.want || c.Reason != test.reason || c.StartedAt.IsZero() || c.FinishedAt.Before(c.StartedAt) {
				t.Errorf("%+v", c)
			}
		})
	}
}

func testCannotRun(t *testing.T, h *harness) {
	pod, sandbox := h.pod(nil)
	spec := h.spec(pod, "c")
	spec.Command = []string{"/absent"}
	id := h.create(sandbox, spec)
	if err := h.StartContainer(h.ctx, id); err == nil || !strings.Contains(err.Error(), "/absent") {
		t.Errorf("start: %v", err)
	}
	c, _ := h.container(pod.PodUID, id)
	if c.State != engine.Exited || c.ExitCode == 0 || c.Reason != engine.ReasonCannotRun || c.Message == "" || c.FinishedAt.IsZero() {
		t.Errorf("%+v", c)
	}
}

func testGrace(t *testing.T, h *harness) {
	pod, sandbox := h.pod(nil)
	polite := h.start(sandbox, h.spec(pod, "polite", "wait"))
	h.awaitReady(polite)
	h.check(h.StopContainer(h.ctx, polite, patience))
	if c, _ := h.container(pod.PodUID, polite); c.ExitCode != 0 || c.Reason != engine.ReasonCompleted {
		t.Errorf("one that ends by itself: %+v", c)
	}
	stubborn := h.start(sandbox, h.spec(pod, "stubborn", "stubborn"))
	h.awaitReady(stubborn)
	h.check(h.StopContainer(h.ctx, stubborn, time.Millisecond))
	if c, _ := h.container(pod.PodUID, stubborn); c.ExitCode != 137 || c.Reason != engine.ReasonError {
		t.Errorf("one that does not: %+v", c)
	}
}

func testOutOfMemory(t *testing.T, h *harness) {
	pod, sandbox := h.pod(nil)
	spec := h.spec(pod, "c", "eat")
	spec.Resources.MemoryBytes = 64 << 20
	if c, _ := h.output(pod, sandbox, spec); c.Reason != engine.ReasonOOMKilled || c.ExitCode != 137 {
		t.Errorf("%+v", c)
	}
}

func testIdentity(t *testing.T, h *harness) {
	pod, sandbox := h.pod(func(s *engine.SandboxSpec) {
		s.DNS = &engine.DNSConfig{
			Servers: []string{"10.96.0.10"}, Searches: []string{"default.svc.cluster.local", "svc.cluster.local"},
			Options: []string{"ndots:5"},
		}
	})
	uid, gid := int64(1234), int64(2345)
	for _, test := range []struct {
		name, want string
		verb       []string
		change     func(*engine.ContainerSpec)
	}{
		{"user", "1234 2345 [2345 3456] host-of-pod /tmp\n", []string{"id"}, func(s *engine.ContainerSpec) {
			s.Security.RunAsUser, s.Security.RunAsGroup = &uid, &gid
			s.Security.SupplementalGroups = []int64{3456}
			s.WorkingDir = "/tmp"
		}},
		{"env", "a value = more\n", []string{"env", "KEY"}, func(s *engine.ContainerSpec) {
			s.Env = []engine.KeyValue{{Key: "KEY", Value: "a value = more"}}
		}},
		{
			"resolv", "search default.svc.cluster.local svc.cluster.local\nnameserver 10.96.0.10\noptions ndots:5\n",
			[]string{"cat", "/etc/resolv.conf"},
			func(*engine.ContainerSpec) {},
		},
		{"read-only", "open /file: read-only file system\n", []string{"write", "/file", "x"}, func(s *engine.ContainerSpec) {
			s.Security.ReadOnlyRootFS = true
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := h.spec(pod, test.name, test.verb...)
			test.change(&spec)
			if _, got := h.output(pod, sandbox, spec); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}

func testFiles(t *testing.T, h *harness, dir string) {
	pod, sandbox := h.pod(nil)
	path := filepath.Join(dir, "in:side") // a colon is hard to say to some engines
	h.check(os.MkdirAll(path, 0o755))
	h.check(os.WriteFile(filepath.Join(path, "file"), []byte("content"), 0o644))
	for _, test := range []struct {
		name, want string
		verb       []string
		mount      engine.Mount
	}{
		{"read", "content", []string{"cat", "/in/file"}, engine.Mount{HostPath: path, ContainerPath: "/in", ReadOnly: true}},
		{"single", "content", []string{"cat", "/one"}, engine.Mount{HostPath: filepath.Join(path, "file"), ContainerPath: "/one"}},
		{"refused", "open /in/new: read-only file system\n", []string{"write", "/in/new", "x"}, engine.Mount{HostPath: dir, ContainerPath: "/in", ReadOnly: true}},
		{"written", "", []string{"write", "/in/new", "x"}, engine.Mount{HostPath: dir, ContainerPath: "/in"}},
		{"made", "", []string{"write", "/in/new", "x"}, engine.Mount{HostPath: filepath.Join(dir, "made"), ContainerPath: "/in"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			spec := h.spec(pod, test.name, test.verb...)
			spec.Mounts = []engine.Mount{test.mount}
			if _, got := h.output(pod, sandbox, spec); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
	for _, file := range []string{"new", "made/new"} {
		if got, err := os.ReadFile(filepath.Join(dir, file)); err != nil || string(got) != "x" {
			t.Errorf("%s has %q, %v", file, got, err)
		}
	}
}

func testSharedProcesses(t *testing.T, h *harness) {
	for _, shared := range []bool{false, true} {
		pod, sandbox := h.pod(func(s *engine.SandboxSpec) { s.ShareProcessNamespace = shared })
		h.awaitReady(h.start(sandbox, h.spec(pod, "other", "wait")))
		_, got := h.output(pod, sandbox, h.spec(pod, "c", "processes"))
		if lines := strings.Count(got, Guest); lines != map[bool]int{false: 1, true: 2}[shared] {
			t.Errorf("shared %v: sees\n%s", shared, got)
		}
	}
}

func testPodsReachEachOther(t *testing.T, h *harness) {
	server, serverSandbox := h.pod(nil)
	h.awaitReady(h.start(serverSandbox, h.spec(server, "c", "serve", ":8080")))
	client, clientSandbox := h.pod(nil)
	for _, ip := range serverSandbox.IPs {
		spec := h.spec(client, "c", "dial", net.JoinHostPort(ip, "8080"), "hello")
		if _, got := h.output(client, clientSandbox, spec); got != "HELLO\n" {
			t.Errorf("over %s: %q", ip, got)
		}
		h.check(h.RemoveSandbox(h.ctx, clientSandbox.ID))
		client, clientSandbox = h.pod(nil)
	}
	// The containers of one pod share its loopback address.
	spec := h.spec(server, "inside", "dial", "127.0.0.1:8080", "within")
	if _, got := h.output(server, serverSandbox, spec); got != "WITHIN\n" {
		t.Errorf("within the pod: %q", got)
	}
}

// testAdoption looks at one engine's pods through a second runtime, as a
// kubelet does after its own restart.
func testAdoption(t *testing.T, h *harness) {
	pod, sandbox := h.pod(nil)
	running := h.spec(pod, "running", "wait")
	running.Annotations = map[string]string{"grace": "30"}
	h.start(sandbox, running)
	h.awaitExit(pod.PodUID, h.start(sandbox, h.spec(pod, "ended", "exit", "3")))
	before, err := h.Pod(h.ctx, pod.PodUID)
	h.check(err)

	h.Runtime = h.reopen(t)
	after, err := h.Pod(h.ctx, pod.PodUID)
	h.check(err)
	if !reflect.DeepEqual(before, after) {
		t.Errorf("before: %+v\nafter: %+v", before, after)
	}
	if again := h.runSandbox(pod); again.ID != sandbox.ID {
		t.Errorf("a second sandbox was made: %+v", again)
	}
}

func testStats(t *testing.T, h *harness) {
	pod, sandbox := h.pod(nil)
	id := h.start(sandbox, h.spec(pod, "c", "wait"))
	h.awaitReady(id)
	ended := h.awaitExit(pod.PodUID, h.start(sandbox, h.spec(pod, "ended", "exit", "0")))
	stats, err := h.Stats(h.ctx, id, sandbox.ID, ended.ID)
	h.check(err)
	got, ok := stats[id]
	if !ok || got.Time.IsZero() || got.CPUNanoseconds == 0 || got.MemoryUsageBytes == 0 || got.MemoryWorkingSetBytes == 0 ||
		got.MemoryRSSBytes == 0 || got.Pids == 0 {
		t.Errorf("container: %+v", got)
	}
	if network := stats[sandbox.ID].Network; len(network) != 1 || network[0].Name != "eth0" {
		t.Errorf("sandbox: %+v", stats[sandbox.ID])
	}
	if _, ok := stats[ended.ID]; ok {
		t.Error("an ended container is measured")
	}
}
