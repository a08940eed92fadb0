package connect

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/apistatus"
	kubeletv1 "coracle.local/proto/coracle/kubelet/v1"
)

// kubelet runs a few commands of its own, and forwards ports to an echo.
type kubelet struct {
	kubeletv1.UnimplementedKubeletServiceServer
}

func (kubelet) Logs(q *kubeletv1.LogsRequest, s grpc.ServerStreamingServer[kubeletv1.LogsResponse]) error {
	if q.Container == "waiting" {
		return apistatus.ToGRPC(apierrors.NewBadRequest(`container "waiting" in pod "p" is waiting to start: ContainerCreating`))
	}
	text := fmt.Sprintf("log of %s/%s/%s tail=%d previous=%v\n", q.Pod.Namespace, q.Pod.Name, q.Container, q.GetTailLines(), q.Previous)
	for _, line := range []string{text, "second\n"} {
		if err := s.Send(&kubeletv1.LogsResponse{Data: []byte(line)}); err != nil {
			return err
		}
	}
	return nil
}

// Exec knows: echo ARGS, cat, exit CODE, size (prints the terminal's once told),
// hang (until cancelled), missing (fails).
func (kubelet) Exec(s grpc.BidiStreamingServer[kubeletv1.ExecRequest, kubeletv1.ExecResponse]) error {
	first, err := s.Recv()
	if err != nil {
		return err
	}
	start := first.GetStart()
	out := func(text string) error {
		return s.Send(&kubeletv1.ExecResponse{Message: &kubeletv1.ExecResponse_Stdout{Stdout: []byte(text)}})
	}
	exit := func(code int32) error {
		return s.Send(&kubeletv1.ExecResponse{Message: &kubeletv1.ExecResponse_Exit{Exit: &kubeletv1.Exit{Code: code}}})
	}
	switch start.Command[0] {
	case "echo":
		if err := out(strings.Join(start.Command[1:], " ")); err != nil {
			return err
		}
		return exit(0)
	case "exit":
		if err := s.Send(&kubeletv1.ExecResponse{Message: &kubeletv1.ExecResponse_Stderr{Stderr: []byte("bad")}}); err != nil {
			return err
		}
		return exit(7)
	case "cat":
		for {
			m, err := s.Recv()
			if err != nil {
				return err
			}
			if m.GetStdinClosed() {
				return exit(0)
			}
			if err := out(string(m.GetStdin())); err != nil {
				return err
			}
		}
	case "size":
		for {
			m, err := s.Recv()
			if err != nil {
				return err
			}
			if size := m.GetResize(); size != nil {
				if err := out(fmt.Sprintf("%dx%d", size.Width, size.Height)); err != nil {
					return err
				}
				return exit(0)
			}
		}
	case "hang":
		<-s.Context().Done()
		return s.Context().Err()
	}
	return apistatus.ToGRPC(apierrors.NewNotFound(schema.GroupResource{Resource: "commands"}, start.Command[0]))
}

func (kubelet) Attach(s grpc.BidiStreamingServer[kubeletv1.AttachRequest, kubeletv1.AttachResponse]) error {
	if _, err := s.Recv(); err != nil {
		return err
	}
	return s.Send(&kubeletv1.AttachResponse{Message: &kubeletv1.AttachResponse_Stdout{Stdout: []byte("attached")}})
}

// PortForward serves HTTP on port 80, echoes on 7, and refuses others.
func (kubelet) PortForward(s grpc.BidiStreamingServer[kubeletv1.PortForwardRequest, kubeletv1.PortForwardResponse]) error {
	first, err := s.Recv()
	if err != nil {
		return err
	}
	near, far := net.Pipe()
	defer func() { _ = far.Close() }()
	switch port := first.GetStart().Port; port {
	case 7:
		go func() {
			_, _ = io.Copy(near, near)
			_ = near.Close()
		}()
	case 80:
		go serveOne(near)
	default:
		return apistatus.ToGRPC(apierrors.NewBadRequest(fmt.Sprintf("connection refused on %d", port)))
	}
	go func() {
		defer func() { _ = far.Close() }()
		for {
			m, err := s.Recv()
			if err != nil {
				return
			}
			if _, err := far.Write(m.GetData()); err != nil {
				return
			}
		}
	}()
	buffer := make([]byte, 4096)
	for {
		n, err := far.Read(buffer)
		if n > 0 {
			if err := s.Send(&kubeletv1.PortForwardResponse{Data: bytes.Clone(buffer[:n])}); err != nil {
				return err
			}
		}
		if err != nil {
			return nil
		}
	}
}

// serveOne is an HTTP server on one connection.
func serveOne(c net.Conn) {
	l := &oneListener{conn: make(chan net.Conn, 1)}
	l.conn <- c
	_ = http.Serve(l, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = fmt.Fprintf(w, "%s %s authorization=%q", r.Method, r.URL, r.Header.Get("Authorization"))
	}))
}

type oneListener struct{ conn chan net.Conn }

