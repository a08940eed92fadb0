// Package harness runs the engine in tests, step by step, against a small
// world that behaves as an API server does: it binds a pod once, refuses stale
// requests, lets evicted pods go, and tells the engine what came of it.
package harness

import (
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	clocktesting "k8s.io/utils/clock/testing"

	"coracle.local/services/scheduler/internal/engine"
)

// Binding is a placement that the engine asked for.
type Binding struct {
	Pod, Node string
	done      func(error)
	uid       types.UID
}

// Harness is an engine in its world. Tests call it from one goroutine.
type Harness struct {
	testing.TB
	Engine *engine.Engine
	Clock  *clocktesting.FakeClock

	// Hold keeps requests unanswered until Answer is called.
	Hold bool
	// Refuse may answer a binding with an error.
	Refuse func(pod *corev1.Pod, node string) error
	// Asked are the bindings in the order in which they were asked for.
	Asked []Binding
	// Statuses are the status changes asked for.
	Statuses []engine.StatusChange

	pods     map[string]*corev1.Pod
	claims   map[string]*corev1.PersistentVolumeClaim
	volumes  map[string]*corev1.PersistentVolume
	classes  map[string]*storagev1.StorageClass
	budgets  []*policyv1.PodDisruptionBudget
	siblings map[string]bool
	held     []func()
	version  int

	mu     sync.Mutex
	events []string
}

// Start is what the clock shows at first.
func Start() time.Time { return time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC) }

// New makes an engine that leads in an empty world.
func New(tb testing.TB) *Harness {
	tb.Helper()
	log := zap.NewNop()
	if testing.Verbose() {
		log = zaptest.NewLogger(tb)
	}
	h := &Harness{
		TB: tb, Clock: clocktesting.NewFakeClock(Start()),
		pods: map[string]*corev1.Pod{}, claims: map[string]*corev1.PersistentVolumeClaim{},
		volumes: map[string]*corev1.PersistentVolume{}, classes: map[string]*storagev1.StorageClass{},
		siblings: map[string]bool{},
	}
	h.Engine = engine.New(engine.Config{
		Log: log, Clock: h.Clock, SchedulerName: corev1.DefaultSchedulerName,
		Binder: h, Status: h, Evictor: h, VolumeBinder: h, Recorder: h,
		Workloads: h, Volumes: h, Budgets: h,
		Metrics: engine.NewMetrics(prometheus.NewRegistry(), corev1.DefaultSchedulerName),
	})
	h.Engine.Lead(true)
	return h
}

// Settle lets the engine work until nothing is left to do, and returns the
// number of decisions.
func (h *Harness) Settle() int {
	decisions := 0
	for {
		h.Engine.Turn()
		if !h.Engine.Step() {
			return decisions
		}
		decisions++
		if decisions > 1_000_000 {
			h.Fatal("the engine does not come to rest")
		}
	}
}

// Answer answers held requests, the latest first: answers come in any order.
func (h *Harness) Answer() {
	held := h.held
	h.held = nil
	for _, f := range slices.Backward(held) {
		f()
	}
}

func (h *Harness) answer(f func()) {
	if h.Hold {
		h.held = append(h.held, f)
		return
	}
	f()
}

// NodeOf is the node that a pod is bound to, by namespace/name.
func (h *Harness) NodeOf(pod string) string {
	if p, ok := h.pods[pod]; ok {
		return p.Spec.NodeName
	}
	return ""
}

// Pod returns a pod as the world has it, or nil.
func (h *Harness) Pod(name string) *corev1.Pod { return h.pods[name] }

// Pods lists the names of all pods.
func (h *Harness) Pods() []string { return slices.Sorted(maps.Keys(h.pods)) }

// Events returns what was recorded since the last call, as "type reason
// namespace/name: message".
func (h *Harness) Events() []string {
	h.mu.Lock()
	defer h.mu.Unlock()
	events := h.events
	h.events = nil
	return events
}

// Event is engine.Recorder.
func (h *Harness) Event(object runtime.Object, eventType, reason, message string) {
	p := object.(*corev1.Pod)
	h.mu.Lock()
	defer h.mu.Unlock()
	h.events = append(h.events, fmt.Sprintf("%s %s %s/%s: %s", eventType, reason, p.Namespace, p.Name, message))
}

func key(p *corev1.Pod) string { return p.Namespace + "/" + p.Name }
