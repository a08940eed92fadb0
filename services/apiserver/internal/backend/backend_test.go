package backend

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/test/bufconn"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	kubeletv1 "coracle.local/proto/coracle/kubelet/v1"
	"coracle.local/services/apiserver/internal/auth/authtest"
)

// kubelet forwards ports to one address.
type kubelet struct {
	kubeletv1.UnimplementedKubeletServiceServer
	to    string
	pods  chan string
	ports chan int32
}

func (k *kubelet) PortForward(s grpc.BidiStreamingServer[kubeletv1.PortForwardRequest, kubeletv1.PortForwardResponse]) error {
	first, err := s.Recv()
	if err != nil {
		return err
	}
	k.pods <- first.GetStart().GetPod().GetName()
	k.ports <- first.GetStart().GetPort()
	conn, err := net.Dial("tcp", k.to)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }()
	go func() {
		for m, err := s.Recv(); err == nil; m, err = s.Recv() {
			if _, err := conn.Write(m.GetData()); err != nil {
				return
			}
		}
	}()
	buffer := make([]byte, 4096)
	for {
		n, err := conn.Read(buffer)
		if err != nil {
			return nil //nolint:nilerr // the end
		}
		if err := s.Send(&kubeletv1.PortForwardResponse{Data: buffer[:n]}); err != nil {
			return err
		}
	}
}

// node is the only one that has a kubelet.
type node struct {
	client kubeletv1.KubeletServiceClient
}

func (n node) Dial(context.Context, string) (kubeletv1.KubeletServiceClient, error) {
	return n.client, nil
}

func serveKubelet(t *testing.T, k *kubelet) node {
	t.Helper()
	l := bufconn.Listen(1 << 20)
	s := grpc.NewServer()
	kubeletv1.RegisterKubeletServiceServer(s, k)
	go func() { _ = s.Serve(l) }()
	t.Cleanup(s.Stop)
	cc, err := grpc.NewClient("passthrough:///k", grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) { return l.Dial() }),
		grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return node{kubeletv1.NewKubeletServiceClient(cc)}
}

func service(name string, ports ...corev1.ServicePort) *corev1.Service {
	return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.ServiceSpec{Ports: ports}}
}

func slice(name, service, portName string, port int32, endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "ns", Name: name, Labels: map[string]string{discoveryv1.LabelServiceName: service}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: endpoints, Ports: []discoveryv1.EndpointPort{{Name: &portName, Port: &port}},
	}
}

func pod(name, ip, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Spec: corev1.PodSpec{NodeName: node},
		Status: corev1.PodStatus{PodIP: ip, PodIPs: []corev1.PodIP{{IP: ip}}},
	}
}

func endpointOf(p *corev1.Pod, ready bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{
		Addresses: []string{p.Status.PodIP}, Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name},
	}
}

// Messages are upstream's.
func TestWhereServicesAre(t *testing.T) {
	ready, unready := pod("ready", "10.0.0.1", "n"), pod("unready", "10.0.0.2", "n")
	external := service("external")
	external.Spec.Type, external.Spec.ExternalName = corev1.ServiceTypeExternalName, "elsewhere.example.com"
	https := corev1.ServicePort{Name: "https", Port: 443}
	b := Backends{Objects: Cached(authtest.New(ready, unready, external,
		service("pods", https), slice("pods-1", "pods", "https", 8443, endpointOf(unready, false), endpointOf(ready, true)),
		service("plain", corev1.ServicePort{Port: 80}), slice("plain-1", "plain", "", 8080, discoveryv1.Endpoint{Addresses: []string{"10.1.1.1"}}),
		service("empty", https), slice("empty-1", "empty", "https", 8443, endpointOf(unready, false)),
	))}
	tests := []struct {
		service string
		port    int32
		which   Which
		want    string
		pod     bool
	}{
		{"pods", 443, AnyEndpoint, "10.0.0.1:8443", true},
		{"pods", 80, AnyEndpoint, `no service port 80 found for service "pods"`, false},
		{"plain", 80, AnyEndpoint, "10.1.1.1:8080", false},
		{"external", 1234, AnyEndpoint, "elsewhere.example.com:1234", false},
		{"empty", 443, AnyEndpoint, `no endpoints available for service "empty"`, false},
		{"none", 443, AnyEndpoint, `service "none" not found`, false},
	}
	for _, tt := range tests {
		t.Run(tt.service+":"+strconv.Itoa(int(tt.port)), func(t *testing.T) {
			place, err := b.Service(t.Context(), "ns", tt.service, tt.port)
			if err != nil {
				if err.Error() != tt.want {
					t.Errorf("got %v", err)
				}
				return
			}
			if place.Address() != tt.want || (place.Pod != nil) != tt.pod {
				t.Errorf("got %s, pod %v", place.Address(), place.Pod)
			}
		})
	}
	if _, err := b.Endpoint(t.Context(), "ns", "plain", "", PodsOnly); err == nil {
		t.Error("an address that is no pod's counts")
	}
}

// A request to a Service ends at a pod, by way of its kubelet.
func TestServiceTransport(t *testing.T) {
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = io.WriteString(w, r.Host+r.URL.Path) }))
	defer server.Close()
	k := &kubelet{to: server.Listener.Addr().String(), pods: make(chan string, 9), ports: make(chan int32, 9)}
	p := pod("p", "10.0.0.1", "n")
	b := Backends{Kubelets: serveKubelet(t, k), Objects: Cached(authtest.New(p, service("s", corev1.ServicePort{Port: 443}), slice("s-1", "s", "", 8443, endpointOf(p, true))))}
	roots := x509.NewCertPool()
	roots.AddCert(server.Certificate())
	transport := b.ServiceTransport(&http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "example.com"}}, "ns", "s", 443)
	defer transport.CloseIdleConnections()
	for range 2 {
		answer, err := (&http.Client{Transport: transport}).Get("https://s.ns.svc:443/path")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(answer.Body)
		_ = answer.Body.Close()
		if err != nil || string(body) != "s.ns.svc:443/path" {
			t.Errorf("%s, %v", body, err)
		}
	}
	if len(k.pods) != 1 || <-k.pods != "p" || <-k.ports != 8443 {
		t.Error("not one connection to the pod's port")
	}
}

func TestNoKubelets(t *testing.T) {
	_, err := Backends{}.DialPod(t.Context(), pod("p", "10.0.0.1", "n"), 80)
	if err == nil || !strings.Contains(err.Error(), "no way to reach kubelets") {
		t.Errorf("%v", err)
	}
}
