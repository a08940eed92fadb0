package backend

import (
	"context"
	"net"
	"net/http"
)

type placeKey struct{}

// ServiceTransport returns a transport of requests to a port of a Service: every
// request goes to an endpoint chosen anew, over a connection that is open to
// it if there is one. base, which is taken over, says the rest; if it speaks
// TLS, its TLSClientConfig must have a ServerName. The Host header stays what
// the request says.
func (b Backends) ServiceTransport(base *http.Transport, namespace, name string, port int32) *ServiceTransport {
	base.Proxy = nil // there is none on the way into the cluster
	base.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if place, ok := ctx.Value(placeKey{}).(*Place); ok {
			return b.Dial(ctx, place)
		}
		d := net.Dialer{Timeout: dialTimeout}
		return d.DialContext(ctx, network, address)
	}
	return &ServiceTransport{backends: b, base: base, namespace: namespace, name: name, port: port}
}

// ServiceTransport is an http.RoundTripper to a Service.
type ServiceTransport struct {
	backends        Backends
	base            *http.Transport
	namespace, name string
	port            int32
}

// RoundTrip implements http.RoundTripper.
func (t *ServiceTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	place, err := t.backends.Service(r.Context(), t.namespace, t.name, t.port)
	if err != nil {
		return nil, err
	}
	to := r.Clone(context.WithValue(r.Context(), placeKey{}, place))
	if to.Host == "" {
		to.Host = r.URL.Host
	}
	to.URL.Host = place.Address()
	return t.base.RoundTrip(to)
}

// CloseIdleConnections implements what http.Client closes connections by.
func (t *ServiceTransport) CloseIdleConnections() { t.base.CloseIdleConnections() }
