package connect

import (
	"context"
	"crypto/tls"
	"fmt"
	"math"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/proxy"

	"coracle.local/services/apiserver/internal/backend"
)

// ProxyPod forwards a request to a port of a pod. id is a name, and may have a
// scheme before and a port behind it.
func (c *Connector) ProxyPod(w http.ResponseWriter, r *http.Request, namespace, id, path string) error {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
	if !ok {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid pod request %q", id))
	}
	pod, err := c.Objects.Pod(r.Context(), namespace, name)
	if err != nil {
		return err
	}
	if port == "" {
		port = firstPort(pod)
	}
	if ip := net.ParseIP(pod.Status.PodIP); ip == nil || !ip.IsGlobalUnicast() {
		return apierrors.NewBadRequest("address not allowed")
	}
	c.proxy(w, r, &url.URL{Scheme: scheme, Host: hostPort(pod.Status.PodIP, port), Path: path}, c.podTransport(pod))
	return nil
}

func firstPort(pod *corev1.Pod) string {
	for _, container := range pod.Spec.Containers {
		if len(container.Ports) > 0 {
			return strconv.Itoa(int(container.Ports[0].ContainerPort))
		}
	}
	return ""
}

func hostPort(host, port string) string {
	switch {
	case port != "":
		return net.JoinHostPort(host, port)
	case strings.Contains(host, ":"):
		return "[" + host + "]"
	}
	return host
}

// podTransport reaches a pod through its kubelet, so that this server needs no
// route into the pods' network. It serves one request: the next may find the
// name with another pod.
func (c *Connector) podTransport(pod *corev1.Pod) *http.Transport {
	return &http.Transport{
		DialContext: func(ctx context.Context, _, address string) (net.Conn, error) {
			_, text, err := net.SplitHostPort(address)
			if err != nil {
				return nil, err
			}
			port, err := strconv.ParseInt(text, 10, 32)
			if err != nil {
				return nil, err
			}
			return c.backends().DialPod(ctx, pod, int32(port))
		},
		DisableKeepAlives: true,
		// Pods have certificates of their own making, if any.
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // as upstream does
	}
}

// ProxyService forwards a request to one of a service's endpoints.
func (c *Connector) ProxyService(w http.ResponseWriter, r *http.Request, namespace, id, path string) error {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
	if !ok {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid service request %q", id))
	}
	if number, err := strconv.ParseInt(port, 10, 64); err == nil {
		service, err := c.Objects.Service(r.Context(), namespace, name)
		if err != nil {
			return err
		}
		if port, ok = portName(service, number); !ok {
			return backend.NoPort(name, number)
		}
	}
	place, err := c.backends().Endpoint(r.Context(), namespace, name, port, backend.PodsOnly)
	if err != nil {
		return err
	}
	c.proxy(w, r, &url.URL{Scheme: scheme, Host: place.Address(), Path: path}, c.podTransport(place.Pod))
	return nil
}

func portName(service *corev1.Service, number int64) (string, bool) {
	if number < 1 || number > math.MaxUint16 {
		return "", false
	}
	return backend.PortName(service, int32(number))
}

// ProxyNode forwards a request to a node's kubelet, or to another port of the
// node.
func (c *Connector) ProxyNode(w http.ResponseWriter, r *http.Request, id, path string) error {
	scheme, name, port, ok := utilnet.SplitSchemeNamePort(id)
	if !ok {
		return apierrors.NewBadRequest(fmt.Sprintf("invalid node request %q", id))
	}
	if _, err := c.Objects.Node(r.Context(), name); err != nil {
		return err
	}
	if c.Kubelets == nil {
		return apierrors.NewServiceUnavailable("this server has no way to reach kubelets")
	}
	kubelet, transport, err := c.Kubelets.HTTP(r.Context(), name)
	if err != nil {
		return err
	}
	location := &url.URL{Scheme: kubelet.Scheme, Host: kubelet.Host, Path: path}
	if port != "" && port != kubelet.Port() {
		location.Scheme, location.Host = scheme, net.JoinHostPort(kubelet.Hostname(), port)
		transport = &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}} //nolint:gosec // as upstream does
	}
	c.proxy(w, r, location, transport)
	return nil
}

// proxy forwards a request, upgrades included.
func (c *Connector) proxy(w http.ResponseWriter, r *http.Request, location *url.URL, transport http.RoundTripper) {
	if location.Scheme == "" {
		location.Scheme = "http"
	}
	if location.Path != "" && !strings.HasPrefix(location.Path, "/") {
		location.Path = "/" + location.Path
	}
	// Who the client is to us is no business of what it is forwarded to.
	r = r.Clone(r.Context())
	for name := range r.Header {
		if strings.HasPrefix(name, "Impersonate-") || strings.HasPrefix(name, "X-Remote-") {
			r.Header.Del(name)
		}
	}
	proxy.NewUpgradeAwareHandler(location, transport, true, false, responder(c.Fail)).ServeHTTP(w, r)
}

type responder func(http.ResponseWriter, *http.Request, error)

// Error implements the proxy's responder.
func (f responder) Error(w http.ResponseWriter, r *http.Request, err error) { f(w, r, err) }
