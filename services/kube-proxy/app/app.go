// Package app is kube-proxy as others start it: a Config and Run.
package app

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"

	"coracle.local/libs/client"
	"coracle.local/libs/serve"
	proxyv1 "coracle.local/proto/coracle/proxy/v1"
	"coracle.local/services/kube-proxy/internal/api"
	"coracle.local/services/kube-proxy/internal/iptables"
	"coracle.local/services/kube-proxy/internal/proxy"
	"coracle.local/services/kube-proxy/internal/rules"
)

// Config is everything a kube-proxy needs; what has no default must be set.
type Config struct {
	Log *zap.Logger
	// Conn is a connection to the API server; nil makes one from Kubeconfig.
	Conn       *client.Conn
	Kubeconfig string
	// Node is this node's name.
	Node string
	// Listener is the port for gRPC and health; Run owns it.
	Listener net.Listener
	// TLS of the port.
	TLS *tls.Config
	// PodNetwork is the cluster's network of pods; unset takes all traffic for
	// the cluster's own.
	PodNetwork netip.Prefix
	// MasqueradeAll hides every client's address from Services' pods.
	MasqueradeAll bool
	// KeepSysctls leaves the kernel's settings as they are.
	KeepSysctls bool
}

// Validate says what is missing.
func (c *Config) Validate() error {
	switch {
	case c.Log == nil:
		return errors.New("kube-proxy needs a logger")
	case c.Node == "":
		return errors.New("kube-proxy needs its node's name: set --hostname-override")
	case c.Conn == nil && c.Kubeconfig == "":
		return errors.New("kube-proxy needs a way to the API server: set --kubeconfig")
	case c.Listener == nil:
		return errors.New("kube-proxy needs a listener")
	}
	return nil
}

// Run writes the node's rules until ctx ends. They stay when it does: traffic
// goes on while kube-proxy is started anew.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	conn := cfg.Conn
	if conn == nil {
		var err error
		if conn, err = client.Connect(client.Config{Kubeconfig: cfg.Kubeconfig, UserAgent: "kube-proxy"}); err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
	}
	if !cfg.KeepSysctls {
		tune(cfg.Log)
	}
	registry := prometheus.NewRegistry()
	informers := client.NewInformers(conn).LogTo(cfg.Log)
	services := client.Informer[*corev1.Service](informers)
	// Headless Services are no matter of kube-proxy's.
	slices := client.Informer[*discoveryv1.EndpointSlice](informers, client.WithLabelSelector("!"+corev1.IsHeadlessService))
	p := proxy.New(proxy.Config{
		Node: cfg.Node, Services: client.ListerFor[*corev1.Service](services), Slices: client.ListerFor[*discoveryv1.EndpointSlice](slices),
		Tables: iptables.New(), Rules: rules.Config{PodNetwork: cfg.PodNetwork, MasqueradeAll: cfg.MasqueradeAll},
		Registry: registry, Log: cfg.Log,
	})
	for _, add := range []func() error{
		func() error { _, err := services.AddEventHandler(p.Handler()); return err },
		func() error { _, err := slices.AddEventHandler(p.Handler()); return err },
	} {
		if err := add(); err != nil {
			return fmt.Errorf("follow services: %w", err)
		}
	}
	return serve.All(ctx,
		informers.Run,
		func(ctx context.Context) error { return run(ctx, informers, p) },
		func(ctx context.Context) error {
			return serve.Run(ctx, serve.Config{
				Log: cfg.Log, Listener: cfg.Listener, TLS: cfg.TLS, Registry: registry, Ready: ready(p),
				Services: func(g *grpc.Server) { proxyv1.RegisterProxyServiceServer(g, api.New(cfg.Node, p)) },
				HTTP:     mode(),
			})
		},
	)
}

// run waits for the whole picture, so that rules that are there from before are
// not taken away for want of it.
func run(ctx context.Context, informers *client.Informers, p *proxy.Proxy) error {
	if err := informers.WaitForSync(ctx); err != nil {
		return nil //nolint:nilerr // it fails only when ctx ends
	}
	p.Changed()
	return p.Run(ctx)
}

func ready(p *proxy.Proxy) func() error {
	return func() error {
		m, _, _, err := p.State()
		if m == nil && err == nil {
			err = errors.New("no rules are written yet")
		}
		return err
	}
}

// mode tells, as upstream does, by what means traffic is proxied.
func mode() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("/proxyMode", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("iptables")) })
	return mux
}

// tune sets what the kernel needs for node ports on loopback and for forwarding.
func tune(log *zap.Logger) {
	for path, value := range map[string]string{
		"/proc/sys/net/ipv4/conf/all/route_localnet": "1",
		"/proc/sys/net/ipv4/ip_forward":              "1",
	} {
		if have, err := os.ReadFile(path); err == nil && len(have) > 0 && string(have[:1]) == value {
			continue
		}
		if err := os.WriteFile(path, []byte(value), 0o644); err != nil {
			log.Warn("kernel setting cannot be changed", zap.String("setting", path), zap.Error(err))
		}
	}
}

// Clean removes every rule that a kube-proxy left on this machine.
func Clean(ctx context.Context) error { return iptables.New().Clean(ctx) }
