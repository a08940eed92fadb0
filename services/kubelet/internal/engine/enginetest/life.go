package enginetest

import (
	"context"
	"maps"
	"slices"
	"testing"
	"time"

	"coracle.local/services/kubelet/internal/engine"
)

func testSandboxLife(t *testing.T, h *harness) {
	spec, sandbox := h.pod(nil)
	if !sandbox.Ready || sandbox.ID == "" || len(sandbox.IPs) == 0 || sandbox.CreatedAt.IsZero() {
		t.Errorf("not a ready sandbox: %+v", sandbox)
	}
	if again := h.runSandbox(spec); again.ID != sandbox.ID {
		t.Errorf("a second sandbox %s was made beside %s", again.ID, sandbox.ID)
	}
	pod, err := h.Pod(h.ctx, spec.PodUID)
	h.check(err)
	if pod.UID != spec.PodUID || pod.Namespace != spec.Namespace || pod.Name != spec.Name || len(pod.Sandboxes) != 1 {
		t.Fatalf("pod %+v", pod)
	}
	got := pod.Sandboxes[0]
	if got.ID != sandbox.ID || !got.Ready || !slices.Equal(got.IPs, sandbox.IPs) ||
		!maps.Equal(got.Labels, spec.Labels) || !maps.Equal(got.Annotations, spec.Annotations) {
		t.Errorf("sandbox %+v, was made as %+v", got, sandbox)
	}
	all, err := h.Pods(h.ctx)
	h.check(err)
	if !slices.ContainsFunc(all, func(p engine.Pod) bool { return p.UID == spec.PodUID && len(p.Sandboxes) == 1 }) {
		t.Errorf("the pod is not listed: %+v", all)
	}
	for range 2 {
		h.check(h.StopSandbox(h.ctx, sandbox.ID))
	}
	if pod, err = h.Pod(h.ctx, spec.PodUID); err != nil || len(pod.Sandboxes) != 1 || pod.Sandboxes[0].Ready {
		t.Errorf("after StopSandbox: %+v, %v", pod, err)
	}
	for range 2 {
		h.check(h.RemoveSandbox(h.ctx, sandbox.ID))
	}
	if pod, err = h.Pod(h.ctx, spec.PodUID); err != nil || len(pod.Sandboxes) != 0 {
		t.Errorf("after RemoveSandbox: %+v, %v", pod, err)
	}
}

func testSandboxAttempts(t *testing.T, h *harness) {
	spec, first := h.pod(nil)
	h.check(h.StopSandbox(h.ctx, first.ID))
	spec.Attempt = 1
	second := h.runSandbox(spec)
	if second.ID == first.ID || second.Attempt != 1 || !second.Ready {
		t.Errorf("second attempt %+v after %+v", second, first)
	}
	pod, err := h.Pod(h.ctx, spec.PodUID)
	h.check(err)
	if len(pod.Sandboxes) != 2 || pod.Sandboxes[0].ID != second.ID || pod.Sandboxes[1].Ready {
		t.Errorf("both attempts, the newest first: %+v", pod.Sandboxes)
	}
	// A dead sandbox of the same attempt is made anew.
	h.check(h.StopSandbox(h.ctx, second.ID))
	if third := h.runSandbox(spec); !third.Ready || third.ID == second.ID || third.Attempt != 1 {
		t.Errorf("anew: %+v", third)
	}
}

func testSandboxAddresses(t *testing.T, h *harness) {
	_, a := h.pod(nil)
	_, b := h.pod(nil)
	if slices.ContainsFunc(a.IPs, func(ip string) bool { return slices.Contains(b.IPs, ip) }) {
		t.Errorf("two pods at once have address %v and %v", a.IPs, b.IPs)
	}
}

func testHostNetwork(t *testing.T, h *harness) {
	spec, sandbox := h.pod(func(s *engine.SandboxSpec) { s.HostNetwork = true })
	if !sandbox.Ready || !sandbox.HostNetwork || len(sandbox.IPs) != 0 {
		t.Errorf("sandbox %+v", sandbox)
	}
	id := h.start(sandbox, h.spec(spec, "c", "wait"))
	if c, ok := h.container(spec.PodUID, id); !ok || c.State != engine.Running {
		t.Errorf("container %+v", c)
	}
}

