// Package proxy keeps a node's rules in step with the cluster's Services.
package proxy

import (
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/client-go/tools/cache"

	"coracle.local/libs/client"
	"coracle.local/services/kube-proxy/internal/conntrack"
	"coracle.local/services/kube-proxy/internal/model"
	"coracle.local/services/kube-proxy/internal/rules"
)

// When rules are written: so long after a change, so that a burst of changes is
// one write, but no later than that after the first; and how often it is checked
// that they are still there.
const (
	quiet   = 10 * time.Millisecond
	longest = 250 * time.Millisecond
	check   = 30 * time.Second
)

// Tables is where rules are written.
type Tables interface {
	Apply(ctx context.Context, want rules.Rules) (chains int, err error)
	Forget()
	Intact(ctx context.Context) bool
}

// Config is what a proxy needs; all must be set but Network.
type Config struct {
	Node     string
	Services client.Lister[*corev1.Service]
	Slices   client.Lister[*discoveryv1.EndpointSlice]
	Tables   Tables
	// Rules give the pod network; it may change with Update.
	Rules    rules.Config
	Registry *prometheus.Registry
	Log      *zap.Logger
}

// Proxy writes a node's rules. Make it with New, feed it with Changed, run it
// with Run.
type Proxy struct {
	cfg     Config
	changed chan struct{}
	resync  chan chan result
	metrics metrics

	mu     sync.Mutex
	model  *model.Model
	rules  rules.Rules
	synced time.Time
	err    error
}

type result struct {
	chains int
	err    error
}

// New returns a proxy.
func New(cfg Config) *Proxy {
	return &Proxy{cfg: cfg, changed: make(chan struct{}, 1), resync: make(chan chan result), metrics: newMetrics(cfg.Registry)}
}

// Handler wakes the proxy on every event of an informer.
func (p *Proxy) Handler() cache.ResourceEventHandler {
	return cache.ResourceEventHandlerFuncs{
		AddFunc:    func(any) { p.Changed() },
		UpdateFunc: func(any, any) { p.Changed() },
		DeleteFunc: func(any) { p.Changed() },
	}
}

// Changed says that Services or EndpointSlices may have changed: look again.
func (p *Proxy) Changed() {
	select {
	case p.changed <- struct{}{}:
	default:
	}
}

// Run writes rules until ctx ends. A write that fails is tried again.
func (p *Proxy) Run(ctx context.Context) error {
	ticker := time.NewTicker(check)
	defer ticker.Stop()
	for wait := time.Duration(0); ; {
		var retry <-chan time.Time
		if wait > 0 {
			retry = time.After(wait)
		}
		var answer chan result
		select {
		case <-ctx.Done():
			return nil
		case <-p.changed:
			p.settle(ctx)
		case <-retry:
		case <-ticker.C:
			if p.cfg.Tables.Intact(ctx) {
				continue
			}
			p.cfg.Log.Warn("rules were removed and are written again")
			p.cfg.Tables.Forget()
		case answer = <-p.resync:
			p.cfg.Tables.Forget()
		}
		chains, err := p.sync(ctx)
		if answer != nil {
			answer <- result{chains, err}
		}
		wait = 0
		if err != nil && ctx.Err() == nil {
			wait = time.Second
			p.cfg.Log.Error("rules are not written and tried again", zap.Error(err))
		}
	}
}

// settle waits until no change came for a while, but not for ever.
func (p *Proxy) settle(ctx context.Context) {
	deadline := time.After(longest)
	for {
		select {
		case <-p.changed:
		case <-time.After(quiet):
			return
		case <-deadline:
			return
		case <-ctx.Done():
			return
		}
	}
}

func (p *Proxy) sync(ctx context.Context) (int, error) {
	began := time.Now()
	m := model.Build(p.cfg.Node, p.cfg.Services.List("", nil), p.cfg.Slices.List("", nil))
	want := rules.Build(p.cfg.Rules, m)
	chains, err := p.cfg.Tables.Apply(ctx, want)

	p.mu.Lock()
	before := p.model
	p.err, p.synced = err, time.Now()
	if err == nil {
		p.model, p.rules = m, want
	}
	p.mu.Unlock()
	p.metrics.observe(time.Since(began), chains, err)
	if err != nil {
		return 0, err
	}
	if before != nil {
		// The rules stand; flows that go on to where nobody is are lost packets,
		// no reason to write the rules again.
		if err := conntrack.Compare(before, m).Forget(); err != nil {
			p.cfg.Log.Warn("stale flows are not forgotten", zap.Error(err))
		}
	}
	if chains > 0 {
		p.cfg.Log.Debug("rules written", zap.Int("chains", chains), zap.Int("ports", len(m.Ports)), zap.Duration("took", time.Since(began)))
	}
	return chains, nil
}

// Resync writes everything anew and returns how many chains that were.
func (p *Proxy) Resync(ctx context.Context) (int, error) {
	answer := make(chan result, 1)
	select {
	case p.resync <- answer:
	case <-ctx.Done():
		return 0, ctx.Err()
	}
	select {
	case r := <-answer:
		return r.chains, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

// State is the model and the rules as last written, when that was, and what
// went wrong last. Model is nil before the first write.
func (p *Proxy) State() (m *model.Model, r rules.Rules, synced time.Time, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.model, p.rules, p.synced, p.err
}
