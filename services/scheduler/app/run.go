package app

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"coracle.local/libs/client"
	"coracle.local/libs/election"
	"coracle.local/libs/serve"
	"coracle.local/libs/trace"
	"coracle.local/services/scheduler/internal/catalog"
	"coracle.local/services/scheduler/internal/engine"
	"coracle.local/services/scheduler/internal/inspect"
	"coracle.local/services/scheduler/internal/outbox"
)

// Run places pods until ctx ends. It fails if the lead is lost, so that a fresh
// process stands for election.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	cfg.complete()
	if cfg.Conn == nil {
		conn, err := client.Connect(client.Config{Kubeconfig: cfg.Kubeconfig, UserAgent: "kube-scheduler"})
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		cfg.Conn = conn
		if cfg.Tracer == nil {
			tracer, err := trace.Open(ctx, "scheduler", trace.Reporter(conn.GRPC()))
			if err != nil {
				return err
			}
			defer func() { _ = tracer.Shutdown(context.WithoutCancel(ctx)) }()
			cfg.Tracer = tracer
		}
	}
	return run(ctx, cfg)
}

func run(ctx context.Context, cfg Config) error {
	// The background and the events end with Run, whatever ends it.
	ctx, cancel := context.WithCancel(ctx)
	background := outbox.NewBackground(ctx)
	defer background.Wait()
	defer cancel()

	registry := prometheus.NewRegistry()
	informers := client.NewInformers(cfg.Conn).LogTo(cfg.Log)
	known := catalog.New(informers)
	recorder := client.NewRecorder(ctx, cfg.Conn, cfg.SchedulerName, cfg.Log)
	pods := client.For[*corev1.Pod](cfg.Conn).As("kube-scheduler")
	binder := newBinder(cfg, pods)
	e := engine.New(engine.Config{
		Log: cfg.Log, Clock: cfg.Clock, SchedulerName: cfg.SchedulerName,
		Binder:  binder,
		Status:  outbox.NewStatusWriter(cfg.Log, pods, background),
		Evictor: &outbox.Evictor{Pods: pods, Recorder: recorder, Background: background, Now: cfg.Clock.Now},
		VolumeBinder: &outbox.VolumeBinder{
			Volumes: client.For[*corev1.PersistentVolume](cfg.Conn), Claims: client.For[*corev1.PersistentVolumeClaim](cfg.Conn),
			Background: background,
		},
		Recorder: recorder, Workloads: known, Volumes: known, Budgets: known,
		Tracer: cfg.Tracer, Metrics: engine.NewMetrics(registry, cfg.SchedulerName),
	})
	wait, err := known.Watch(e)
	if err != nil {
		return err
	}
	var synced atomic.Bool
	parts := []func(context.Context) error{informers.Run, binder.Run, e.Run, func(ctx context.Context) error {
		if err := wait(ctx); err != nil {
			return nil //nolint:nilerr // it fails only when ctx ends
		}
		synced.Store(true)
		return election.Lead(ctx, cfg.Log, cfg.Conn, cfg.Election, func(ctx context.Context) error {
			e.Lead(true)
			defer e.Lead(false)
			<-ctx.Done()
			return nil
		})
	}}
	if cfg.Listener != nil {
		var extra http.Handler
		if cfg.Profiling {
			extra = profiling()
		}
		service := &inspect.Service{Engine: e, Pods: known, Budgets: known.Budgets}
		parts = append(parts, func(ctx context.Context) error {
			return serve.Run(ctx, serve.Config{
				Log: cfg.Log, Listener: cfg.Listener, TLS: cfg.TLS, Allow: cfg.Allow, Registry: registry,
				Services: service.Register, HTTP: extra, Ready: func() error { return ready(&synced) },
			})
		})
	}
	return serve.All(ctx, parts...)
}

func ready(synced *atomic.Bool) error {
	if !synced.Load() {
		return errors.New("the cluster's state is not known yet")
	}
	return nil
}

func newBinder(cfg Config, pods client.Client[*corev1.Pod]) *outbox.Binder {
	open := func(ctx context.Context) (outbox.BindStream, error) { return cfg.Conn.Bind(ctx) }
	nodeOf := func(ctx context.Context, p *corev1.Pod) (string, error) {
		now, err := pods.Get(ctx, p.Namespace, p.Name)
		if err != nil {
			return "", fmt.Errorf("read pod %s/%s: %w", p.Namespace, p.Name, err)
		}
		if now.UID != p.UID {
			return "", nil
		}
		return now.Spec.NodeName, nil
	}
	return outbox.NewBinder(cfg.Log.With(zap.String("part", "binder")), open, nodeOf)
}
