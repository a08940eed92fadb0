package e2e

import (
	"context"
	"fmt"
	"math/big"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"

	"coracle.local/cmd/coracle/cluster"
	apiserver "coracle.local/services/apiserver/app"
	"coracle.local/tests/fixture"
	"coracle.local/tests/history"
)

// twoServers starts two API servers over one etcd, which is handed out, too.
func twoServers(t *testing.T, ports utilnet.PortRange) (services [2]typedv1.ServiceInterface, etcd *clientv3.Client) {
	t.Helper()
	var cfg apiserver.Config
	c := fixture.Start(t, cluster.Config{Controllers: []string{"-*"}, APIServer: func(c *apiserver.Config) {
		c.NodePorts = ports
		cfg = *c
	}})
	etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{c.Etcd}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = etcd.Close() })
	listen := func() net.Listener {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		return l
	}
	ready := make(chan struct{})
	cfg.Etcd, cfg.Listener, cfg.GRPCListener, cfg.Pipe = etcd, listen(), listen(), nil
	cfg.OnReady = func() { close(ready) }
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- apiserver.Run(ctx, cfg) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-ready:
	case err := <-ended:
		ended <- nil
		t.Fatalf("the second server: %v", err)
	}
	other := rest.CopyConfig(c.Config)
	other.Host = "https://" + cfg.Listener.Addr().String()
	clients, err := kubernetes.NewForConfig(other)
	if err != nil {
		t.Fatal(err)
	}
	return [2]typedv1.ServiceInterface{c.Clients.CoreV1().Services("default"), clients.CoreV1().Services("default")}, etcd
}

func exposing(name string, nodePort int32) *corev1.Service {
	s := newService(name)
	s.Spec.Type = corev1.ServiceTypeNodePort
	s.Spec.Ports[0].NodePort = nodePort
	return s
}

func checkedAt(name string, port int32) *corev1.Service {
	s := newService(name)
	no := false
	s.Spec.Type, s.Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
	s.Spec.HealthCheckNodePort, s.Spec.AllocateLoadBalancerNodePorts = port, &no
	return s
}

// TestOnePortIsOneServices lets two servers be asked for one port at once.
func TestOnePortIsOneServices(t *testing.T) {
	servers, etcd := twoServers(t, apiserver.DefaultNodePorts)
	for round := range 40 {
		port := int32(30100 + round)
		service, want := exposing, fmt.Sprintf("spec.ports[0].nodePort: Invalid value: %d: provided port is already allocated", port)
		if round%2 == 1 {
			service, want = checkedAt, fmt.Sprintf("failed to allocate requested HealthCheck NodePort %d: provided port is already allocated", port)
		}
		var errs [2]error
		var group sync.WaitGroup
		for i, s := range servers {
			group.Go(func() {
				_, errs[i] = s.Create(context.Background(), service(fmt.Sprintf("s%d-%d", round, i), port), metav1.CreateOptions{})
			})
		}
		group.Wait()
		if errs[0] == nil {
			errs[0], errs[1] = errs[1], errs[0]
		}
		if errs[1] != nil || errs[0] == nil || !strings.Contains(errs[0].Error(), want) {
			t.Errorf("port %d: %v, %v", port, errs[0], errs[1])
		}
	}
	history.Services(t, etcd, apiserver.DefaultNodePorts.Base, false)
}

// TestPortsOfTwoServers uses up all ports at two servers at once, and lets each
// have at once what the other gave back.
func TestPortsOfTwoServers(t *testing.T) {
	ports := utilnet.PortRange{Base: 30000, Size: 20}
	servers, etcd := twoServers(t, ports)
	ctx := context.Background()
	var mu sync.Mutex
	names := map[int32]string{}
	full := 0
	var group sync.WaitGroup
	for i := range 30 {
		group.Go(func() {
			s, err := servers[i%2].Create(ctx, exposing(fmt.Sprint("s", i), 0), metav1.CreateOptions{})
			mu.Lock()
			defer mu.Unlock()
			switch {
			case err != nil && strings.Contains(err.Error(), "failed to allocate a nodePort: range is full"):
				full++
			case err != nil:
				t.Error(err)
			case names[s.Spec.Ports[0].NodePort] != "":
				t.Errorf("%d is given twice", s.Spec.Ports[0].NodePort)
			default:
				names[s.Spec.Ports[0].NodePort] = s.Name
			}
		})
	}
	group.Wait()
	if len(names) != ports.Size || full != 10 {
		t.Errorf("%d ports are given, and %d refused", len(names), full)
	}
	i := 0
	for port, name := range names {
		i++
		var err error
		if i%3 == 0 {
			var s *corev1.Service
			if s, err = servers[i%2].Get(ctx, name, metav1.GetOptions{}); err == nil {
				s.Spec.Type, s.Spec.Ports[0].NodePort = corev1.ServiceTypeClusterIP, 0
				_, err = servers[i%2].Update(ctx, s, metav1.UpdateOptions{})
			}
		} else {
			err = servers[i%2].Delete(ctx, name, metav1.DeleteOptions{})
		}
		if err != nil {
			t.Fatal(err)
		}
		if _, err := servers[1-i%2].Create(ctx, exposing("again"+name, port), metav1.CreateOptions{}); err != nil {
			t.Errorf("freed by the other server: %v", err)
		}
	}
	history.Services(t, etcd, ports.Base, false)
}

// nobodys is a record without ports, as it is stored.
const nobodys = "k8s\x00\n\x15\n\x02v1\x12\x0fRangeAllocation\x12\x0f\n\x00\x12\x0b30000-32767\x1a\x00\"\x00"

// TestPortsAreRepaired takes the record of ports away, and what is in it.
func TestPortsAreRepaired(t *testing.T) {
	servers, etcd := twoServers(t, apiserver.DefaultNodePorts)
	ctx := context.Background()
	const key = "/registry/ranges/servicenodeports"
	create := func(server int, s *corev1.Service) {
		t.Helper()
		if _, err := servers[server].Create(ctx, s, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	recorded := func() string {
		r, err := etcd.Get(ctx, key)
		if err != nil || len(r.Kvs) == 0 {
			return fmt.Sprint(err)
		}
		bits := new(big.Int).SetBytes(history.Stored(t, r.Kvs[0].Value, &corev1.RangeAllocation{}).Data)
		return bits.Rsh(bits, 100).Text(2) // from port 30100 on
	}
	create(0, exposing("a", 30100))
	if _, err := etcd.Delete(ctx, key); err != nil {
		t.Fatal(err)
	}
	create(1, exposing("b", 30101))
	if got := recorded(); got != "11" {
		t.Errorf("after the record was lost: %s", got)
	}
	if _, err := etcd.Put(ctx, key, nobodys); err != nil {
		t.Fatal(err)
	}
	create(1, newService("c"))
	fixture.Eventually(t, 20*time.Second, "recorded again", func() bool { return recorded() == "11" })
}
