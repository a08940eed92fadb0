package probe

import (
	"context"
	"hash/fnv"
	"net/http"
	"strings"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"coracle.local/services/kubelet/internal/action"
	"coracle.local/services/kubelet/internal/events"
	"coracle.local/services/kubelet/internal/lifecycle"
)

// Kind of a probe.
type kind string

const (
	startup   kind = "Startup"
	liveness  kind = "Liveness"
	readiness kind = "Readiness"
)

// Config is what a Manager needs.
type Config struct {
	Engine action.Engine
	Events events.Recorder
	Clock  clock.WithTicker
	Log    *zap.Logger
	// Changed is called, from any goroutine, when a result of a pod changed.
	Changed func(types.UID)
	// Observe is told every single answer; nil for nobody.
	Observe func(kind, result string)
}

// Manager probes the containers of a node's pods.
type Manager struct {
	cfg    Config
	client *http.Client
	start  time.Time

	mu    sync.Mutex
	ctx   context.Context // of Run
	group sync.WaitGroup
	pods  map[types.UID]*pod
}

// pod is what is known of one pod: results by container ID, and who is at
// work.
type pod struct {
	results map[string]*lifecycle.Probes
	workers map[workerKey]context.CancelFunc
	// settled are probes that have given their last answer on an instance.
	settled map[workerKey]bool
}

type workerKey struct {
	id   string // container ID
	kind kind
}

// NewManager makes a manager; it probes while Run runs.
func NewManager(cfg Config) *Manager {
	return &Manager{cfg: cfg, client: action.Client(), start: cfg.Clock.Now(), pods: map[types.UID]*pod{}}
}

// Run lets probes run until ctx is done, and waits for the last of them.
func (m *Manager) Run(ctx context.Context) error {
	m.mu.Lock()
	m.ctx = ctx
	m.mu.Unlock()
	<-ctx.Done()
	m.group.Wait()
	return nil
}

// Sync brings the probes in line with what runs, as the pod's status says.
// While the pod stops only readiness is asked for, so that traffic goes
// elsewhere when it should.
func (m *Manager) Sync(p *corev1.Pod, s corev1.PodStatus, stopping bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.ctx == nil || m.ctx.Err() != nil {
		return
	}
	state, ok := m.pods[p.UID]
	if !ok {
		state = &pod{results: map[string]*lifecycle.Probes{}, workers: map[workerKey]context.CancelFunc{}, settled: map[workerKey]bool{}}
		m.pods[p.UID] = state
	}
	alive := map[string]bool{}
	for i := range p.Spec.InitContainers {
		if lifecycle.IsSidecar(&p.Spec.InitContainers[i]) {
			m.syncContainer(state, p, &p.Spec.InitContainers[i], s, s.InitContainerStatuses, stopping, alive)
		}
	}
	for i := range p.Spec.Containers {
		m.syncContainer(state, p, &p.Spec.Containers[i], s, s.ContainerStatuses, stopping, alive)
	}
	for k, cancel := range state.workers {
		if !alive[k.id] || stopping && k.kind != readiness {
			cancel()
			delete(state.workers, k)
		}
	}
	for id := range state.results {
		if !alive[id] {
			delete(state.results, id)
		}
	}
	for k := range state.settled {
		if !alive[k.id] {
			delete(state.settled, k)
		}
	}
}

// syncContainer starts what a running container needs; a container that has
// not started is asked nothing else.
func (m *Manager) syncContainer(state *pod, p *corev1.Pod, c *corev1.Container, s corev1.PodStatus, statuses []corev1.ContainerStatus, stopping bool, alive map[string]bool) {
	for i := range statuses {
		cs := &statuses[i]
		if cs.Name != c.Name || cs.State.Running == nil {
			continue
		}
		_, id, _ := strings.Cut(cs.ContainerID, "://")
		alive[id] = true
		t := target{pod: p, container: c, id: id, ip: s.PodIP}
		since := cs.State.Running.StartedAt.Time
		started := cs.Started != nil && *cs.Started
		if !started && !stopping {
			m.work(state, startup, c.StartupProbe, t, since)
		}
		if started {
			if !stopping {
				m.work(state, liveness, c.LivenessProbe, t, since)
			}
			m.work(state, readiness, c.ReadinessProbe, t, since)
		}
	}
}

// work starts one probe, once per container instance.
func (m *Manager) work(state *pod, k kind, spec *corev1.Probe, t target, since time.Time) {
	key := workerKey{t.id, k}
	if spec == nil || state.workers[key] != nil || state.settled[key] {
		return
	}
	if state.results[t.id] == nil {
		state.results[t.id] = &lifecycle.Probes{}
	}
	ctx, cancel := context.WithCancel(m.ctx)
	state.workers[key] = cancel
	w := &worker{m: m, key: key, spec: spec, target: t, uid: t.pod.UID}
	delay := time.Duration(spec.InitialDelaySeconds)*time.Second - m.cfg.Clock.Since(since)
	if since.Before(m.start.Add(-restarted)) {
		// This kubelet is new and the container is not: spread the probes.
		delay = max(delay, spread(t.id, w.period()))
	}
	m.group.Go(func() {
		defer cancel()
		w.run(ctx, max(delay, 0))
	})
}

// restarted is how much older than the kubelet a container must be to count as
// having been there before.
const restarted = 10 * time.Second

// spread is a part of the period that depends on the container only.
func spread(id string, period time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(id)) // never fails
	return time.Duration(float64(period) * float64(h.Sum32()) / (1 << 32))
}

// Results are the answers so far, by container ID.
func (m *Manager) Results(uid types.UID) map[string]lifecycle.Probes {
	m.mu.Lock()
	defer m.mu.Unlock()
	state, ok := m.pods[uid]
	if !ok {
		return nil
	}
	out := make(map[string]lifecycle.Probes, len(state.results))
	for id, r := range state.results {
		out[id] = *r
	}
	return out
}

// Forget stops all probes of a pod and drops its results.
func (m *Manager) Forget(uid types.UID) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if state, ok := m.pods[uid]; ok {
		for _, cancel := range state.workers {
			cancel()
		}
		delete(m.pods, uid)
	}
}

// set keeps an answer; last says that the probe asks no more.
func (m *Manager) set(uid types.UID, key workerKey, r lifecycle.Result, last bool) {
	m.mu.Lock()
	state, ok := m.pods[uid]
	if !ok || state.results[key.id] == nil {
		m.mu.Unlock()
		return
	}
	results := state.results[key.id]
	field := map[kind]*lifecycle.Result{startup: &results.Startup, liveness: &results.Liveness, readiness: &results.Readiness}[key.kind]
	changed := *field != r
	*field = r
	if last {
		state.settled[key] = true
		delete(state.workers, key)
	}
	m.mu.Unlock()
	if changed {
		m.cfg.Changed(uid)
	}
}
