package app

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/pprof"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"go.uber.org/zap"

	"coracle.local/libs/client"
	"coracle.local/libs/trace"
	"coracle.local/services/apiserver/internal/auth/token"
	"coracle.local/services/apiserver/internal/front/rest"
	"coracle.local/services/apiserver/internal/front/rest/health"
)

// drain is how long open requests may go on after the end was asked for.
const drain = 2 * time.Second

// rest makes the REST front.
func (s *server) rest(ctx context.Context, tracer *trace.Tracer) (http.Handler, error) {
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	ready := []health.Check{{Name: "etcd", Check: s.checkEtcd}, {Name: "poststarthook/bootstrap", Check: s.checkReady}}
	ready = append(ready, s.sealing()...)
	told := rest.Version()
	if s.cfg.Version != "" {
		told.GitVersion = s.cfg.Version
	}
	front, err := rest.New(rest.Config{
		Log: s.cfg.Log.Named("rest"), Registry: rest.Over(s.registry), Catalog: s.registry.Catalog, Guard: s.identity.guard,
		Reviews: answers{s.identity, s.registry}, Kubelets: s.kubelets, Admission: s.registry.Admission,
		OpenID: s.openID(), Checks: health.Checks{Healthz: ready, Livez: append(ready[:1:1], s.sealing()...), Readyz: ready},
		Metrics: metrics, Tracer: tracer, Draining: ctx, Components: s.components, Extra: http.HandlerFunc(profiles), Audit: s.audit, Aggregate: s.aggregator,
		Address: func() string { return fmt.Sprintf("%s:%d", s.cfg.Address, port(s.cfg.Listener)) },
		Version: told,
	})
	if err != nil {
		return nil, err
	}
	// No http.ServeMux: it would clean paths, which mean what they say.
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Method == http.MethodGet && r.URL.Path == client.DiscoveryPath {
			s.tellGRPC(w, r)
			return
		}
		front.ServeHTTP(w, r)
	}), nil
}

// profiles shows what the process spends its time and memory on, to those who may
// read the path.
func profiles(w http.ResponseWriter, r *http.Request) {
	switch r.URL.Path {
	case "/debug/pprof/cmdline":
		pprof.Cmdline(w, r)
	case "/debug/pprof/profile":
		pprof.Profile(w, r)
	case "/debug/pprof/symbol":
		pprof.Symbol(w, r)
	case "/debug/pprof/trace":
		pprof.Trace(w, r)
	default:
		if strings.HasPrefix(r.URL.Path, "/debug/pprof") {
			pprof.Index(w, r)
			return
		}
		http.NotFound(w, r)
	}
}

// tellGRPC lets components that have a kubeconfig alone find the gRPC port.
func (s *server) tellGRPC(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(map[string]int{"grpcPort": port(s.cfg.GRPCListener)})
}

func (s *server) checkReady(*http.Request) error {
	select {
	case <-s.ready:
		return nil
	default:
		return errors.New("not finished")
	}
}

func (s *server) checkEtcd(r *http.Request) error {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	_, err := s.cache.Store().Revision(ctx)
	return err
}

// openID publishes how others can verify our service account tokens; nil where
// the issuer is none that OpenID allows.
func (s *server) openID() http.Handler {
	d, err := token.NewDiscovery(s.cfg.Issuers[0], s.cfg.KeysURI, s.external(), s.identity.keys)
	if err != nil {
		s.cfg.Log.Warn("service account issuer discovery is off", zap.Error(err))
		return nil
	}
	return d
}

// external is where others find this server.
func (s *server) external() string {
	host := s.cfg.ExternalHost
	if host == "" {
		host = s.cfg.Address.String()
	}
	return net.JoinHostPort(host, strconv.Itoa(port(s.cfg.Listener)))
}

// serveREST serves until ctx ends, and gives open requests a moment.
func (s *server) serveREST(ctx context.Context, h http.Handler) error {
	h2 := &http.HTTP2Config{MaxConcurrentStreams: 1000}
	if s.cfg.MaxStreams > 0 {
		h2.MaxConcurrentStreams = int(s.cfg.MaxStreams)
	}
	server := &http.Server{
		Handler: h, ReadHeaderTimeout: 30 * time.Second, HTTP2: h2,
		ErrorLog: zap.NewStdLog(s.cfg.Log.Named("http").WithOptions(zap.IncreaseLevel(zap.FatalLevel))),
	}
	failed := make(chan error, 1)
	go func() { failed <- server.Serve(tls.NewListener(s.cfg.Listener, s.tls("h2", "http/1.1"))) }()
	select {
	case err := <-failed:
		return fmt.Errorf("serve REST: %w", err)
	case <-ctx.Done():
	}
	bound, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	if err := server.Shutdown(bound); err != nil {
		_ = server.Close()
	}
	if err := <-failed; !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serve REST: %w", err)
	}
	return nil
}
