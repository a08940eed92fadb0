package cluster

import (
	"context"
	"fmt"

	"coracle.local/libs/serve"
	"coracle.local/libs/trace"
	scheduler "coracle.local/services/scheduler/app"
)

// part is a component that runs until ctx ends.
type part func(ctx context.Context) error

// runComponents runs everything beside the API server, each over a connection
// in memory that speaks for it alone.
func (c *Cluster) runComponents(ctx context.Context) error {
	var parts []part
	for _, make := range []func() ([]part, error){c.scheduler} {
		made, err := make()
		if err != nil {
			c.closeListeners()
			return err
		}
		parts = append(parts, made...)
	}
	run := make([]func(context.Context) error, len(parts))
	for i, p := range parts {
		run[i] = p
	}
	if c.cfg.OnReady != nil {
		c.cfg.OnReady(c)
	}
	return serve.All(ctx, run...)
}

func (c *Cluster) scheduler() ([]part, error) {
	const name = "system:kube-scheduler"
	conn, err := c.Dial(name)
	if err != nil {
		return nil, fmt.Errorf("scheduler: %w", err)
	}
	tls, err := c.serving("kube-scheduler")
	if err != nil {
		return nil, err
	}
	tracer := trace.New("scheduler", trace.Reporter(conn.GRPC()))
	cfg := scheduler.Config{Log: c.cfg.Log.Named("scheduler"), Conn: conn, Listener: c.serves["scheduler"], TLS: tls, Tracer: tracer}
	return []part{func(ctx context.Context) error {
		defer func() { _ = conn.Close() }()
		defer func() { _ = tracer.Shutdown(context.WithoutCancel(ctx)) }()
		if err := scheduler.Run(ctx, cfg); err != nil {
			return fmt.Errorf("scheduler: %w", err)
		}
		return nil
	}}, nil
}

// DockerNode is this machine's Docker Engine as a node.
type DockerNode struct {
	// Endpoint of the engine; empty is the environment's or the local socket.
	Endpoint string
}
