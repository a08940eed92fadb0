package connect

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	restclient "k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/transport/spdy"
	"k8s.io/client-go/util/exec"
	"k8s.io/utils/ptr"
)

func get(t *testing.T, address string, headers ...string) (int, string) {
	t.Helper()
	r, err := http.NewRequest(http.MethodGet, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = answer.Body.Close() }()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// Messages are upstream's.
func TestLogs(t *testing.T) {
	s, _ := start(t)
	tests := []struct {
		path string
		code int
		want string
	}{
		{"/ns/p/log?tailLines=5&previous=true", 200, "log of ns/p/one tail=5 previous=true\nsecond\n"},
		{"/ns/p/log?follow=true", 200, "second\n"},
		{"/ns/two/log?container=b", 200, "log of ns/two/b"},
		{"/ns/two/log", 400, "a container name must be specified for pod two, choose one of: [a b]"},
		{"/ns/two/log?container=c", 400, "container c is not valid for pod two"},
		{"/ns/pending/log", 200, ""},
		{"/ns/waiting/log", 400, "is waiting to start: ContainerCreating"},
		{"/ns/lost/log", 404, `nodes \"elsewhere\" not found`},
		{"/ns/none/log", 404, `pods \"none\" not found`},
		{"/ns/p/log?tailLines=x", 400, `strconv.ParseInt: parsing \"x\": invalid syntax`},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			if code, body := get(t, s.URL+tt.path); code != tt.code || !strings.Contains(body, tt.want) {
				t.Errorf("got %d %s, want %d %s", code, body, tt.code, tt.want)
			}
		})
	}
}

func TestLogsOverWebSocket(t *testing.T) {
	s, _ := start(t)
	c, err := websocket.Dial("ws"+strings.TrimPrefix(s.URL, "http")+"/ns/p/log", "binary.k8s.io", s.URL)
	if err != nil {
		t.Fatal(err)
	}
	c.PayloadType = websocket.BinaryFrame
	all, err := io.ReadAll(c)
	if err != nil || !strings.HasSuffix(string(all), "second\n") {
		t.Errorf("%q, %v", all, err)
	}
}

// executors are client-go's, over both transports.
func executors(t *testing.T, address string) map[string]remotecommand.Executor {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	config := &restclient.Config{Host: u.Host}
	overSPDY, err := remotecommand.NewSPDYExecutor(config, "POST", u)
	if err != nil {
		t.Fatal(err)
	}
	overWebSocket, err := remotecommand.NewWebSocketExecutor(config, "GET", address)
	if err != nil {
		t.Fatal(err)
	}
	return map[string]remotecommand.Executor{"SPDY": overSPDY, "WebSocket": overWebSocket}
}

func command(words ...string) string { return url.Values{"command": words}.Encode() }

func TestExecWithClientGo(t *testing.T) {
	s, _ := start(t)
	tests := []struct {
		name, query, stdin     string
		stdout, stderr, failed string
		code                   int
	}{
		{"output", "stdout=1&stderr=1&" + command("echo", "a", "b"), "", "a b", "", "", 0},
		{"input", "stdin=1&stdout=1&" + command("cat"), "hello", "hello", "", "", 0},
		{"exit code", "stdout=1&stderr=1&" + command("exit"), "", "", "bad", "command terminated with exit code 7", 7},
		{"no such command", "stdout=1&" + command("missing"), "", "", "", `commands "missing" not found`, 0},
	}
	for _, tt := range tests {
		for name, e := range executors(t, s.URL+"/ns/p/exec?"+tt.query) {
			t.Run(tt.name+" over "+name, func(t *testing.T) {
				var stdout, stderr bytes.Buffer
				o := remotecommand.StreamOptions{Stdout: &stdout}
				if strings.Contains(tt.query, "stdin") {
					o.Stdin = strings.NewReader(tt.stdin)
				}
				if strings.Contains(tt.query, "stderr") {
					o.Stderr = &stderr
				}
				err := e.StreamWithContext(t.Context(), o)
				if (err == nil) != (tt.failed == "") || (err != nil && !strings.Contains(err.Error(), tt.failed)) {
					t.Errorf("error %v, want %q", err, tt.failed)
				}
				var exited exec.CodeExitError
				if tt.code != 0 && (!errors.As(err, &exited) || exited.Code != tt.code) {
					t.Errorf("error %#v, want exit code %d", err, tt.code)
				}
				if stdout.String() != tt.stdout || stderr.String() != tt.stderr {
					t.Errorf("stdout %q, stderr %q", stdout.String(), stderr.String())
				}
			})
		}
	}
}

type oneSize struct{ sent bool }

