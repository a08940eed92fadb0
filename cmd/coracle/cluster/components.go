package cluster

import (
	"context"
	"crypto/tls"
	"fmt"
	"net/netip"

	"k8s.io/client-go/rest"

	"coracle.local/libs/client"
	"coracle.local/libs/serve"
	"coracle.local/libs/trace"
	manager "coracle.local/services/controller-manager/app"
	scheduler "coracle.local/services/scheduler/app"
)

// part is a component that runs until ctx ends.
type part func(ctx context.Context) error

// runComponents runs everything beside the API server, each over a connection
// in memory that speaks for it alone.
func (c *Cluster) runComponents(ctx context.Context) error {
	var parts []part
	for _, make := range []func() ([]part, error){c.scheduler, c.controllerManager, c.nodes} {
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

// member is what the components beside the API server have in common.
type member struct {
	conn   *client.Conn
	tls    *tls.Config
	tracer *trace.Tracer
}

// join connects a component to the API server as a user of the groups.
func (c *Cluster) join(component, name string, groups ...string) (*member, error) {
	conn, err := c.Dial(name, groups...)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", component, err)
	}
	tls, err := c.serving(component)
	if err != nil {
		return nil, err
	}
	return &member{conn, tls, trace.New(component, trace.Reporter(conn.GRPC()))}, nil
}

// part runs a component and closes what it was given.
func (m *member) part(component string, run func(context.Context) error) part {
	return func(ctx context.Context) error {
		defer func() { _ = m.conn.Close() }()
		defer func() { _ = m.tracer.Shutdown(context.WithoutCancel(ctx)) }()
		if err := run(ctx); err != nil {
			return fmt.Errorf("%s: %w", component, err)
		}
		return nil
	}
}

func (c *Cluster) scheduler() ([]part, error) {
	m, err := c.join("scheduler", "system:kube-scheduler")
	if err != nil {
		return nil, err
	}
	cfg := scheduler.Config{Log: c.cfg.Log.Named("scheduler"), Conn: m.conn, Listener: c.serves["scheduler"], TLS: m.tls, Tracer: m.tracer}
	return []part{m.part("scheduler", func(ctx context.Context) error { return scheduler.Run(ctx, cfg) })}, nil
}

func (c *Cluster) controllerManager() ([]part, error) {
	m, err := c.join("controller-manager", "system:kube-controller-manager")
	if err != nil {
		return nil, err
	}
	cfg := manager.Config{
		Log: c.cfg.Log.Named("controller-manager"), Conn: m.conn, Listener: c.serves["controller-manager"], TLS: m.tls, Tracer: m.tracer,
		Controllers: c.cfg.Controllers, RootCA: c.keys.CA.CertPEM,
		Signers: manager.AllSigners(manager.Authority{Cert: c.keys.CA.CertPEM, Key: c.keys.CA.KeyPEM}),
		REST:    c.managerREST, ServiceAccountKey: c.keys.ServiceAccountKey,
		AllocateNodeCIDRs: true, ClusterCIDRs: []netip.Prefix{PodNetwork},
	}
	return []part{m.part("controller-manager", func(ctx context.Context) error { return manager.Run(ctx, cfg) })}, nil
}

// managerREST is how the controller manager reaches what the typed services do
// not have, once there is something of the kind.
func (c *Cluster) managerREST() (*rest.Config, error) {
	own, err := c.keys.ControllerManager()
	if err != nil {
		return nil, fmt.Errorf("certificate of the controller manager: %w", err)
	}
	return &rest.Config{Host: c.REST, UserAgent: "kube-controller-manager", TLSClientConfig: rest.TLSClientConfig{
		CAData: c.keys.CA.CertPEM, CertData: own.CertPEM, KeyData: own.KeyPEM,
	}}, nil
}
