// Package hollow is a container engine without containers: what is started
// runs, on paper, until it is stopped. Thousands of pods cost a few kilobytes
// each, so that a cluster's other parts can be seen at work on many nodes.
//
// A pod may end by itself. These annotations of it are honoured:
//
//	coracle.local/hollow-run: "30s"   its containers run that long
//	coracle.local/hollow-exit: "1"    and end with that code (0 where unset)
//
// With hollow-exit alone they end at once. Init containers always end at once,
// with 0.
package hollow

import (
	"context"
	"fmt"
	"net/netip"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"coracle.local/services/kubelet/internal/engine"
)

// Annotations of pods.
const (
	ExitAnnotation = "coracle.local/hollow-exit"
	RunAnnotation  = "coracle.local/hollow-run"
)

// Config of an engine. The zero value is usable.
type Config struct {
	Clock clock.WithDelayedExecution
	// CPUs and MemoryBytes are what the node claims to have; zero is 4 CPUs
	// and 16 GiB, however small the real machine is.
	CPUs        int
	MemoryBytes int64
	// PodCIDR is where addresses come from; while it is unset or returns none,
	// pods get addresses of 10.255.0.0/16.
	PodCIDR func() netip.Prefix
}

// Engine is a hollow engine.
type Engine struct {
	cfg Config

	mu      sync.Mutex
	pods    map[types.UID]*pod
	owner   map[string]types.UID // of sandboxes and containers, by ID
	images  map[string]engine.Image
	used    map[netip.Addr]bool
	last    netip.Addr
	next    int
	readers map[chan engine.Event]bool
}

type pod struct {
	engine.Pod
	run, exit string // annotations
	timers    map[string]clock.Timer
	addresses map[string]netip.Addr // by sandbox
}

var _ engine.Runtime = (*Engine)(nil)

// New makes an engine.
func New(cfg Config) *Engine {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.CPUs == 0 {
		cfg.CPUs = 4
	}
	if cfg.MemoryBytes == 0 {
		cfg.MemoryBytes = 16 << 30
	}
	return &Engine{
		cfg: cfg, pods: map[types.UID]*pod{}, owner: map[string]types.UID{}, images: map[string]engine.Image{},
		used: map[netip.Addr]bool{}, readers: map[chan engine.Event]bool{},
	}
}

// Info describes an ordinary machine.
func (e *Engine) Info(context.Context) (engine.Info, error) {
	return engine.Info{
		Name: "hollow", Version: "1.0", OSImage: "Coracle hollow node", KernelVersion: "0.0.0-hollow",
		OperatingSystem: runtime.GOOS, Architecture: runtime.GOARCH, CPUs: e.cfg.CPUs, MemoryBytes: e.cfg.MemoryBytes,
	}, nil
}

// Pods returns copies of all pods.
func (e *Engine) Pods(context.Context) ([]engine.Pod, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]engine.Pod, 0, len(e.pods))
	for _, p := range e.pods {
		out = append(out, p.view())
	}
	return out, nil
}

// Pod returns a copy of one pod.
func (e *Engine) Pod(_ context.Context, uid types.UID) (engine.Pod, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p, ok := e.pods[uid]; ok {
		return p.view(), nil
	}
	return engine.Pod{UID: uid}, nil
}

func (p *pod) view() engine.Pod {
	out := p.Pod
	out.Sandboxes, out.Containers = slices.Clone(p.Sandboxes), slices.Clone(p.Containers)
	return out
}

// id makes one up. The engine is locked.
func (e *Engine) id(kind string, uid types.UID) string {
	e.next++
	id := fmt.Sprintf("hollow-%s-%s-%d", kind, uid, e.next)
	e.owner[id] = uid
	return id
}