func (o *oneSize) Next() *remotecommand.TerminalSize {
	if o.sent {
		return nil
	}
	o.sent = true
	return &remotecommand.TerminalSize{Width: 80, Height: 24}
}

func TestTerminalSize(t *testing.T) {
	s, _ := start(t)
	for name, e := range executors(t, s.URL+"/ns/p/exec?stdout=1&tty=1&"+command("size")) {
		t.Run(name, func(t *testing.T) {
			var stdout bytes.Buffer
			if err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &stdout, Tty: true, TerminalSizeQueue: &oneSize{}}); err != nil {
				t.Fatal(err)
			}
			if stdout.String() != "80x24" {
				t.Errorf("size %q", stdout.String())
			}
		})
	}
}

func TestAttach(t *testing.T) {
	s, _ := start(t)
	for name, e := range executors(t, s.URL+"/ns/p/attach?stdout=1") {
		t.Run(name, func(t *testing.T) {
			var stdout bytes.Buffer
			if err := e.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: &stdout}); err != nil || stdout.String() != "attached" {
				t.Errorf("%q, %v", stdout.String(), err)
			}
		})
	}
}

func TestCommandEndsWithItsClient(t *testing.T) {
	s, _ := start(t)
	for name, e := range executors(t, s.URL+"/ns/p/exec?stdout=1&"+command("hang")) {
		t.Run(name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error)
			go func() { done <- e.StreamWithContext(ctx, remotecommand.StreamOptions{Stdout: io.Discard}) }()
			cancel()
			if err := <-done; err == nil {
				t.Error("no error")
			}
		})
	}
	// That the server's handlers end, too, is what closing it waits for.
	s.Close()
}

// Messages are upstream's.
func TestRefusals(t *testing.T) {
	s, _ := start(t)
	tests := []struct {
		path string
		code int
		want string
	}{
		{"/ns/none/exec?command=ls", 404, `pods \"none\" not found`},
		{"/ns/pending/exec?command=ls", 400, "pod pending does not have a host assigned"},
		{"/ns/p/exec?command=ls&stdout=1", 400, "Upgrade request required"},
		{"/ns/pending/portforward", 400, "pod pending does not have a host assigned"},
		{"/ns/p/portforward", 400, "Upgrade request required"},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			if code, body := get(t, s.URL+tt.path); code != tt.code || !strings.Contains(body, tt.want) {
				t.Errorf("got %d %s, want %d %s", code, body, tt.code, tt.want)
			}
		})
	}
	code, body := get(t, s.URL+"/ns/p/exec?command=ls", "Connection", "Upgrade", "Upgrade", "SPDY/3.1")
	if code != 400 || !strings.Contains(body, "you must specify at least 1 of stdin, stdout, stderr") {
		t.Errorf("nothing connected: %d %s", code, body)
	}
}

// forwarder is client-go's, over one of its transports.
type forwarder func(ports []string, stop, ready chan struct{}, complaints io.Writer) (*portforward.PortForwarder, error)

func forwarders(t *testing.T, address string) map[string]forwarder {
	t.Helper()
	u, err := url.Parse(address)
	if err != nil {
		t.Fatal(err)
	}
	config := &restclient.Config{Host: u.Host}
	transport, upgrader, err := spdy.RoundTripperFor(config)
	if err != nil {
		t.Fatal(err)
	}
	plain := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, "POST", u)
	tunnelling, err := portforward.NewSPDYOverWebsocketDialer(u, config)
	if err != nil {
		t.Fatal(err)
	}
	loopback := []string{"127.0.0.1"}
	return map[string]forwarder{
		"SPDY": func(ports []string, stop, ready chan struct{}, complaints io.Writer) (*portforward.PortForwarder, error) {
			return portforward.NewOnAddresses(plain, loopback, ports, stop, ready, io.Discard, complaints)
		},
		"WebSocket": func(ports []string, stop, ready chan struct{}, complaints io.Writer) (*portforward.PortForwarder, error) {
			return portforward.NewOnAddresses(tunnelling, loopback, ports, stop, ready, io.Discard, complaints)
		},
	}
}

func TestPortForwardWithClientGo(t *testing.T) {
	s, _ := start(t)
	for name, forwarder := range forwarders(t, s.URL+"/ns/p/portforward") {
		t.Run(name, func(t *testing.T) {
			stop, ready := make(chan struct{}), make(chan struct{})
			var complaints bytes.Buffer
			f, err := forwarder([]string{"0:7", "0:9"}, stop, ready, &complaints)
			if err != nil {
				t.Fatal(err)
			}
			done := make(chan error, 1)
			go func() { done <- f.ForwardPorts() }()
			select {
			case <-ready:
			case err := <-done:
				t.Fatal(err)
			}
			ports, err := f.GetPorts()
			if err != nil {
				t.Fatal(err)
			}
			for _, text := range []string{"hello", strings.Repeat("x", 200<<10)} {
				if got := echo(t, ports[0].Local, text); got != text {
					t.Errorf("%d bytes came back as %d", len(text), len(got))
				}
			}
			if got := echo(t, ports[1].Local, "x"); got != "" {
				t.Errorf("a refused port says %q", got)
			}
			// client-go gives up on the connection once a port refused.
			if err := <-done; !errors.Is(err, portforward.ErrLostConnectionToPod) {
				t.Errorf("forwarding ended: %v", err)
			}
			close(stop)
		})
	}
}

