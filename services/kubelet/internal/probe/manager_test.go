package probe

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/lifecycle"
)

// patient answers every exec with code, and counts.
type patient struct{ code, asked atomic.Int64 }

func (p *patient) Exec(context.Context, string, engine.ExecSpec, engine.Streams) (int, error) {
	p.asked.Add(1)
	return int(p.code.Load()), nil
}

type bench struct {
	*Manager
	patient *patient
	changes atomic.Int64
	stop    func()
}

func newBench(t *testing.T) *bench {
	b := &bench{patient: &patient{}}
	b.Manager = NewManager(Config{Engine: b.patient, Clock: clock.RealClock{}, Log: zap.NewNop(), Changed: func(types.UID) { b.changes.Add(1) }})
	ctx, cancel := context.WithCancel(t.Context())
	var group sync.WaitGroup
	group.Go(func() { _ = b.Run(ctx) })
	b.stop = func() { cancel(); group.Wait() }
	synctest.Wait()
	return b
}

func probeOf(period, success, failure int32) *corev1.Probe {
	return &corev1.Probe{
		ProbeHandler:  corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: []string{"x"}}},
		PeriodSeconds: period, SuccessThreshold: success, FailureThreshold: failure, TimeoutSeconds: 1,
	}
}

func podWith(c corev1.Container) *corev1.Pod {
	c.Name = "app"
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u", Name: "web"}, Spec: corev1.PodSpec{Containers: []corev1.Container{c}}}
}

func running(id string, started bool) corev1.PodStatus {
	return corev1.PodStatus{PodIP: "10.0.0.7", ContainerStatuses: []corev1.ContainerStatus{{
		Name: "app", ContainerID: "docker://" + id, Started: &started,
		State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: metav1.Now()}},
	}}}
}

// after lets time pass and everything settle.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (b *bench) expect(t *testing.T, id string, want lifecycle.Probes) {
	t.Helper()
	if got := b.Results("u")[id]; got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestThresholds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		p := podWith(corev1.Container{ReadinessProbe: probeOf(10, 2, 3)})
		b.Sync(p, running("c1", true), false)
		synctest.Wait()
		b.expect(t, "c1", lifecycle.Probes{}) // asked once, not enough
		after(10 * time.Second)
		b.expect(t, "c1", lifecycle.Probes{Readiness: lifecycle.Success})
		b.patient.code.Store(1)
		after(20 * time.Second)
		b.expect(t, "c1", lifecycle.Probes{Readiness: lifecycle.Success})
		after(10 * time.Second)
		b.expect(t, "c1", lifecycle.Probes{Readiness: lifecycle.Failure})
		if got := b.changes.Load(); got != 2 {
			t.Errorf("%d changes told", got)
		}
	})
}

func TestStartupComesFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		p := podWith(corev1.Container{StartupProbe: probeOf(1, 1, 30), LivenessProbe: probeOf(10, 1, 1), ReadinessProbe: probeOf(10, 1, 1)})
		b.patient.code.Store(1)
		b.Sync(p, running("c1", false), false)
		after(5 * time.Second)
		b.expect(t, "c1", lifecycle.Probes{})
		b.patient.code.Store(0)
		after(time.Second)
		b.expect(t, "c1", lifecycle.Probes{Startup: lifecycle.Success})
		asked := b.patient.asked.Load()
		after(time.Minute)
		if b.patient.asked.Load() != asked {
			t.Error("asked on after it had started")
		}
		b.Sync(p, running("c1", true), false)
		synctest.Wait()
		b.expect(t, "c1", lifecycle.Probes{Startup: lifecycle.Success, Liveness: lifecycle.Success, Readiness: lifecycle.Success})
	})
}

func TestAFailedContainerIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		p := podWith(corev1.Container{LivenessProbe: probeOf(10, 1, 3)})
		b.patient.code.Store(1)
		b.Sync(p, running("c1", true), false)
		after(20 * time.Second)
		b.expect(t, "c1", lifecycle.Probes{Liveness: lifecycle.Failure})
		asked := b.patient.asked.Load()
		b.Sync(p, running("c1", true), false)
		after(time.Minute)
		if b.patient.asked.Load() != asked {
			t.Error("asked on after the verdict")
		}
		b.patient.code.Store(0)
		b.Sync(p, running("c2", true), false)
		synctest.Wait()
		b.expect(t, "c1", lifecycle.Probes{})
		b.expect(t, "c2", lifecycle.Probes{Liveness: lifecycle.Success})
	})
}

func TestInitialDelayAndStopping(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBench(t)
		defer b.stop()
		slow := probeOf(10, 1, 1)
		slow.InitialDelaySeconds = 30
		p := podWith(corev1.Container{LivenessProbe: slow, ReadinessProbe: slow})
		b.Sync(p, running("c1", true), false)
		after(29 * time.Second)
		if b.patient.asked.Load() != 0 {
			t.Error("asked too early")
		}
		after(time.Second)
		b.expect(t, "c1", lifecycle.Probes{Liveness: lifecycle.Success, Readiness: lifecycle.Success})
		s := running("c1", true)
		b.Sync(p, s, true)
		b.patient.code.Store(1)
		after(10 * time.Second)
		b.expect(t, "c1", lifecycle.Probes{Liveness: lifecycle.Success, Readiness: lifecycle.Failure})
		b.Forget("u")
		asked := b.patient.asked.Load()
		after(time.Minute)
		if b.patient.asked.Load() != asked {
			t.Error("asked on after the pod was forgotten")
		}
	})
}