// RunSandbox makes a sandbox, or returns the ready one of the same attempt.
func (e *Engine) RunSandbox(_ context.Context, spec engine.SandboxSpec) (engine.Sandbox, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, ok := e.pods[spec.PodUID]
	if !ok {
		p = &pod{Pod: engine.Pod{UID: spec.PodUID, Namespace: spec.Namespace, Name: spec.Name}}
		e.pods[spec.PodUID] = p
	}
	p.run, p.exit = spec.Annotations[RunAnnotation], spec.Annotations[ExitAnnotation]
	for _, s := range slices.Clone(p.Sandboxes) {
		if s.Attempt == spec.Attempt {
			if s.Ready {
				return s, nil
			}
			e.removeSandbox(p, s.ID)
			e.pods[spec.PodUID] = p
		}
	}
	s := engine.Sandbox{
		ID: e.id("sandbox", spec.PodUID), Attempt: spec.Attempt, Ready: true, HostNetwork: spec.HostNetwork,
		CreatedAt: e.cfg.Clock.Now(), Labels: spec.Labels, Annotations: spec.Annotations,
	}
	if !spec.HostNetwork {
		ip, err := e.address()
		if err != nil {
			return engine.Sandbox{}, err
		}
		if p.addresses == nil {
			p.addresses = map[string]netip.Addr{}
		}
		p.addresses[s.ID] = ip
		s.IPs = []string{ip.String()}
	}
	p.Sandboxes = append([]engine.Sandbox{s}, p.Sandboxes...)
	return s, nil
}

// address hands out the next free address. The first of a range is the
// gateway's on real nodes.
func (e *Engine) address() (netip.Addr, error) {
	cidr := netip.MustParsePrefix("10.255.0.0/16")
	if e.cfg.PodCIDR != nil {
		if c := e.cfg.PodCIDR(); c.IsValid() {
			cidr = c.Masked()
		}
	}
	first := cidr.Addr().Next().Next()
	if !cidr.Contains(e.last) {
		e.last = cidr.Addr().Next()
	}
	for range len(e.used) + 1 {
		e.last = e.last.Next()
		if !cidr.Contains(e.last) {
			e.last = first
		}
		if !e.used[e.last] {
			e.used[e.last] = true
			return e.last, nil
		}
	}
	return netip.Addr{}, fmt.Errorf("no address is left in %s", cidr)
}

// StopSandbox ends a sandbox and what is in it.
func (e *Engine) StopSandbox(_ context.Context, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	p, ok := e.pods[e.owner[id]]
	if !ok {
		return nil
	}
	for i := range p.Containers {
		if p.Containers[i].SandboxID == id {
			e.end(p, i, killed)
		}
	}
	for i := range p.Sandboxes {
		if p.Sandboxes[i].ID == id {
			p.Sandboxes[i].Ready = false
		}
	}
	e.release(p, id)
	e.tell(p.UID)
	return nil
}

func (e *Engine) release(p *pod, sandbox string) {
	if ip, ok := p.addresses[sandbox]; ok {
		delete(e.used, ip)
		delete(p.addresses, sandbox)
	}
}

// RemoveSandbox removes a sandbox and what is in it.
func (e *Engine) RemoveSandbox(_ context.Context, id string) error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if p, ok := e.pods[e.owner[id]]; ok {
		e.removeSandbox(p, id)
		e.tell(p.UID)
	}
	return nil
}

func (e *Engine) removeSandbox(p *pod, id string) {
	for _, c := range slices.Clone(p.Containers) {
		if c.SandboxID == id {
			e.removeContainer(p, c.ID)
		}
	}
	p.Sandboxes = slices.DeleteFunc(p.Sandboxes, func(s engine.Sandbox) bool { return s.ID == id })
	e.release(p, id)
	delete(e.owner, id)
	if len(p.Sandboxes)+len(p.Containers) == 0 {
		delete(e.pods, p.UID)
	}
}

// tell wakes those who read events; one that does not read is cut off.
func (e *Engine) tell(uid types.UID) {
	for r := range e.readers {
		select {
		case r <- engine.Event{PodUID: uid}:
		default:
			delete(e.readers, r)
			close(r)
		}
	}
}

// Events tells of every change.
func (e *Engine) Events(ctx context.Context) (<-chan engine.Event, error) {
	r := make(chan engine.Event, 1024)
	e.mu.Lock()
	e.readers[r] = true
	e.mu.Unlock()
	context.AfterFunc(ctx, func() {
		e.mu.Lock()
		defer e.mu.Unlock()
		if e.readers[r] {
			delete(e.readers, r)
			close(r)
		}
	})
	return r, nil
}

// fate is when and how a pod's containers end by themselves.
func (p *pod) fate() (after time.Duration, code int, ends bool) {
	d, err := time.ParseDuration(p.run)
	runs := err == nil
	c, err := strconv.Atoi(p.exit)
	exits := err == nil
	return d, c, runs || exits
}
