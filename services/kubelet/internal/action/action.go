// Package action does what probes and lifecycle hooks have in common: it runs
// a command in a container, and asks it over HTTP.
package action

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"coracle.local/services/kubelet/internal/engine"
)

// MaxOutput bounds what is kept of a command's output or an answer's body, in
// bytes.
const MaxOutput = 10 << 10

// Engine is what is needed of a container engine.
type Engine interface {
	Exec(ctx context.Context, id string, spec engine.ExecSpec, streams engine.Streams) (exitCode int, err error)
}

// ErrTimedOut says that a command did not end in time and was killed.
var ErrTimedOut = errors.New("timed out")

// Exec runs a command and returns its exit code and the beginning of its
// output. timeout is for the command; zero is for ever.
func Exec(ctx context.Context, e Engine, id string, command []string, timeout time.Duration) (code int, output string, err error) {
	bound, cancel := ctx, context.CancelFunc(func() {})
	if timeout > 0 {
		bound, cancel = context.WithTimeout(ctx, timeout)
	}
	defer cancel()
	out := &limited{}
	code, err = e.Exec(bound, id, engine.ExecSpec{Command: command}, engine.Streams{Stdout: out, Stderr: out})
	if err != nil && bound.Err() != nil && ctx.Err() == nil {
		return 0, out.String(), fmt.Errorf("command %q %w after %v", strings.Join(command, " "), ErrTimedOut, timeout)
	}
	return code, out.String(), err
}

// limited keeps the beginning of what is written to it by two writers.
type limited struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *limited) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if room := MaxOutput - l.b.Len(); room > 0 {
		l.b.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}

func (l *limited) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// Port is a port's number; a name is looked up in the container.
func Port(p intstr.IntOrString, c *corev1.Container) (int, error) {
	n := p.IntValue()
	if p.Type == intstr.String {
		n = 0
		for _, port := range c.Ports {
			if port.Name == p.StrVal {
				n = int(port.ContainerPort)
			}
		}
		if n == 0 {
			return 0, fmt.Errorf("port %q not found", p.StrVal)
		}
	}
	if n <= 0 || n > 65535 {
		return 0, fmt.Errorf("invalid port number: %v", n)
	}
	return n, nil
}

// Request makes the request an HTTPGet asks for. purpose, "probe" or
// "lifecycle", becomes part of the user agent.
func Request(ctx context.Context, get *corev1.HTTPGetAction, c *corev1.Container, podIP, purpose string) (*http.Request, error) {
	scheme, host := strings.ToLower(string(get.Scheme)), get.Host
	if scheme == "" {
		scheme = "http"
	}
	if host == "" {
		host = podIP
	}
	port, err := Port(get.Port, c)
	if err != nil {
		return nil, err
	}
	u, err := url.Parse(get.Path)
	if err != nil {
		u = &url.URL{Path: get.Path} // pass it on as it is
	}
	u.Scheme, u.Host = scheme, net.JoinHostPort(host, strconv.Itoa(port))
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), nil)
	if err != nil {
		return nil, err
	}
	for _, h := range get.HTTPHeaders {
		request.Header.Add(h.Name, h.Value)
	}
	if _, ok := request.Header["User-Agent"]; !ok {
		request.Header.Set("User-Agent", "kube-"+purpose+"/1.37")
	}
	switch accept, ok := request.Header["Accept"]; {
	case !ok:
		request.Header.Set("Accept", "*/*")
	case accept[0] == "":
		request.Header.Del("Accept")
	}
	request.Host = request.Header.Get("Host")
	return request, nil
}

// maxRedirects as browsers have it.
const maxRedirects = 10

// Client asks containers: certificates are not verified, proxies not used, and
// redirects to other hosts not followed.
func Client() *http.Client {
	return &http.Client{
		Transport: &http.Transport{
			TLSClientConfig:    &tls.Config{InsecureSkipVerify: true}, // containers have no names to verify
			DisableKeepAlives:  true,
			DisableCompression: true,
			ForceAttemptHTTP2:  true,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			switch {
			case r.URL.Hostname() != via[0].URL.Hostname():
				return http.ErrUseLastResponse
			case len(via) >= maxRedirects:
				return fmt.Errorf("stopped after %d redirects", maxRedirects)
			}
			return nil
		},
	}
}
