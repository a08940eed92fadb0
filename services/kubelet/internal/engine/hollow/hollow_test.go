package hollow_test

import (
	"net/netip"
	"testing"
	"testing/synctest"
	"time"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/engine/enginetest"
	"coracle.local/services/kubelet/internal/engine/hollow"
	"coracle.local/services/kubelet/internal/podspec"
)

func TestRuntime(t *testing.T) {
	enginetest.Run(t, func(*testing.T) engine.Runtime { return hollow.New(hollow.Config{}) })
}

func start(t *testing.T, e *hollow.Engine, annotations, container map[string]string) engine.Container {
	t.Helper()
	s, err := e.RunSandbox(t.Context(), engine.SandboxSpec{PodUID: "u", Annotations: annotations})
	if err != nil {
		t.Fatal(err)
	}
	id, err := e.CreateContainer(t.Context(), s.ID, engine.ContainerSpec{PodUID: "u", Name: "c", Annotations: container})
	if err != nil {
		t.Fatal(err)
	}
	if err := e.StartContainer(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	return look(t, e)
}

func look(t *testing.T, e *hollow.Engine) engine.Container {
	t.Helper()
	p, err := e.Pod(t.Context(), "u")
	if err != nil || len(p.Containers) != 1 {
		t.Fatalf("got %+v, %v", p, err)
	}
	return p.Containers[0]
}

func TestFates(t *testing.T) {
	for _, test := range []struct {
		name                   string
		annotations, container map[string]string
		runs                   time.Duration // negative: for ever
		code                   int
	}{
		{"for ever", nil, nil, -1, 0},
		{"for a while", map[string]string{hollow.RunAnnotation: "30s"}, nil, 30 * time.Second, 0},
		{"and fails", map[string]string{hollow.RunAnnotation: "30s", hollow.ExitAnnotation: "2"}, nil, 30 * time.Second, 2},
		{"at once", map[string]string{hollow.ExitAnnotation: "3"}, nil, 0, 3},
		{"nonsense is ignored", map[string]string{hollow.ExitAnnotation: "x"}, nil, -1, 0},
		{"init containers end", nil, map[string]string{podspec.KindAnnotation: podspec.KindInit}, 0, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				e := hollow.New(hollow.Config{})
				got := start(t, e, test.annotations, test.container)
				if (got.State == engine.Running) != (test.runs != 0) {
					t.Fatalf("after the start: %+v", got)
				}
				time.Sleep(time.Hour)
				got = look(t, e)
				if test.runs < 0 && got.State != engine.Running || test.runs >= 0 && (got.State != engine.Exited || got.ExitCode != test.code) {
					t.Errorf("in the end: %+v", got)
				}
				if ran := got.FinishedAt.Sub(got.StartedAt); test.runs >= 0 && ran != test.runs {
					t.Errorf("it ran for %s", ran)
				}
			})
		})
	}
}

func TestAddresses(t *testing.T) {
	e := hollow.New(hollow.Config{PodCIDR: func() netip.Prefix { return netip.MustParsePrefix("10.1.2.0/30") }})
	run := func(attempt int) (engine.Sandbox, error) {
		return e.RunSandbox(t.Context(), engine.SandboxSpec{PodUID: "u", Attempt: attempt})
	}
	a, err := run(0)
	if err != nil || a.IPs[0] != "10.1.2.2" {
		t.Fatalf("first: %+v, %v", a, err)
	}
	if b, err := run(1); err != nil || b.IPs[0] != "10.1.2.3" {
		t.Fatalf("second: %+v, %v", b, err)
	}
	if c, err := run(2); err == nil {
		t.Errorf("one too many: %+v", c)
	}
	if err := e.StopSandbox(t.Context(), a.ID); err != nil {
		t.Fatal(err)
	}
	if c, err := run(2); err != nil || c.IPs[0] != "10.1.2.2" {
		t.Errorf("a freed one: %+v, %v", c, err)
	}
}
