// Package rest is the Kubernetes REST front: it routes requests by the table of
// kinds, speaks the encodings and protocols of Kubernetes' clients, and leaves
// the meaning to the registry.
package rest

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/clock"

	"coracle.local/libs/kinds"
	"coracle.local/libs/trace"
	"coracle.local/services/apiserver/internal/aggregate"
	"coracle.local/services/apiserver/internal/audit"
	"coracle.local/services/apiserver/internal/auth/authn"
	"coracle.local/services/apiserver/internal/cache"
	"coracle.local/services/apiserver/internal/catalog"
	"coracle.local/services/apiserver/internal/front/managed"
	"coracle.local/services/apiserver/internal/front/rest/connect"
	"coracle.local/services/apiserver/internal/front/rest/discovery"
	"coracle.local/services/apiserver/internal/front/rest/health"
	"coracle.local/services/apiserver/internal/front/rest/respond"
	"coracle.local/services/apiserver/internal/front/rest/stream"
	"coracle.local/services/apiserver/internal/openapi"
	"coracle.local/services/apiserver/internal/registry"
	"coracle.local/services/apiserver/internal/strategy"
)

// Registry is what requests are answered from; Over makes one of the registry.
type Registry interface {
	Get(ctx context.Context, k *kinds.Kind, namespace, name string, o registry.GetOptions) (*cache.Item, error)
	List(ctx context.Context, k *kinds.Kind, o registry.ListOptions) (*registry.List, error)
	Watch(ctx context.Context, k *kinds.Kind, o registry.WatchOptions) (Watch, error)
	Create(ctx context.Context, k *kinds.Kind, namespace string, obj kinds.Object, o registry.WriteOptions) (kinds.Object, error)
	Update(ctx context.Context, k *kinds.Kind, namespace, name, subresource string, change registry.Change, o registry.UpdateOptions) (obj kinds.Object, created bool, err error)
	Delete(ctx context.Context, k *kinds.Kind, namespace, name string, o *metav1.DeleteOptions) (obj kinds.Object, gone bool, err error)
	DeleteCollection(ctx context.Context, k *kinds.Kind, l registry.ListOptions, o *metav1.DeleteOptions) ([]kinds.Object, int64, error)
	Bind(ctx context.Context, namespace string, b *corev1.Binding, dryRun bool) (*corev1.Pod, error)
	Evict(ctx context.Context, namespace string, e *policyv1.Eviction) error
	Strategy(k *kinds.Kind) *strategy.Erased
}

// Watch is an open watch of the registry.
type Watch interface {
	stream.Source
	Close()
}

// Over is a registry as this front asks it.
func Over(r *registry.Registry) Registry { return over{r} }

type over struct{ *registry.Registry }

func (o over) Watch(ctx context.Context, k *kinds.Kind, options registry.WatchOptions) (Watch, error) {
	w, err := o.Registry.Watch(ctx, k, options)
	if err != nil {
		return nil, err
	}
	return w, nil
}

// Guard lets requests in: auth/guard's.
type Guard interface {
	// Admit identifies the caller, and permits the request or not. The context
	// it returns carries the user.
	Admit(ctx context.Context, c authn.Credentials, a authorizer.AttributesRecord) (context.Context, error)
	// Authorize permits a further act of the user in the attributes, or not.
	Authorize(ctx context.Context, a authorizer.AttributesRecord) error
}

// Reviews answers the kinds that are asked and never stored, and issues tokens.
type Reviews interface {
	Review(ctx context.Context, k *kinds.Kind, namespace string, obj kinds.Object) (kinds.Object, error)
	Token(ctx context.Context, namespace, account string, r *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)
}

// Config is what the front needs. Log, Registry, Guard, Reviews and Metrics
// must be set.
type Config struct {
	Log      *zap.Logger
	Registry Registry
	// Catalog are the kinds that are served; nil is those of the table.
	Catalog *catalog.Catalog
	Guard   Guard
	Reviews Reviews

	// Kubelets reaches into nodes for logs, exec and so on; without it these
	// are answered with ServiceUnavailable.
	Kubelets connect.Kubelets
	// Admission judges connections into pods; optional.
	Admission registry.Admission
	// Components reports the health of the other components for the kind
	// ComponentStatus; optional.
	Components func(ctx context.Context) []corev1.ComponentStatus

	// OpenID serves /.well-known/openid-configuration and /openid/v1/jwks;
	// optional.
	OpenID http.Handler
	// Extra serves what nothing here does (custom resources, aggregated
	// groups, profiles) to users who may; it answers 404 itself. Optional.
	Extra http.Handler
	// Aggregate passes requests on that other API servers answer; nil for none.
	Aggregate *aggregate.Aggregator
	// Audit records requests; nil records nothing.
	Audit *audit.Auditor
	// Checks of the server's health. Ping is among them without being named.
	Checks health.Checks
	// Metrics is where the front's metrics are registered, and what /metrics
	// shows.
	Metrics *prometheus.Registry
	Tracer  *trace.Tracer // nil for no traces

	// Address is where clients reach the server, host and port; discovery
	// tells it. Optional.
	Address func() string
	// Version is what /version tells; zero is Version().
	Version version.Info
	// Draining, once it ends, ends watches, so that clients turn to another
	// server while this one stops. Optional.
	Draining context.Context
	// MinWatch is the shortest time that a watch without a timeout of its own
	// lasts; it ends at a random moment before twice that. Zero is upstream's
	// 30 minutes.
	MinWatch time.Duration
	// Clock is for tests; nil is the real one.
	Clock clock.PassiveClock
}

// Validate tells what is missing.
func (c *Config) Validate() error {
	if c.Log == nil || c.Registry == nil || c.Guard == nil || c.Reviews == nil || c.Metrics == nil {
		return errors.New("rest: Log, Registry, Guard, Reviews and Metrics must be set")
	}
	return nil
}

// server is the front.
type server struct {
	Config
	respond   *respond.Responder
	sender    *stream.Sender
	discovery *discovery.Documents
	openapi   *openapi.Documents
	connect   *connect.Connector
	fields    *selectableFields
	managed   *managed.Managers
	metrics   *metrics
	scrape    http.Handler
}

// New returns the handler of the front. It starts nothing: what it needs it
// makes when first asked.
func New(c Config) (http.Handler, error) {
	if err := c.Validate(); err != nil {
		return nil, err
	}
	if c.MinWatch == 0 {
		c.MinWatch = 30 * time.Minute
	}
	if c.Catalog == nil {
		c.Catalog = &catalog.Catalog{}
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	if c.Address == nil {
		c.Address = func() string { return "" }
	}
	if c.Version.GitVersion == "" {
		c.Version = Version()
	}
	c.Checks.Log = c.Log
	s := &server{Config: c, respond: respond.New(), openapi: openapi.New()}
	if c.Aggregate != nil {
		s.openapi.Remote = c.Aggregate
	}
	s.discovery = discovery.New(c.Address, c.Catalog, c.Aggregate)
	s.fields = &selectableFields{registry: c.Registry}
	s.managed = managed.New(c.Registry)
	c.Catalog.Observe(s.managed.Forget)
	c.Catalog.Observe(s.publish)
	s.metrics = newMetrics(c.Metrics)
	s.scrape = scraper(c.Metrics)
	s.sender = &stream.Sender{Sent: s.metrics.event}
	s.connect = &connect.Connector{
		Log: c.Log, Kubelets: c.Kubelets, Objects: objects{c.Registry},
		Fail: func(w http.ResponseWriter, r *http.Request, err error) { s.respond.Error(w, r, err) },
	}
	return s, nil
}
