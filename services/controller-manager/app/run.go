package app

import (
	"context"
	"fmt"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"coracle.local/libs/client"
	"coracle.local/libs/election"
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
	parts := []func(context.Context) error{func(ctx context.Context) error {
		return election.Lead(ctx, cfg.Log, cfg.Conn, cfg.Election, m.work)
	}}
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
