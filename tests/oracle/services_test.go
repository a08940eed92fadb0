package oracle

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/tests/fixture"
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
	time.Sleep(4 * time.Second) // until node ports are recorded, which upstream's server reads at its start
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
	fixture.Eventually(t, 10*time.Second, "seen by ours", func() bool {
		_, err := ours.Get(ctx, "d", metav1.GetOptions{})
		return err == nil
	})
	taken(t, ours.Create, exposed("e", "10.96.0.51", 0), "provided IP is already allocated")
	taken(t, ours.Create, exposed("e", "", 30051), "provided port is already allocated")
	if err := theirs.Delete(ctx, "d", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := ours.Delete(ctx, "a", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	fixture.Eventually(t, 10*time.Second, "free again for both", func() bool {
		_, errOurs := ours.Create(ctx, exposed("d2", "10.96.0.51", 30051), metav1.CreateOptions{})
		_, errTheirs := theirs.Create(ctx, exposed("a2", "10.96.0.50", 0), metav1.CreateOptions{})
		return errOurs == nil && errTheirs == nil
	})
	time.Sleep(3 * time.Second)
	events, err := c.Clients.EventsV1().Events("").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range events.Items {
		if strings.Contains(e.Reason, "Allocated") || strings.Contains(e.Reason, "IPAddress") {
			t.Errorf("%s %s: %s %s", e.Regarding.Kind, e.Regarding.Name, e.Reason, e.Note)
		}
	}
}

func taken(t *testing.T, create func(context.Context, *corev1.Service, metav1.CreateOptions) (*corev1.Service, error), s *corev1.Service, want string) {
	t.Helper()
	if _, err := create(context.Background(), s, metav1.CreateOptions{}); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%s: %v, want %s", s.Name, err, want)
	}
}
