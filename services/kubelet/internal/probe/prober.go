// Package probe asks containers whether they have started, are alive and are
// ready, and keeps the answers.
package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"
	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/kubelet/internal/action"
	"coracle.local/services/kubelet/internal/environ"
)

// verdict is one answer.
type verdict struct {
	ok      bool
	warning bool // ok, but not as it should be
	output  string
}

// target is what a probe is aimed at.
type target struct {
	pod       *corev1.Pod
	container *corev1.Container
	id        string // the engine's
	ip        string // the pod's
}

// ask makes one attempt. An error means that the question could not be put.
func ask(ctx context.Context, e action.Engine, client *http.Client, p *corev1.Probe, t target) (verdict, error) {
	timeout := time.Duration(max(p.TimeoutSeconds, 1)) * time.Second
	switch {
	case p.Exec != nil:
		return askExec(ctx, e, p.Exec, t, timeout)
	case p.HTTPGet != nil:
		return askHTTP(ctx, client, p.HTTPGet, t, timeout)
	case p.TCPSocket != nil:
		return askTCP(ctx, p.TCPSocket, t, timeout)
	case p.GRPC != nil:
		return askGRPC(ctx, p.GRPC, t, timeout), nil
	}
	return verdict{}, fmt.Errorf("missing probe handler for %s_%s(%s):%s", t.pod.Name, t.pod.Namespace, t.pod.UID, t.container.Name)
}

func askExec(ctx context.Context, e action.Engine, x *corev1.ExecAction, t target, timeout time.Duration) (verdict, error) {
	values := map[string]string{}
	for _, v := range t.container.Env {
		values[v.Name] = v.Value
	}
	command := make([]string, len(x.Command))
	for i, word := range x.Command {
		command[i] = environ.Expand(word, func(name string) (string, bool) { v, ok := values[name]; return v, ok })
	}
	code, output, err := action.Exec(ctx, e, t.id, command, timeout)
	if errors.Is(err, action.ErrTimedOut) {
		return verdict{output: err.Error()}, nil
	}
	return verdict{ok: err == nil && code == 0, output: output}, err
}

func askHTTP(ctx context.Context, client *http.Client, get *corev1.HTTPGetAction, t target, timeout time.Duration) (verdict, error) {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	request, err := action.Request(ctx, get, t.container, t.ip, "probe")
	if err != nil {
		return verdict{}, err
	}
	response, err := client.Do(request)
	if err != nil {
		return verdict{output: err.Error()}, nil
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(response.Body, action.MaxOutput))
	if err != nil {
		return verdict{output: err.Error()}, nil
	}
	switch s := response.StatusCode; {
	case s >= http.StatusMultipleChoices && s < http.StatusBadRequest:
		return verdict{ok: true, warning: true, output: "Probe terminated redirects, Response body: " + string(body)}, nil
	case s >= http.StatusOK && s < http.StatusMultipleChoices:
		return verdict{ok: true, output: string(body)}, nil
	}
	// Bodies may hold secrets and stay out of events.
	return verdict{output: fmt.Sprintf("HTTP probe failed with statuscode: %d", response.StatusCode)}, nil
}

func askTCP(ctx context.Context, s *corev1.TCPSocketAction, t target, timeout time.Duration) (verdict, error) {
	port, err := action.Port(s.Port, t.container)
	if err != nil {
		return verdict{}, err
	}
	host := s.Host
	if host == "" {
		host = t.ip
	}
	d := net.Dialer{Timeout: timeout}
	conn, err := d.DialContext(ctx, "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return verdict{output: err.Error()}, nil
	}
	_ = conn.Close() // the answer was that it opened
	return verdict{ok: true}, nil
}

func askGRPC(ctx context.Context, g *corev1.GRPCAction, t target, timeout time.Duration) verdict {
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	address := net.JoinHostPort(t.ip, strconv.Itoa(int(g.Port)))
	cc, err := grpc.NewClient("passthrough:///"+address,
		grpc.WithTransportCredentials(insecure.NewCredentials()), grpc.WithUserAgent("kube-probe/1.37"))
	if err != nil {
		return verdict{output: fmt.Sprintf("error: failed to connect service at %q: %+v", address, err)}
	}
	defer func() { _ = cc.Close() }()
	service := ""
	if g.Service != nil {
		service = *g.Service
	}
	answer, err := healthv1.NewHealthClient(cc).Check(ctx, &healthv1.HealthCheckRequest{Service: service})
	switch {
	case status.Code(err) == codes.Unimplemented:
		return verdict{output: "error: this server does not implement the grpc health protocol (grpc.health.v1.Health): " + status.Convert(err).Message()}
	case status.Code(err) == codes.DeadlineExceeded:
		return verdict{output: fmt.Sprintf("timeout: health rpc did not complete within %v", timeout)}
	case status.Code(err) == codes.Unavailable:
		return verdict{output: fmt.Sprintf("error: failed to connect service at %q: %+v", address, err)}
	case err != nil:
		return verdict{output: fmt.Sprintf("error: health rpc probe failed: %+v", err)}
	case answer.GetStatus() != healthv1.HealthCheckResponse_SERVING:
		return verdict{output: fmt.Sprintf("service unhealthy (responded with %q)", answer.GetStatus().String())}
	}
	return verdict{ok: true, output: "service healthy"}
}