func (l *oneListener) Accept() (net.Conn, error) {
	c, ok := <-l.conn
	if !ok {
		return nil, net.ErrClosed
	}
	close(l.conn)
	return c, nil
}
func (l *oneListener) Close() error   { return nil }
func (l *oneListener) Addr() net.Addr { return &net.TCPAddr{} }

// kubelets has one node, "node".
type kubelets struct {
	client kubeletv1.KubeletServiceClient
	http   *httptest.Server
}

func (k *kubelets) Dial(_ context.Context, node string) (kubeletv1.KubeletServiceClient, error) {
	if node != "node" {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "nodes"}, node)
	}
	return k.client, nil
}

func (k *kubelets) HTTP(context.Context, string) (*url.URL, http.RoundTripper, error) {
	u, err := url.Parse(k.http.URL)
	return u, k.http.Client().Transport, err
}

// cluster is the objects, by name.
type cluster struct {
	pods     map[string]*corev1.Pod
	services map[string]*corev1.Service
	slices   []*discoveryv1.EndpointSlice
}

func absent(resource, name string) error {
	return apierrors.NewNotFound(schema.GroupResource{Resource: resource}, name)
}

func (c *cluster) Pod(_ context.Context, _, name string) (*corev1.Pod, error) {
	if p := c.pods[name]; p != nil {
		return p, nil
	}
	return nil, absent("pods", name)
}

func (c *cluster) Service(_ context.Context, _, name string) (*corev1.Service, error) {
	if s := c.services[name]; s != nil {
		return s, nil
	}
	return nil, absent("services", name)
}

func (c *cluster) Node(_ context.Context, name string) (*corev1.Node, error) {
	if name == "node" {
		return &corev1.Node{}, nil
	}
	return nil, absent("nodes", name)
}

func (c *cluster) EndpointSlices(_ context.Context, _, service string) (out []*discoveryv1.EndpointSlice, _ error) {
	for _, s := range c.slices {
		if s.Labels[discoveryv1.LabelServiceName] == service {
			out = append(out, s)
		}
	}
	return out, nil
}

func pod(name, node string, containers ...string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: "uid"}, Spec: corev1.PodSpec{NodeName: node}}
	for _, c := range containers {
		p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: c})
	}
	p.Status.PodIP, p.Status.PodIPs = "10.1.2.3", []corev1.PodIP{{IP: "10.1.2.3"}}
	return p
}

// start serves a connector at /ns/NAME/SUBRESOURCE, proxies at
// /proxy/KIND/ID/PATH.
func start(t *testing.T) (*httptest.Server, *cluster) {
	t.Helper()
	pipe := bufconn.Listen(1 << 20)
	g := grpc.NewServer()
	kubeletv1.RegisterKubeletServiceServer(g, kubelet{})
	go func() { _ = g.Serve(pipe) }()
	conn, err := grpc.NewClient("passthrough:///kubelet", grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithContextDialer(func(ctx context.Context, _ string) (net.Conn, error) { return pipe.DialContext(ctx) }))
	if err != nil {
		t.Fatal(err)
	}
	node := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = fmt.Fprintf(w, "kubelet %s", r.URL)
	}))
	c := &cluster{pods: map[string]*corev1.Pod{
		"p": pod("p", "node", "one"), "two": pod("two", "node", "a", "b"), "pending": pod("pending", "", "one"),
		"waiting": pod("waiting", "node", "waiting"), "lost": pod("lost", "elsewhere", "one"),
	}, services: map[string]*corev1.Service{}}
	connector := &Connector{Log: zap.NewNop(), Kubelets: &kubelets{kubeletv1.NewKubeletServiceClient(conn), node}, Objects: c}
	fail := func(w http.ResponseWriter, _ *http.Request, err error) {
		status := apistatus.Of(err)
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(int(status.Code))
		_ = json.NewEncoder(w).Encode(status)
	}
	connector.Fail = fail
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := serve(connector, w, r); err != nil {
			fail(w, r, err)
		}
	}))
	t.Cleanup(func() {
		s.Close()
		node.Close()
		_ = conn.Close()
		g.Stop()
	})
	return s, c
}

func serve(c *Connector, w http.ResponseWriter, r *http.Request) error {
	parts := strings.SplitN(strings.TrimPrefix(r.URL.Path, "/"), "/", 4)
	if parts[0] == "proxy" {
		path := ""
		if len(parts) > 3 {
			path = "/" + parts[3]
		}
		switch parts[1] {
		case "pods":
			return c.ProxyPod(w, r, "ns", parts[2], path)
		case "services":
			return c.ProxyService(w, r, "ns", parts[2], path)
		}
		return c.ProxyNode(w, r, parts[2], path)
	}
	switch parts[2] {
	case "exec":
		return c.Exec(w, r, parts[0], parts[1], r.URL.Query())
	case "attach":
		return c.Attach(w, r, parts[0], parts[1], r.URL.Query())
	case "portforward":
		return c.PortForward(w, r, parts[0], parts[1], r.URL.Query())
	}
	return c.Logs(w, r, parts[0], parts[1], r.URL.Query())
}
