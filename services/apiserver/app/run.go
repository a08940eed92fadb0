package app

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"slices"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"

	"coracle.local/libs/kinds"
	"coracle.local/libs/serve"
	"coracle.local/libs/trace"
	tracev1 "coracle.local/proto/coracle/trace/v1"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/aggregate"
	"coracle.local/services/apiserver/internal/audit"
	"coracle.local/services/apiserver/internal/backend"
	"coracle.local/services/apiserver/internal/bootstrap"
	"coracle.local/services/apiserver/internal/cache"
	"coracle.local/services/apiserver/internal/dangling"
	"coracle.local/services/apiserver/internal/definitions"
	"coracle.local/services/apiserver/internal/encryption"
	"coracle.local/services/apiserver/internal/front/managed"
	"coracle.local/services/apiserver/internal/front/typed"
	behaviour "coracle.local/services/apiserver/internal/kinds"
	"coracle.local/services/apiserver/internal/registry"
	"coracle.local/services/apiserver/internal/strategy"
	"coracle.local/services/apiserver/internal/typecheck"
	"coracle.local/services/apiserver/internal/webhook"
)

// server is the parts of one API server.
type server struct {
	cfg      Config
	cache    *cache.Cache
	registry *registry.Registry
	identity *identity
	kubelets *kubelets
	// backends reaches pods and Services, webhooks what objects configure.
	backends backend.Backends
	// definitions serves custom resources.
	definitions *definitions.Controller
	webhooks    *webhook.Clients
	// typecheck writes the status of policies.
	typecheck *typecheck.Controller
	// dangling writes the status of flow schemas.
	dangling *dangling.Controller
	// aggregator serves what other API servers have.
	aggregator *aggregate.Aggregator
	// encryption seals what is stored; nil for none.
	encryption *encryption.Values
	// audit records requests; nil records nothing.
	audit  *audit.Auditor
	traces *trace.Store
	ready  chan struct{}
}

// Run serves until ctx ends. It returns an error if it cannot start, or if a
// listener fails.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	s := &server{cfg: cfg, traces: trace.NewStore(), ready: make(chan struct{})}
	tracer, err := trace.Open(ctx, "apiserver", s.traces)
	if err != nil {
		return err
	}
	defer func() { _ = tracer.Shutdown(context.WithoutCancel(ctx)) }()
	if err := s.assemble(ctx, tracer); err != nil {
		return err
	}
	defer s.webhooks.Close()
	rest, err := s.rest(ctx, tracer)
	if err != nil {
		return err
	}
	return serve.All(ctx,
		s.follow,
		func(ctx context.Context) error { return serve.All(ctx, s.identity.follow...) },
		func(ctx context.Context) error {
			return s.cache.Store().Compact(ctx, func(err error) { cfg.Log.Warn("history is not compacted", zap.Error(err)) })
		},
		func(ctx context.Context) error { return s.serveREST(ctx, rest) },
		s.serveGRPC,
		s.kubelets.Run,
		s.definitions.Run,
		s.checkPolicies,
		s.judgeSchemas,
		s.aggregate,
		s.seal,
		s.deliver,
		s.repair,
		s.start,
	)
}

func (s *server) assemble(ctx context.Context, tracer *trace.Tracer) error {
	strategies := behaviour.StrategiesOf(s.families())
	if err := s.record(); err != nil {
		return err
	}
	store, err := s.store(ctx)
	if err != nil {
		return err
	}
	s.cache = cache.New(store, behaviourOf(strategies), s.cfg.Log.Named("cache"))
	s.kubelets = newKubelets(&s.cfg, reader{s.cache})
	s.backends = backend.Backends{Kubelets: s.kubelets, Objects: backend.Cached(reader{s.cache})}
	s.webhooks = webhook.New(s.backends)
	services := registry.NewServices(s.cfg.ServiceCIDRs, s.cfg.NodePorts, s.families().Refuse)
	services.Observe(s.cache)
	chain := &admission.Chain{}
	s.registry = registry.New(registry.Config{
		Cache: s.cache, Strategies: strategies, Admission: chain, Services: services,
		Tracer: tracer, Log: s.cfg.Log.Named("registry"), EventTTL: s.cfg.EventTTL,
	})
	s.definitions = s.newDefinitions()
	s.aggregator = s.newAggregator()
	s.typecheck = s.newTypecheck()
	s.dangling = s.newDangling()
	if s.identity, err = s.newIdentity(ctx); err != nil {
		return err
	}
	return s.admit(chain)
}

