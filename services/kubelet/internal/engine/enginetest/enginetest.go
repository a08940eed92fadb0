// Package enginetest is the acceptance suite of engine.Runtime: what every
// implementation promises, and what those with real processes promise beyond.
package enginetest

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"coracle.local/services/kubelet/internal/engine"
)

// Image is the image that the suite's containers run. A runtime under test
// has it or can pull it. Guest is its only executable.
const (
	Image = "coracle-enginetest:1"
	Guest = "/guest"
)

// patience bounds everything that a loaded machine may take its time for.
const patience = 2 * time.Minute

// Run tests what every runtime promises. The function returns a runtime to be
// used by one test, empty or not; the suite removes what it has made.
func Run(t *testing.T, open func(*testing.T) engine.Runtime) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, *harness)
	}{
		{"info", testInfo},
		{"images", testImages},
		{"sandbox life", testSandboxLife},
		{"sandbox attempts", testSandboxAttempts},
		{"sandbox addresses", testSandboxAddresses},
		{"host network", testHostNetwork},
		{"container life", testContainerLife},
		{"container record", testContainerRecord},
		{"stopping a sandbox ends its containers", testStopSandboxEndsContainers},
		{"removing a sandbox removes its containers", testRemoveSandboxRemovesContainers},
		{"removing a running container", testRemoveRunning},
		{"absent things", testAbsent},
		{"events", testEvents},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, newHarness(t, open)) })
	}
}

// harness is a runtime with the bookkeeping of one test.
type harness struct {
	engine.Runtime
	t      *testing.T
	ctx    context.Context
	reopen func(*testing.T) engine.Runtime
}

func newHarness(t *testing.T, open func(*testing.T) engine.Runtime) *harness {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	t.Cleanup(cancel)
	return &harness{Runtime: open(t), t: t, ctx: ctx, reopen: open}
}

