// Package webhook calls the webhooks that objects of the API configure: those of
// admission and of the conversion of custom resources. A call has upstream's
// form, and its failure upstream's wording.
package webhook

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"
	restclient "k8s.io/client-go/rest"
	"k8s.io/utils/lru"

	"coracle.local/services/apiserver/internal/backend"
)

// kept is how many webhooks have clients at once; the one that was called the
// longest time ago gives way.
const kept = 64

// Target says where a webhook is: at a URL, or behind a Service. It is
// comparable: clients are kept by it.
type Target struct {
	URL string
	// Service counts if its Name is set.
	Service Service
	// CABundle (PEM) verifies the webhook; empty trusts the system's roots.
	CABundle string
}

// Service is a port and path of a Service; port 0 is 443.
type Service struct {
	Namespace, Name, Path string
	Port                  int32
}

// AdmissionTarget is where a webhook of admission is.
func AdmissionTarget(c *admissionregistrationv1.WebhookClientConfig) Target {
	t := Target{CABundle: string(c.CABundle)}
	if c.URL != nil {
		t.URL = *c.URL
	}
	if s := c.Service; s != nil {
		t.Service = service(s.Namespace, s.Name, s.Path, s.Port)
	}
	return t
}

// ConversionTarget is where a webhook of custom resources is.
func ConversionTarget(c *apiextensionsv1.WebhookClientConfig) Target {
	t := Target{CABundle: string(c.CABundle)}
	if c.URL != nil {
		t.URL = *c.URL
	}
	if s := c.Service; s != nil {
		t.Service = service(s.Namespace, s.Name, s.Path, s.Port)
	}
	return t
}

func service(namespace, name string, path *string, port *int32) Service {
	s := Service{Namespace: namespace, Name: name}
	if path != nil {
		s.Path = *path
	}
	if port != nil {
		s.Port = *port
	}
	return s
}

// Clients calls webhooks, over connections that are kept. It is safe for
// concurrent use, and costs nothing until it calls.
type Clients struct {
	backends backend.Backends
	clients  *lru.Cache // by Target
}

// New returns clients that reach Services by way of backends.
func New(backends backend.Backends) *Clients {
	return &Clients{backends: backends, clients: lru.NewWithEvictionFunc(kept, func(_ lru.Key, value any) {
		value.(*restclient.RESTClient).Client.CloseIdleConnections()
	})}
}

// Close closes the connections that are not in use.
func (c *Clients) Close() { c.clients.Clear() }

// Post sends in as JSON and reads the answer into out; both are of the scheme
// here, which has the reviews of admission and of conversion. The context's
// deadline is told to the webhook, too. An error is a Status of the webhook's if
// it answered with one, or with a status code of HTTP that is none of success;
// otherwise it is what happened, such as a *url.Error.
func (c *Clients) Post(ctx context.Context, t Target, in, out runtime.Object) error {
	client, err := c.client(t)
	if err != nil {
		return err
	}
	r := client.Post().SetHeader("User-Agent", userAgent()).Body(in)
	if deadline, ok := ctx.Deadline(); ok {
		if left := time.Until(deadline); left > 0 {
			r.Timeout(wholeSeconds(left))
		}
	}
	return r.Do(ctx).Into(out)
}

// wholeSeconds rounds up.
func wholeSeconds(d time.Duration) time.Duration {
	if whole := d.Truncate(time.Second); whole != d {
		return whole + time.Second
	}
	return d
}

func (c *Clients) client(t Target) (*restclient.RESTClient, error) {
	if have, ok := c.clients.Get(t); ok {
		return have.(*restclient.RESTClient), nil
	}
	made, err := c.make(t)
	if err != nil {
		return nil, err
	}
	c.clients.Add(t, made)
	return made, nil
}

// ConfigError says that a webhook is configured so that it cannot be called.
type ConfigError struct{ Reason error }

func (e *ConfigError) Error() string { return e.Reason.Error() }

// Unwrap implements errors.Unwrap.
func (e *ConfigError) Unwrap() error { return e.Reason }

func (c *Clients) make(t Target) (*restclient.RESTClient, error) {
	config := &restclient.Config{QPS: -1, ContentConfig: restclient.ContentConfig{
		NegotiatedSerializer: codec(), ContentType: runtime.ContentTypeJSON,
	}}
	// HTTP/2 would send all requests to one of several backends.
	transport, err := transportFor(t.CABundle, "http/1.1")
	if err != nil {
		return nil, err
	}
	if t.Service.Name != "" {
		s := t.Service
		if s.Port == 0 {
			s.Port = backend.DefaultPort
		}
		name := s.Name + "." + s.Namespace + ".svc"
		transport.TLSClientConfig.ServerName = name
		config.Host, config.APIPath = "https://"+net.JoinHostPort(name, strconv.Itoa(int(s.Port))), s.Path
		return restclient.UnversionedRESTClientForConfigAndClient(config, &http.Client{
			Transport: c.backends.ServiceTransport(transport, s.Namespace, s.Name, s.Port),
		})
	}
	if t.URL == "" {
		return nil, &ConfigError{errors.New("webhook configuration must have either service or URL")}
	}
	u, err := url.Parse(t.URL)
	if err != nil {
		return nil, &ConfigError{fmt.Errorf("Unparsable URL: %w", err)}
	}
	if loopback(u.Hostname()) {
		transport.TLSClientConfig.NextProtos, transport.ForceAttemptHTTP2 = nil, true
	}
	config.Host, config.APIPath = u.Scheme+"://"+u.Host, u.Path
	return restclient.UnversionedRESTClientForConfigAndClient(config, &http.Client{Transport: transport})
}

func transportFor(bundle string, protocols ...string) (*http.Transport, error) {
	var roots *x509.CertPool
	if bundle != "" {
		roots = x509.NewCertPool()
		if !roots.AppendCertsFromPEM([]byte(bundle)) {
			return nil, errors.New("unable to load root certificates: unable to parse bytes as PEM block")
		}
	}
	return &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		DialContext:         (&net.Dialer{Timeout: 30 * time.Second, KeepAlive: 30 * time.Second}).DialContext,
		TLSHandshakeTimeout: 10 * time.Second,
		TLSClientConfig:     &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: roots, NextProtos: protocols},
		MaxIdleConnsPerHost: 25,
		IdleConnTimeout:     90 * time.Second,
	}, nil
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return strings.EqualFold(host, "localhost") || ip != nil && ip.IsLoopback()
}