func behaviourOf(strategies map[*kinds.Kind]*strategy.Erased) func(*kinds.Kind) cache.Behaviour {
	return func(k *kinds.Kind) cache.Behaviour {
		return cache.Behaviour{Fields: strategies[k].Fields, Reread: strategies[k].Reread}
	}
}

// follow keeps the cache; a broken stream is opened again.
func (s *server) follow(ctx context.Context) error {
	serve.Loop(ctx, s.cfg.Log, "cache", s.cache.Run)
	return nil
}

// start makes the cluster's first objects and opens the doors.
func (s *server) start(ctx context.Context) error {
	select {
	case <-s.definitions.Synced():
	case <-ctx.Done():
		return nil
	}
	began := time.Now()
	objects, err := bootstrap.Objects(bootstrap.Config{
		ServiceCIDRs:   s.ranges(),
		Endpoint:       bootstrap.Endpoint{Address: s.cfg.Address.String(), Port: int32(port(s.cfg.Listener))},
		Authentication: s.published(),
		Now:            began,
	})
	if err == nil {
		err = prepare(ctx, s.registry, s.reachable(objects))
	}
	if err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return fmt.Errorf("prepare the cluster: %w", err)
	}
	close(s.ready)
	s.cfg.Log.Info("ready", zap.String("rest", s.cfg.Listener.Addr().String()),
		zap.String("grpc", s.cfg.GRPCListener.Addr().String()), zap.Duration("prepared", time.Since(began)))
	if s.cfg.OnReady != nil {
		s.cfg.OnReady()
	}
	return nil
}

// reachable leaves out the endpoints of the kubernetes Service on a host
// without a network: loopback is no address that others could use.
func (s *server) reachable(objects []kinds.Object) []kinds.Object {
	if !s.cfg.Address.IsLoopback() {
		return objects
	}
	return slices.DeleteFunc(objects, func(o kinds.Object) bool {
		k := kinds.ForObject(o).Kind
		return k == "Endpoints" || k == "EndpointSlice"
	})
}

func (s *server) published() bootstrap.Authentication {
	out := bootstrap.Authentication{ClientCA: s.cfg.ClientCA}
	if h := s.cfg.RequestHeader; h != nil {
		out.RequestHeaderCA, out.AllowedNames = h.CA, h.AllowedNames
		out.UsernameHeaders, out.UIDHeaders = h.UsernameHeaders, h.UIDHeaders
		out.GroupHeaders, out.ExtraHeaderPrefixes = h.GroupHeaders, h.ExtraHeaderPrefixes
	}
	return out
}

// serveGRPC serves the typed front on its port and, for components of this
// process, on the pipe, from the moment that the cluster is prepared.
func (s *server) serveGRPC(ctx context.Context) error {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return s.cfg.GRPCListener.Close()
	}
	// Callers are identified method by method, where it is known what they want.
	g := serve.GRPC(audit.UnaryInterceptor(s.audit), audit.StreamInterceptor(s.audit), grpc.Creds(serve.Credentials(s.tls("h2"))))
	typed.Register(g, typed.Config{
		Registry: s.registry, Guard: s.identity.guard, Reviews: answers{s.identity, s.registry}, Managers: managed.New(s.registry),
	})
	tracev1.RegisterTraceServiceServer(g, &traces{store: s.traces, guard: s.identity.guard})

	listeners := []net.Listener{s.cfg.GRPCListener}
	if s.cfg.Pipe != nil {
		listeners = append(listeners, s.cfg.Pipe)
	}
	failed := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() { failed <- g.Serve(l) }()
	}
	select {
	case err := <-failed:
		g.Stop()
		return fmt.Errorf("serve gRPC: %w", err)
	case <-ctx.Done():
	}
	// Watches never end by themselves, so there is nothing to wait for.
	g.Stop()
	for range listeners {
		if err := <-failed; err != nil && !errors.Is(err, grpc.ErrServerStopped) {
			s.cfg.Log.Warn("gRPC listener ended badly", zap.Error(err))
		}
	}
	return nil
}

// tls asks for client certificates and leaves it to authentication to judge
// them, since two authorities count.
func (s *server) tls(protocols ...string) *tls.Config {
	return &tls.Config{
		MinVersion: s.cfg.TLSMinVersion, Certificates: []tls.Certificate{s.cfg.Certificate},
		ClientAuth: tls.RequestClientCert, ClientCAs: s.authorities(), NextProtos: protocols,
	}
}

// authorities are told to clients, so that they know which certificate to show.
func (s *server) authorities() *x509.CertPool {
	p := x509.NewCertPool()
	p.AppendCertsFromPEM(s.cfg.ClientCA)
	if h := s.cfg.RequestHeader; h != nil {
		p.AppendCertsFromPEM(h.CA)
	}
	return p
}