func testContainerLife(t *testing.T, h *harness) {
	spec, sandbox := h.pod(nil)
	id := h.create(sandbox, h.spec(spec, "c", "wait"))
	c, ok := h.container(spec.PodUID, id)
	if !ok || c.State != engine.Created || c.CreatedAt.IsZero() || !c.StartedAt.IsZero() || !c.FinishedAt.IsZero() {
		t.Errorf("created: %+v", c)
	}
	h.check(h.StartContainer(h.ctx, id))
	c, _ = h.container(spec.PodUID, id)
	if c.State != engine.Running || c.StartedAt.Before(c.CreatedAt) || !c.FinishedAt.IsZero() {
		t.Errorf("started: %+v", c)
	}
	for range 2 {
		h.check(h.StopContainer(h.ctx, id, 30*time.Second))
	}
	c, _ = h.container(spec.PodUID, id)
	if c.State != engine.Exited || c.FinishedAt.Before(c.StartedAt) || c.Reason == "" {
		t.Errorf("stopped: %+v", c)
	}
	for range 2 {
		h.check(h.RemoveContainer(h.ctx, id))
	}
	if c, ok = h.container(spec.PodUID, id); ok {
		t.Errorf("removed: %+v", c)
	}
}

func testContainerRecord(t *testing.T, h *harness) {
	pod, sandbox := h.pod(nil)
	spec := h.spec(pod, "c", "wait")
	spec.Attempt, spec.SpecHash = 3, "a1b2c3"
	spec.Labels = map[string]string{"app": "suite"}
	spec.Annotations = map[string]string{"grace": "30", "io.kubernetes.pod.uid": "not an identity"}
	id := h.create(sandbox, spec)
	c, _ := h.container(pod.PodUID, id)
	if c.SandboxID != sandbox.ID || c.Name != spec.Name || c.Attempt != 3 || c.SpecHash != spec.SpecHash {
		t.Errorf("identity: %+v", c)
	}
	if c.Image != Image || c.ImageID == "" || !maps.Equal(c.Labels, spec.Labels) || !maps.Equal(c.Annotations, spec.Annotations) {
		t.Errorf("record: %+v", c)
	}
	// One that never ran is replaced, so that a crash after its creation does
	// not stand in the way.
	if again := h.create(sandbox, spec); again == id {
		t.Error("the leftover was returned")
	}
	spec.Attempt = 4
	newer := h.start(sandbox, spec)
	all, err := h.Pod(h.ctx, pod.PodUID)
	h.check(err)
	if len(all.Containers) != 2 || all.Containers[0].ID != newer {
		t.Errorf("both attempts, the newest first: %+v", all.Containers)
	}
	if _, err := h.CreateContainer(h.ctx, sandbox.ID, spec); err == nil {
		t.Error("a running container was replaced")
	}
}

func testStopSandboxEndsContainers(t *testing.T, h *harness) {
	spec, sandbox := h.pod(nil)
	var ids []string
	for _, name := range []string{"a", "b"} {
		ids = append(ids, h.start(sandbox, h.spec(spec, name, "stubborn")))
	}
	h.check(h.StopSandbox(h.ctx, sandbox.ID))
	for _, id := range ids {
		if c, _ := h.container(spec.PodUID, id); c.State != engine.Exited {
			t.Errorf("container %s is %s", c.Name, c.State)
		}
	}
}

func testRemoveSandboxRemovesContainers(t *testing.T, h *harness) {
	spec, sandbox := h.pod(nil)
	h.start(sandbox, h.spec(spec, "running", "stubborn"))
	h.create(sandbox, h.spec(spec, "created", "wait"))
	h.check(h.RemoveSandbox(h.ctx, sandbox.ID))
	pod, err := h.Pod(h.ctx, spec.PodUID)
	if err != nil || len(pod.Sandboxes)+len(pod.Containers) != 0 {
		t.Errorf("left: %+v, %v", pod, err)
	}
}

func testRemoveRunning(t *testing.T, h *harness) {
	spec, sandbox := h.pod(nil)
	id := h.start(sandbox, h.spec(spec, "c", "stubborn"))
	h.check(h.RemoveContainer(h.ctx, id))
	if c, ok := h.container(spec.PodUID, id); ok {
		t.Errorf("still there: %+v", c)
	}
}

func testEvents(t *testing.T, h *harness) {
	ctx, cancel := context.WithCancel(h.ctx)
	defer cancel()
	events, err := h.Events(ctx)
	h.check(err)
	spec, sandbox := h.pod(nil)
	await := func(what string) {
		t.Helper()
		for {
			select {
			case event, open := <-events:
				if !open {
					t.Fatalf("events ended before %s", what)
				}
				if event.PodUID == spec.PodUID {
					return
				}
			case <-h.ctx.Done():
				t.Fatalf("no event about %s", what)
			}
		}
	}
	id := h.start(sandbox, h.spec(spec, "c", "wait"))
	await("a start")
	h.check(h.StopContainer(h.ctx, id, 30*time.Second))
	await("a stop")
	cancel()
	for range events {
		continue // until closed
	}
}
