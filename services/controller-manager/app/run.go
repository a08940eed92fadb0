package app

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"k8s.io/client-go/tools/leaderelection"

	"coracle.local/libs/client"
	"coracle.local/libs/serve"
	"coracle.local/libs/trace"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/inspect"
	"coracle.local/services/controller-manager/internal/loop"
)

// Run runs the controllers until ctx ends. It fails if the lead is lost, so
// that a fresh process stands for election.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg.complete()
	if cfg.Conn == nil {
		conn, err := client.Connect(client.Config{Kubeconfig: cfg.Kubeconfig, UserAgent: "kube-controller-manager"})
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		cfg.Conn = conn
		if cfg.Tracer == nil {
			tracer, err := trace.Open(ctx, "controller-manager", trace.Reporter(conn.GRPC()))
			if err != nil {
				return err
			}
			defer func() { _ = tracer.Shutdown(context.WithoutCancel(ctx)) }()
			cfg.Tracer = tracer
		}
	}
	return run(ctx, cfg)
}

// manager is what is put together before anything runs.
type manager struct {
	cfg     Config
	api     *cluster.GRPC
	service *inspect.Service
	loops   []loop.Loop
	leading atomic.Bool
}

func run(ctx context.Context, cfg Config) error {
	// Events are written until Run ends, whatever ends it.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	registry := prometheus.NewRegistry()
	metrics, err := loop.NewMetrics(registry)
	if err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	journal := &loop.Journal{}
	m := &manager{cfg: cfg, api: cluster.NewGRPC(ctx, cfg.Conn, cfg.REST, cfg.Log)}
	m.service = &inspect.Service{Journal: journal, Leading: m.leading.Load, Controllers: build(loop.Deps{
		Log: cfg.Log, API: m.api, Clock: cfg.Clock, Journal: journal, Metrics: metrics, Tracer: cfg.Tracer, Workers: cfg.Workers,
	}, &cfg)}
	for _, c := range m.service.Controllers {
		m.loops = append(m.loops, c.Loops...)
	}
	if err := loop.RegisterDepths(registry, m.loops); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	parts := []func(context.Context) error{m.lead}
	if cfg.Listener != nil {
		parts = append(parts, func(ctx context.Context) error {
			return serve.Run(ctx, serve.Config{
				Log: cfg.Log, Listener: cfg.Listener, TLS: cfg.TLS, Allow: cfg.Allow,
				Registry: registry, Services: m.service.Register, Ready: m.ready,
			})
		})
	}
	return serve.All(ctx, parts...)
}

// ready is that this process works, or stands by for another that does.
func (m *manager) ready() error {
	if !m.leading.Load() {
		return nil
	}
	for _, l := range m.loops {
		if s := l.Status(); !s.Running {
			return fmt.Errorf("%s waits for its caches", s.Controller)
		}
	}
	return nil
}

// work runs the controllers and what they read.
func (m *manager) work(ctx context.Context) error {
	m.leading.Store(true)
	defer m.leading.Store(false)
	m.api.Open()
	parts := []func(context.Context) error{m.api.Run}
	for _, l := range m.loops {
		parts = append(parts, l.Run)
	}
	return serve.All(ctx, parts...)
}

// errLeadLost ends a manager that another may have replaced: two at once would
// do everything twice.
var errLeadLost = errors.New("the lead is lost")

// lead works while this process is the leader, which without an election it
// always is.
func (m *manager) lead(ctx context.Context) error {
	e := m.cfg.Election
	if e == nil {
		return m.work(ctx)
	}
	// RunOrDie starts the work in a goroutine of its own and does not wait for
	// it; ended says when it is over, and how.
	var started atomic.Bool
	ended := make(chan error, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:          client.NewLeaseLock(m.cfg.Conn, e.Namespace, e.Name, e.Identity),
		LeaseDuration: e.LeaseDuration, RenewDeadline: e.RenewDeadline, RetryPeriod: e.RetryPeriod,
		ReleaseOnCancel: true, Name: e.Name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				started.Store(true)
				m.cfg.Log.Info("leading", zap.String("identity", e.Identity))
				ended <- m.work(ctx)
			},
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				if identity != e.Identity {
					m.cfg.Log.Info("another controller manager leads", zap.String("leader", identity))
				}
			},
		},
	})
	if err != nil {
		return fmt.Errorf("stand for election: %w", err)
	}
	elector.Run(ctx)
	if started.Load() {
		if err := <-ended; err != nil {
			return err
		}
	}
	if ctx.Err() == nil {
		return errLeadLost
	}
	return nil
}
