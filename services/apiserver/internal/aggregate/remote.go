package aggregate

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/kube-aggregator/pkg/apis/apiregistration/v1/helper"

	"coracle.local/services/apiserver/internal/backend"
)

// remote is a version that another server has. Of an APIService that changes
// there is another one, with the connections of the former if it may have them.
type remote struct {
	name      string
	version   schema.GroupVersion
	priority  Priority
	available bool
	spec      apiregistrationv1.APIServiceSpec
	service   service
	backends  backend.Backends

	*connection
	known *atomic.Pointer[knowledge]
}

type service struct {
	namespace, name string
	port            int32
}

// connection is the way to another server.
type connection struct {
	transport *http.Transport
	// failed says why there is no transport.
	failed error

	mu     sync.Mutex
	places map[string]*backend.Place // that were chosen, by address
}

// mostPlaces bounds what is remembered of endpoints that come and go.
const mostPlaces = 64

// choose returns one of the server's endpoints.
func (r *remote) choose(ctx context.Context) (*backend.Place, error) {
	place, err := r.backends.Service(ctx, r.service.namespace, r.service.name, r.service.port)
	if err != nil {
		return nil, err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.places == nil || len(r.places) >= mostPlaces {
		r.places = map[string]*backend.Place{}
	}
	r.places[place.Address()] = place
	return place, nil
}

// dial connects to the endpoint that was chosen, so that connections are kept
// under its address.
func (c *connection) dial(b backend.Backends, s service) func(ctx context.Context, network, address string) (net.Conn, error) {
	any := b.ServiceDialer(s.namespace, s.name, s.port)
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		c.mu.Lock()
		place := c.places[address]
		c.mu.Unlock()
		if place == nil {
			return any(ctx, network, address)
		}
		return b.Dial(ctx, place)
	}
}

// knowledge is what a server says that it serves. It is never modified.
type knowledge struct {
	discovery apidiscoveryv2.APIVersionDiscovery
	etag      string
	openapi   openapi
}

// remote makes the remote of an APIService.
func (a *Aggregator) remote(s *apiregistrationv1.APIService, old *remote) *remote {
	r := &remote{
		name: s.Name, version: schema.GroupVersion{Group: s.Spec.Group, Version: s.Spec.Version},
		priority:  Priority{s.Spec.GroupPriorityMinimum, s.Spec.VersionPriority},
		available: helper.IsAPIServiceConditionTrue(s, apiregistrationv1.Available),
		spec:      s.Spec, service: service{s.Spec.Service.Namespace, s.Spec.Service.Name, backend.DefaultPort},
		backends: a.cfg.Backends,
	}
	if s.Spec.Service.Port != nil {
		r.service.port = *s.Spec.Service.Port
	}
	if old != nil && old.reaches(&r.spec) {
		r.connection, r.known = old.connection, old.known
		return r
	}
	r.connection = a.connect(r)
	r.known = &atomic.Pointer[knowledge]{}
	r.known.Store(&knowledge{discovery: apidiscoveryv2.APIVersionDiscovery{
		Version: r.version.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessStale,
	}})
	return r
}

// reaches tells whether the remote's connections are as good for another
// specification.
func (r *remote) reaches(spec *apiregistrationv1.APIServiceSpec) bool {
	return equality.Semantic.DeepEqual(r.spec.Service, spec.Service) && string(r.spec.CABundle) == string(spec.CABundle) &&
		r.spec.InsecureSkipTLSVerify == spec.InsecureSkipTLSVerify
}

func (a *Aggregator) connect(r *remote) *connection {
	c := &tls.Config{
		MinVersion: tls.VersionTLS12, ServerName: r.service.name + "." + r.service.namespace + ".svc",
		InsecureSkipVerify: r.spec.InsecureSkipTLSVerify, //nolint:gosec // the APIService says so
	}
	if len(r.spec.CABundle) > 0 {
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(r.spec.CABundle) {
			return &connection{failed: errors.New("unable to load root certificates: unable to parse bytes as PEM block")}
		}
	}
	if len(a.cfg.Client.Certificate) > 0 {
		c.Certificates = []tls.Certificate{a.cfg.Client}
	}
	out := &connection{}
	out.transport = &http.Transport{
		DialContext: out.dial(a.cfg.Backends, r.service), TLSClientConfig: c, TLSHandshakeTimeout: 10 * time.Second, ForceAttemptHTTP2: true,
		MaxIdleConnsPerHost: 25, IdleConnTimeout: 90 * time.Second,
	}
	return out
}

func (r *remote) close() {
	if r.transport != nil {
		r.transport.CloseIdleConnections()
	}
}

// path is the version's root on the server.
func (r *remote) path() string {
	if r.version.Group == "" {
		return "/api/" + r.version.Version
	}
	return "/apis/" + r.version.Group + "/" + r.version.Version
}

// location is where something is on the server.
func (r *remote) location(host, path string) *url.URL {
	return &url.URL{Scheme: "https", Host: host, Path: path}
}