func echo(t *testing.T, port uint16, text string) string {
	t.Helper()
	c, err := net.DialTimeout("tcp", fmt.Sprintf("127.0.0.1:%d", port), 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	go func() { _, _ = io.WriteString(c, text) }()
	got := make([]byte, len(text))
	n, _ := io.ReadFull(c, got)
	return string(got[:n])
}

func TestOlderPortForward(t *testing.T) {
	s, _ := start(t)
	c, err := websocket.Dial("ws"+strings.TrimPrefix(s.URL, "http")+"/ns/p/portforward?ports=7", "v4.channel.k8s.io", s.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = c.Close() }()
	receive := func() []byte {
		var b []byte
		if err := websocket.Message.Receive(c, &b); err != nil {
			t.Fatal(err)
		}
		return b
	}
	if first, second := receive(), receive(); !bytes.Equal(first, []byte{0, 7, 0}) || !bytes.Equal(second, []byte{1, 7, 0}) {
		t.Errorf("ports %v %v", first, second)
	}
	if err := websocket.Message.Send(c, append([]byte{0}, "ping"...)); err != nil {
		t.Fatal(err)
	}
	if got := receive(); string(got) != "\x00ping" {
		t.Errorf("came back: %q", got)
	}
}

func TestProxies(t *testing.T) {
	s, c := start(t)
	c.pods["p"].Spec.Containers[0].Ports = []corev1.ContainerPort{{ContainerPort: 80}}
	c.services["web"] = &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "web"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "http", Port: 8080}}}}
	c.slices = []*discoveryv1.EndpointSlice{{
		ObjectMeta: metav1.ObjectMeta{Labels: map[string]string{discoveryv1.LabelServiceName: "web"}},
		Ports:      []discoveryv1.EndpointPort{{Name: ptr.To("http"), Port: ptr.To[int32](80)}},
		Endpoints: []discoveryv1.Endpoint{
			{Addresses: []string{"10.9.9.9"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "ns", Name: "p"}}, // not the pod's address
			{Addresses: []string{"10.1.2.3"}, Conditions: discoveryv1.EndpointConditions{Ready: ptr.To(false)}, TargetRef: &corev1.ObjectReference{Namespace: "ns", Name: "p"}},
			{Addresses: []string{"10.1.2.3"}, TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: "ns", Name: "p"}},
		},
	}}
	c.pods["local"] = pod("local", "node", "one")
	c.pods["local"].Status.PodIP = "127.0.0.1"
	tests := []struct {
		path string
		code int
		want string
	}{
		{"/proxy/pods/p/some/path?x=y", 200, `GET /some/path?x=y authorization=""`},
		{"/proxy/pods/p:80/", 200, "GET / "},
		{"/proxy/pods/p:9/", 503, "error trying to reach service"},
		{"/proxy/pods/none/", 404, `pods \"none\" not found`},
		{"/proxy/pods/local:80/", 400, "address not allowed"},
		{"/proxy/pods/a:b:c:d/", 400, `invalid pod request \"a:b:c:d\"`},
		{"/proxy/services/web:http/x", 200, "GET /x "},
		{"/proxy/services/web:8080/x", 200, "GET /x "},
		{"/proxy/services/web:81/x", 503, `no service port 81 found for service \"web\"`},
		{"/proxy/services/web:nope/x", 503, `no endpoints available for service \"web\"`},
		{"/proxy/services/x/", 503, `no endpoints available for service \"x\"`},
		{"/proxy/nodes/node/metrics", 200, "kubelet /metrics"},
		{"/proxy/nodes/none/metrics", 404, `nodes \"none\" not found`},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			if code, body := get(t, s.URL+tt.path); code != tt.code || !strings.Contains(body, tt.want) {
				t.Errorf("got %d %s, want %d %s", code, body, tt.code, tt.want)
			}
		})
	}
}

func TestWithoutKubeletsNothingIsReached(t *testing.T) {
	c := &Connector{}
	if _, err := c.backends().Kubelet(t.Context(), "node"); err == nil || !strings.Contains(err.Error(), "no way to reach kubelets") {
		t.Errorf("error %v", err)
	}
}
