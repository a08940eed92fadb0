package oracle

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"

	"coracle.local/cmd/coracle/cluster"
	apiserver "coracle.local/services/apiserver/app"
	"coracle.local/tests/fixture"
	"coracle.local/tests/history"
)

func exposed(name, ip string, nodePort int32) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{
		Type: corev1.ServiceTypeNodePort, ClusterIP: ip, Ports: []corev1.ServicePort{{Port: 80, NodePort: nodePort}},
	}}
	return s
}

// TestUpstreamFindsAddressesInOrder starts upstream's server over Services of
// ours, and lets each server find the other's addresses and ports taken.
func TestUpstreamFindsAddressesInOrder(t *testing.T) {
	c := fixture.Start(t, cluster.Config{Controllers: []string{"-*"}})
	ctx := context.Background()
	ours := c.Clients.CoreV1().Services("default")
	for _, s := range []*corev1.Service{exposed("a", "10.96.0.50", 30050), exposed("b", "", 0)} {
		if _, err := ours.Create(ctx, s, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	upstream, err := kubernetes.NewForConfig(startUpstream(t, c))
	if err != nil {
		t.Fatal(err)
	}
	theirs := upstream.CoreV1().Services("default")
	taken(t, theirs.Create, exposed("c", "10.96.0.50", 0), "provided IP is already allocated")
	taken(t, theirs.Create, exposed("c", "", 30050), "provided port is already allocated")
	if _, err := theirs.Create(ctx, exposed("d", "10.96.0.51", 30051), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	taken(t, ours.Create, exposed("e", "10.96.0.51", 0), "provided IP is already allocated")
	taken(t, ours.Create, exposed("e", "", 30051), "provided port is already allocated")
	if err := theirs.Delete(ctx, "d", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := ours.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := ours.Create(ctx, exposed("d2", "10.96.0.51", 30051), metav1.CreateOptions{}); err != nil {
		t.Errorf("freed by upstream's: %v", err)
	}
	if _, err := theirs.Create(ctx, exposed("a2", "10.96.0.50", 30050), metav1.CreateOptions{}); err != nil {
		t.Errorf("freed by ours: %v", err)
	}
	race(t, ours, theirs)
	time.Sleep(3 * time.Second) // until both servers' repairs have looked
	nothingRepaired(t, c)
}

// race asks both servers for one port at once, and for any.
func race(t *testing.T, servers ...typedv1.ServiceInterface) {
	t.Helper()
	given := map[int32]string{}
	for round := range 20 {
		named := int32(30060 + round) // in the part that is not given to those who name none
		for _, port := range []int32{named, 0} {
			errs, made := make([]error, len(servers)), make([]*corev1.Service, len(servers))
			var group sync.WaitGroup
			for i, s := range servers {
				group.Go(func() {
					made[i], errs[i] = s.Create(context.Background(), exposed(fmt.Sprintf("race-%d-%d-%d", round, port, i), "", port), metav1.CreateOptions{})
				})
			}
			group.Wait()
			refused := 0
			for i, err := range errs {
				switch {
				case err == nil && given[made[i].Spec.Ports[0].NodePort] == "":
					given[made[i].Spec.Ports[0].NodePort] = made[i].Name
				case err == nil:
					t.Errorf("%d is given twice", made[i].Spec.Ports[0].NodePort)
				case port != 0 && strings.Contains(err.Error(), "provided port is already allocated"):
					refused++
				default:
					t.Error(err)
				}
			}
			if port != 0 && refused != len(servers)-1 {
				t.Errorf("%d is refused %d times", port, refused)
			}
		}
	}
}

// nothingRepaired looks for what either server's repair told, and whether there
// was reason to. Upstream's follows Services and IPAddresses by two watches: when
// one is ahead of the other it tells of a Service without its IPAddress, of its
// own Services, too. Whether there was one, etcd knows.
func nothingRepaired(t *testing.T, c *fixture.Cluster) {
	t.Helper()
	events, err := c.Clients.EventsV1().Events("").List(context.Background(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events.Items {
		told := fmt.Sprintf("%s %s: %s %s", e.Regarding.Kind, e.Regarding.Name, e.Reason, e.Note)
		switch {
		case e.Reason == "ClusterIPNotAllocated":
			t.Log(told)
		case strings.Contains(e.Reason, "Allocated"), strings.Contains(e.Reason, "IPAddress"):
			t.Error(told)
		}
	}
	etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{c.Etcd}, Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = etcd.Close() }()
	history.Services(t, etcd, apiserver.DefaultNodePorts.Base, true)
}

func taken(t *testing.T, create func(context.Context, *corev1.Service, metav1.CreateOptions) (*corev1.Service, error), s *corev1.Service, want string) {
	t.Helper()
	if _, err := create(context.Background(), s, metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %s", s.Name, err, want)
	}
}
