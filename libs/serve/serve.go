// Package serve is the anatomy that all services share at their edge: one TLS
// port with gRPC by content type and plain HTTP for health and metrics, the
// same interceptors, reflection and shutdown.
package serve

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/libs/wire"
)

// grace is how long open requests may go on after the end was asked for.
const grace = 2 * time.Second

// Config says what a service serves. Listener is owned by Run.
type Config struct {
	Log      *zap.Logger
	Listener net.Listener
	// TLS must have a certificate, and ClientCAs for callers to be known; nil
	// serves without TLS and without gRPC guards, for tests.
	TLS *tls.Config
	// Services registers the service's gRPC services; nil for none.
	Services func(*grpc.Server)
	// HTTP serves further paths; nil for none. It is guarded like gRPC.
	HTTP http.Handler
	// Registry is what /metrics shows; nil shows an empty page.
	Registry *prometheus.Registry
	// Ready is asked by /readyz; nil is always ready.
	Ready func() error
	// Allow decides who may call; nil allows the group system:masters.
	Allow func(user.Info) bool
}

// Run serves until ctx ends, then closes the listener and lets open requests
// end within a short grace.
func Run(ctx context.Context, cfg Config) error {
	g := GRPC(cfg.guardUnary, cfg.guardStream)
	if cfg.Services != nil {
		cfg.Services(g)
	}
	listener := cfg.Listener
	server := &http.Server{
		Handler:           cfg.handler(g),
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          zap.NewStdLog(cfg.Log),
		BaseContext:       func(net.Listener) context.Context { return ctx },
		Protocols:         protocols(cfg.TLS == nil),
	}
	if cfg.TLS != nil {
		t := cfg.TLS.Clone()
		if t.ClientCAs != nil && t.ClientAuth == tls.NoClientCert {
			t.ClientAuth = tls.VerifyClientCertIfGiven
		}
		t.NextProtos = []string{"h2", "http/1.1"}
		listener = tls.NewListener(listener, t)
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(listener) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve on %s: %w", cfg.Listener.Addr(), err)
	case <-ctx.Done():
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	if err := server.Shutdown(bound); err != nil {
		_ = server.Close()
	}
	g.Stop()
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve on %s: %w", cfg.Listener.Addr(), err)
	}
	return nil
}

func protocols(plain bool) *http.Protocols {
	p := &http.Protocols{}
	p.SetHTTP1(true)
	p.SetHTTP2(true)
	p.SetUnencryptedHTTP2(plain)
	return p
}

func (c *Config) handler(g *grpc.Server) http.Handler {
	mux := http.NewServeMux()
	registry := c.Registry
	if registry == nil {
		registry = prometheus.NewRegistry()
	}
	mux.Handle("/metrics", c.guardHTTP(promhttp.HandlerFor(registry, promhttp.HandlerOpts{})))
	mux.HandleFunc("/healthz", ok)
	mux.HandleFunc("/livez", ok)
	mux.HandleFunc("/readyz", c.readyz)
	if c.HTTP != nil {
		mux.Handle("/", c.guardHTTP(c.HTTP))
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
			g.ServeHTTP(w, r)
			return
		}
		mux.ServeHTTP(w, r)
	})
}

func ok(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok")) }

func (c *Config) readyz(w http.ResponseWriter, r *http.Request) {
	if c.Ready != nil {
		if err := c.Ready(); err != nil {
			http.Error(w, err.Error(), http.StatusServiceUnavailable)
			return
		}
	}
	ok(w, r)
}

// GRPC returns a server with the codec, error translation, panic guard, health
// and reflection that all our servers have, and further interceptors.
func GRPC(unary grpc.UnaryServerInterceptor, stream grpc.StreamServerInterceptor, options ...grpc.ServerOption) *grpc.Server {
	options = append(options,
		grpc.ForceServerCodecV2(wire.Codec()),
		grpc.MaxRecvMsgSize(maxRequest),
		grpc.ChainUnaryInterceptor(translateUnary, unary),
		grpc.ChainStreamInterceptor(translateStream, stream),
		grpc.KeepaliveEnforcementPolicy(keepalivePolicy),
	)
	g := grpc.NewServer(options...)
	healthv1.RegisterHealthServer(g, health.NewServer())
	registerReflection(g)
	return g
}

// Loop runs a function until it returns or ctx ends, restarting it with a delay
// when it fails: the one retry loop of long-lived parts.
func Loop(ctx context.Context, log *zap.Logger, name string, run func(context.Context) error) {
	for wait := 50 * time.Millisecond; ; wait = min(2*wait, 5*time.Second) {
		err := run(ctx)
		if ctx.Err() != nil || err == nil {
			return
		}
		log.Warn("part failed and is started again", zap.String("part", name), zap.Error(err))
		select {
		case <-ctx.Done():
			return
		case <-time.After(wait):
		}
	}
}

// All runs functions together: the first that fails ends the others, and its
// error is returned.
func All(ctx context.Context, run ...func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var group sync.WaitGroup
	errs := make([]error, len(run))
	for i, f := range run {
		group.Go(func() {
			if errs[i] = f(ctx); errs[i] != nil {
				cancel()
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}