func (h *harness) check(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

// pod is a new pod's sandbox, removed with the test.
func (h *harness) pod(change func(*engine.SandboxSpec)) (engine.SandboxSpec, engine.Sandbox) {
	h.t.Helper()
	spec := engine.SandboxSpec{
		PodUID: newUID(), Namespace: "default", Name: "pod", Hostname: "host-of-pod",
		Labels:      map[string]string{"app": "suite"},
		Annotations: map[string]string{"note": "a sandbox's"},
	}
	if change != nil {
		change(&spec)
	}
	return spec, h.runSandbox(spec)
}

func (h *harness) runSandbox(spec engine.SandboxSpec) engine.Sandbox {
	h.t.Helper()
	sandbox, err := h.RunSandbox(h.ctx, spec)
	h.check(err)
	h.t.Cleanup(func() {
		if err := h.RemoveSandbox(context.WithoutCancel(h.ctx), sandbox.ID); err != nil {
			h.t.Errorf("clean up: %v", err)
		}
	})
	return sandbox
}

// spec is a container that runs a verb of the guest.
func (h *harness) spec(pod engine.SandboxSpec, name string, verb ...string) engine.ContainerSpec {
	h.t.Helper()
	image, ok, err := h.Image(h.ctx, Image)
	h.check(err)
	if !ok {
		image, err = h.Pull(h.ctx, Image, nil)
		h.check(err)
	}
	return engine.ContainerSpec{
		PodUID: pod.PodUID, PodNamespace: pod.Namespace, PodName: pod.Name, Name: name,
		Image: image.ID, ImageName: Image, Command: []string{Guest}, Args: verb,
		HostPID: pod.HostPID, ShareProcessNS: pod.ShareProcessNamespace, HostNetwork: pod.HostNetwork,
	}
}

func (h *harness) create(sandbox engine.Sandbox, spec engine.ContainerSpec) string {
	h.t.Helper()
	id, err := h.CreateContainer(h.ctx, sandbox.ID, spec)
	h.check(err)
	return id
}

func (h *harness) start(sandbox engine.Sandbox, spec engine.ContainerSpec) string {
	h.t.Helper()
	id := h.create(sandbox, spec)
	h.check(h.StartContainer(h.ctx, id))
	return id
}

// container looks one up among its pod's, false when it is not there.
func (h *harness) container(uid types.UID, id string) (engine.Container, bool) {
	h.t.Helper()
	pod, err := h.Pod(h.ctx, uid)
	h.check(err)
	for _, c := range pod.Containers {
		if c.ID == id {
			return c, true
		}
	}
	return engine.Container{}, false
}

// awaitExit returns a container once it has ended. It asks again after each
// event, and now and then in case one was missed.
func (h *harness) awaitExit(uid types.UID, id string) engine.Container {
	h.t.Helper()
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	events, err := h.Events(ctx)
	h.check(err)
	for {
		c, ok := h.container(uid, id)
		if !ok {
			h.t.Fatalf("container %s is gone", id)
		}
		if c.State == engine.Exited {
			return c
		}
		select {
		case _, open := <-events:
			if !open {
				h.t.Fatal("events ended")
			}
		case <-time.After(5 * time.Second):
		case <-h.ctx.Done():
			h.t.Fatalf("container %s is %s after %s", id, c.State, patience)
		}
	}
}

func newUID() types.UID {
	// Unlikely to meet one of an earlier, aborted run.
	return types.UID(fmt.Sprintf("%08x-0000-4000-8000-%012x", time.Now().Unix(), time.Now().UnixNano()&0xffffffffffff))
}

func testInfo(t *testing.T, h *harness) {
	info, err := h.Info(h.ctx)
	h.check(err)
	if info.Name == "" || info.Version == "" || info.OSImage == "" || info.OperatingSystem == "" || info.Architecture == "" {
		t.Errorf("something is not said: %+v", info)
	}
	if info.CPUs < 1 || info.MemoryBytes < 1 || info.NetworkReady != nil {
		t.Errorf("not a machine to run pods on: %+v", info)
	}
}

func testImages(t *testing.T, h *harness) {
	h.spec(engine.SandboxSpec{}, "any") // makes sure that it is there
	image, ok, err := h.Image(h.ctx, Image)
	h.check(err)
	if !ok || image.ID == "" || !slices.Contains(image.RepoTags, Image) {
		t.Fatalf("image by name: %v, %+v", ok, image)
	}
	again, ok, err := h.Image(h.ctx, image.ID)
	h.check(err)
	if !ok || again.ID != image.ID {
		t.Errorf("image by ID: %v, %+v", ok, again)
	}
	all, err := h.Images(h.ctx)
	h.check(err)
	if !slices.ContainsFunc(all, func(i engine.Image) bool { return i.ID == image.ID && i.Size > 0 }) {
		t.Errorf("not listed with a size: %+v", all)
	}
	if _, ok, err = h.Image(h.ctx, "coracle-enginetest-absent:1"); ok || err != nil {
		t.Errorf("an absent image: %v, %v", ok, err)
	}
	if err := h.RemoveImage(h.ctx, "coracle-enginetest-absent:1"); err != nil {
		t.Errorf("remove an absent image: %v", err)
	}
	if _, err := h.Pull(h.ctx, "Not A Name", nil); !errors.Is(err, engine.ErrInvalidImageName) {
		t.Errorf("pull by an impossible name: %v", err)
	}
}

func testAbsent(t *testing.T, h *harness) {
	const id = "coracle-enginetest-absent"
	for name, err := range map[string]error{
		"StopSandbox":     h.StopSandbox(h.ctx, id),
		"RemoveSandbox":   h.RemoveSandbox(h.ctx, id),
		"StopContainer":   h.StopContainer(h.ctx, id, time.Second),
		"RemoveContainer": h.RemoveContainer(h.ctx, id),
	} {
		if err != nil {
			t.Errorf("%s of something absent: %v", name, err)
		}
	}
	_, create := h.CreateContainer(h.ctx, id, h.spec(engine.SandboxSpec{PodUID: newUID(), Name: "p", Namespace: "n"}, "c", "wait"))
	_, exec := h.Exec(h.ctx, id, engine.ExecSpec{Command: []string{Guest, "exit", "0"}}, engine.Streams{})
	for name, err := range map[string]error{
		"CreateContainer": create,
		"StartContainer":  h.StartContainer(h.ctx, id),
		"Exec":            exec,
		"Attach":          h.Attach(h.ctx, id, false, engine.Streams{}),
		"Logs":            h.Logs(h.ctx, id, engine.LogOptions{Tail: -1}, nil, nil),
		"PortForward":     h.PortForward(h.ctx, id, 80, nil),
	} {
		if !errors.Is(err, engine.ErrNotFound) {
			t.Errorf("%s of something absent: %v, want ErrNotFound", name, err)
		}
	}
	stats, err := h.Stats(h.ctx, id)
	if err != nil || len(stats) != 0 {
		t.Errorf("Stats of something absent: %v, %v", stats, err)
	}
	uid := newUID()
	pod, err := h.Pod(h.ctx, uid)
	if err != nil || pod.UID != uid || len(pod.Sandboxes)+len(pod.Containers) != 0 {
		t.Errorf("an absent pod: %+v, %v", pod, err)
	}
}
