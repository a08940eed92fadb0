package probe

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	healthv1 "google.golang.org/grpc/health/grpc_health_v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"coracle.local/services/kubelet/internal/action"
	"coracle.local/services/kubelet/internal/engine"
)

// shell runs commands by their first word.
type shell struct{}

func (shell) Exec(ctx context.Context, _ string, spec engine.ExecSpec, s engine.Streams) (int, error) {
	switch spec.Command[0] {
	case "true":
		return 0, nil
	case "echo":
		_, err := s.Stdout.Write([]byte(strings.Join(spec.Command[1:], " ")))
		return 3, err
	case "hang":
		<-ctx.Done()
		return 0, ctx.Err()
	}
	return 0, errors.New("cannot exec")
}

func hostPort(t *testing.T, address string) (string, int) {
	t.Helper()
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		t.Fatal(err)
	}
	n, err := strconv.Atoi(port)
	if err != nil {
		t.Fatal(err)
	}
	return host, n
}

func testTarget(ip string) target {
	return target{pod: &corev1.Pod{}, container: &corev1.Container{Name: "app", Env: []corev1.EnvVar{{Name: "X", Value: "y"}}}, ip: ip}
}

func TestExec(t *testing.T) {
	for _, test := range []struct {
		command []string
		ok      bool
		output  string
		fails   bool
	}{
		{[]string{"true"}, true, "", false},
		{[]string{"echo", "a-$(X)"}, false, "a-y", false},
		{[]string{"hang"}, false, `command "hang" timed out after 1s`, false},
		{[]string{"none"}, false, "", true},
	} {
		t.Run(test.command[0], func(t *testing.T) {
			p := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{Exec: &corev1.ExecAction{Command: test.command}}}
			v, err := ask(t.Context(), shell{}, nil, p, testTarget(""))
			if v.ok != test.ok || !test.fails && v.output != test.output || (err != nil) != test.fails {
				t.Errorf("got %+v, %v", v, err)
			}
		})
	}
}

func TestHTTP(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/agent":
			if r.UserAgent() != "kube-probe/1.37" || r.Header.Get("X-A") != "b" || r.Host != "example.com" {
				w.WriteHeader(http.StatusTeapot)
			}
		case "/bad":
			w.WriteHeader(http.StatusInternalServerError)
			_, _ = w.Write([]byte("secret"))
		case "/away":
			http.Redirect(w, r, "http://elsewhere.invalid/", http.StatusFound)
		}
	}))
	defer server.Close()
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	host, port := hostPort(t, u.Host)
	for _, test := range []struct {
		path string
		want verdict
	}{
		{"/agent?x=1", verdict{ok: true}},
		{"/bad", verdict{output: "HTTP probe failed with statuscode: 500"}},
		{"/away", verdict{ok: true, warning: true, output: "Probe terminated redirects"}},
	} {
		t.Run(test.path, func(t *testing.T) {
			p := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{
				Path: test.path, Port: intstr.FromInt32(int32(port)), HTTPHeaders: []corev1.HTTPHeader{{Name: "X-A", Value: "b"}, {Name: "Host", Value: "example.com"}},
			}}}
			v, err := ask(t.Context(), nil, action.Client(), p, testTarget(host))
			if err != nil || v.ok != test.want.ok || v.warning != test.want.warning || !strings.HasPrefix(v.output, test.want.output) {
				t.Errorf("got %+v, %v", v, err)
			}
		})
	}
	named := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromString("none")}}}
	if _, err := ask(t.Context(), nil, action.Client(), named, testTarget(host)); err == nil {
		t.Error("a port that does not exist was found")
	}
}

func TestTCPAndGRPC(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g, h := grpc.NewServer(), health.NewServer()
	h.SetServingStatus("sick", healthv1.HealthCheckResponse_NOT_SERVING)
	healthv1.RegisterHealthServer(g, h)
	go func() { _ = g.Serve(l) }()
	defer g.Stop()
	host, port := hostPort(t, l.Addr().String())
	tcp := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{TCPSocket: &corev1.TCPSocketAction{Port: intstr.FromInt32(int32(port))}}}
	if v, err := ask(t.Context(), nil, nil, tcp, testTarget(host)); err != nil || !v.ok {
		t.Errorf("tcp: %+v, %v", v, err)
	}
	for service, want := range map[string]string{"": "service healthy", "sick": `service unhealthy (responded with "NOT_SERVING")`} {
		p := &corev1.Probe{TimeoutSeconds: 30, ProbeHandler: corev1.ProbeHandler{GRPC: &corev1.GRPCAction{Port: int32(port), Service: &service}}}
		if v, err := ask(t.Context(), nil, nil, p, testTarget(host)); err != nil || v.output != want || v.ok != (service == "") {
			t.Errorf("grpc %q: %+v, %v", service, v, err)
		}
	}
	g.Stop()
	if v, err := ask(t.Context(), nil, nil, tcp, testTarget(host)); err != nil || v.ok {
		t.Errorf("tcp to nobody: %+v, %v", v, err)
	}
}

func TestRedirectsAndTimeoutsEnd(t *testing.T) {
	blocked := make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		select {
		case <-blocked:
		case <-r.Context().Done():
		}
	}))
	defer server.Close()
	defer close(blocked)
	u, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	host, port := hostPort(t, u.Host)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	p := &corev1.Probe{ProbeHandler: corev1.ProbeHandler{HTTPGet: &corev1.HTTPGetAction{Port: intstr.FromInt32(int32(port))}}}
	if v, err := ask(ctx, nil, action.Client(), p, testTarget(host)); err != nil || v.ok {
		t.Errorf("got %+v, %v", v, err)
	}
}
