package cluster

import (
	"fmt"
	"net/http"
	"net/url"
	"time"

	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"

	"coracle.local/libs/kinds"
)

// connect makes the clients when they are first needed.
func (e *extensions) connect() error {
	e.connecting.Lock()
	defer e.connecting.Unlock()
	if e.meta != nil {
		return nil
	}
	config, err := e.config()
	if err != nil {
		return fmt.Errorf("the way to the API server by REST: %w", err)
	}
	config = unhurried(config)
	if e.server, err = url.Parse(config.Host); err != nil || e.server.Host == "" {
		return fmt.Errorf("server %q of the kubeconfig is not a URL", config.Host)
	}
	if e.http, err = transport(config); err != nil {
		return err
	}
	e.meta, err = metadata.NewForConfigAndClient(config, e.http)
	return err
}

// transport makes a client of our own: client-go keeps those it makes for as
// long as the process lives.
func transport(c *rest.Config) (*http.Client, error) {
	t := c.Transport
	if t == nil {
		tlsConfig, err := rest.TLSConfigFor(c)
		if err != nil {
			return nil, err
		}
		t = &http.Transport{
			TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true, Proxy: http.ProxyFromEnvironment,
			HTTP2: &http.HTTP2Config{SendPingTimeout: 30 * time.Second, PingTimeout: 15 * time.Second},
		}
	}
	t, err := rest.HTTPWrappersForConfig(c, t)
	if err != nil {
		return nil, err
	}
	return &http.Client{Transport: t}, nil
}

func (e *extensions) resource(k *kinds.Kind, namespace string) (metadata.ResourceInterface, error) {
	if err := e.connect(); err != nil {
		return nil, err
	}
	r := e.meta.Resource(k.GroupVersionResource())
	if k.Namespaced && namespace != "" {
		return r.Namespace(namespace), nil
	}
	return r, nil
}

// close lets connections go that nobody uses any more.
func (e *extensions) close() {
	e.connecting.Lock()
	defer e.connecting.Unlock()
	if e.http != nil {
		utilnet.CloseIdleConnectionsFor(e.http.Transport)
	}
}
