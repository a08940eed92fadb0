package e2e

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/cmd/coracle/cluster"
	apiserver "coracle.local/services/apiserver/app"
	"coracle.local/tests/fixture"
)

// within is a cluster's configuration with other networks of Services.
func within(networks ...string) cluster.Config {
	return cluster.Config{Controllers: []string{"service-cidr-controller"}, APIServer: func(c *apiserver.Config) {
		c.ServiceCIDRs = nil
		for _, n := range networks {
			c.ServiceCIDRs = append(c.ServiceCIDRs, netip.MustParsePrefix(n))
		}
	}}
}

func newService(name string, ips ...string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 80}}, ClusterIPs: ips}}
	if len(ips) > 0 {
		s.Spec.ClusterIP = ips[0]
	}
	return s
}

func publish(c *fixture.Cluster, s *corev1.Service) (*corev1.Service, error) {
	return c.Clients.CoreV1().Services("default").Create(context.Background(), s, metav1.CreateOptions{})
}

func parentIs(t *testing.T, c *fixture.Cluster, ip, name string) {
	t.Helper()
	o, err := c.Clients.NetworkingV1().IPAddresses().Get(context.Background(), ip, metav1.GetOptions{})
	if name == "" {
		if !apierrors.IsNotFound(err) {
			t.Errorf("%s: %v (%v)", ip, o, err)
		}
		return
	}
	if err != nil {
		t.Error(err)
		return
	}
	want := networkingv1.ParentReference{Resource: "services", Namespace: "default", Name: name}
	if o.Spec.ParentRef == nil || *o.Spec.ParentRef != want || o.Labels["ipaddress.kubernetes.io/managed-by"] != "ipallocator.k8s.io" {
		t.Errorf("%s is %+v with labels %v", ip, o.Spec.ParentRef, o.Labels)
	}
}

func TestAddressesOfServices(t *testing.T) {
	cfg := within("10.0.0.0/28")
	cfg.DataDir = t.TempDir()
	c := fixture.Start(t, cfg)
	ctx := context.Background()
	services := c.Clients.CoreV1().Services("default")
	parentIs(t, c, "10.0.0.1", "kubernetes")
	fixture.Eventually(t, 10*time.Second, "ready", func() bool {
		r, err := c.Clients.NetworkingV1().ServiceCIDRs().Get(ctx, "kubernetes", metav1.GetOptions{})
		return err == nil && apimeta.IsStatusConditionTrue(r.Status.Conditions, "Ready") && len(r.Finalizers) == 1
	})
	if _, err := publish(c, newService("named", "10.0.0.2")); err != nil {
		t.Fatal(err)
	}
	parentIs(t, c, "10.0.0.2", "named")
	_, err := publish(c, newService("second", "10.0.0.2"))
	if want := `Service "second" is invalid: spec.clusterIPs: Invalid value: ["10.0.0.2"]: failed to allocate IP 10.0.0.2: provided IP is already allocated`; err == nil || err.Error() != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}

	// It comes and goes with the Service.
	any, err := publish(c, newService("any"))
	if err != nil {
		t.Fatal(err)
	}
	ip := any.Spec.ClusterIP
	parentIs(t, c, ip, "any")
	any.Spec = corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"}
	if any, err = services.Update(ctx, any, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	parentIs(t, c, ip, "")
	any.Spec.Type, any.Spec.ExternalName, any.Spec.Ports = corev1.ServiceTypeClusterIP, "", []corev1.ServicePort{{Port: 80}}
	if any, err = services.Update(ctx, any, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	ip = any.Spec.ClusterIP
	parentIs(t, c, ip, "any")
	if err := services.Delete(ctx, "any", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	parentIs(t, c, ip, "")

	// Reservations survive.
	if _, err = services.Update(ctx, exposing("named", 30007), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.Stop()
	c = fixture.Start(t, cfg)
	if _, err := publish(c, newService("second", "10.0.0.2")); err == nil || !strings.Contains(err.Error(), "provided IP is already allocated") {
		t.Errorf("after a restart: %v", err)
	}
	if _, err := publish(c, exposing("second", 30007)); err == nil || !strings.Contains(err.Error(), "provided port is already allocated") {
		t.Errorf("after a restart: %v", err)
	}
	useUp(t, c)
}

// useUp fills the range, all at once, and goes on in another one.
func useUp(t *testing.T, c *fixture.Cluster) {
	ctx := context.Background()
	var mu sync.Mutex
	seen := map[string]bool{"10.0.0.1": true, "10.0.0.2": true}
	full := 0
	var group sync.WaitGroup
	for i := range 20 {
		group.Go(func() {
			s, err := publish(c, newService(fmt.Sprint("s", i)))
			mu.Lock()
			defer mu.Unlock()
			switch {
			case apierrors.IsInternalError(err) && strings.Contains(err.Error(), "range is full"):
				full++
			case err != nil:
				t.Error(err)
			case seen[s.Spec.ClusterIP]:
				t.Errorf("%s is given twice", s.Spec.ClusterIP)
			default:
				seen[s.Spec.ClusterIP] = true
			}
		})
	}
	group.Wait()
	if len(seen) != 14 || full != 8 {
		t.Errorf("%d addresses are given, and %d refused", len(seen), full)
	}
	ranges := c.Clients.NetworkingV1().ServiceCIDRs()
	more := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "more"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.0.1.0/28"}}}
	if _, err := ranges.Create(ctx, more, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	s, err := publish(c, newService("of-more"))
	if err != nil || !strings.HasPrefix(s.Spec.ClusterIP, "10.0.1.") {
		t.Errorf("%v %v", s.Spec.ClusterIP, err)
	}
	fixture.Eventually(t, 10*time.Second, "guarded", func() bool {
		r, err := ranges.Get(ctx, "more", metav1.GetOptions{})
		return err == nil && len(r.Finalizers) == 1
	})
	if err := ranges.Delete(ctx, "more", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	fixture.Eventually(t, 10*time.Second, "held back by its address", func() bool {
		r, err := ranges.Get(ctx, "more", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		c := apimeta.FindStatusCondition(r.Status.Conditions, "Ready")
		return c != nil && c.Status == metav1.ConditionFalse && c.Reason == "Terminating"
	})
	if _, err := publish(c, newService("late")); err == nil || !strings.Contains(err.Error(), "range is full") {
		t.Errorf("of a range that goes: %v", err)
	}
}

func TestAddressesAreRepaired(t *testing.T) {
	c := fixture.Start(t, cluster.Config{Controllers: []string{"-*"}})
	ctx := context.Background()
	s, err := publish(c, newService("s"))
	if err != nil {
		t.Fatal(err)
	}
	addresses := c.Clients.NetworkingV1().IPAddresses()
	if err := addresses.Delete(ctx, s.Spec.ClusterIP, metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	fixture.Eventually(t, 20*time.Second, "recorded again", func() bool {
		_, err := addresses.Get(ctx, s.Spec.ClusterIP, metav1.GetOptions{})
		return err == nil
	})
	parentIs(t, c, s.Spec.ClusterIP, "s")
	fixture.Eventually(t, 10*time.Second, "told", func() bool {
		events, err := c.Clients.EventsV1().Events("default").List(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, e := range events.Items {
			if e.Reason == "ClusterIPNotAllocated" && e.Regarding.Name == "s" && e.ReportingController == "ipallocator-repair-controller" {
				return true
			}
		}
		return false
	})
}

func TestBothFamilies(t *testing.T) {
	c := fixture.Start(t, within("10.0.0.0/24", "fd00::/112"))
	s := newService("both")
	s.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyRequireDualStack)
	both, err := publish(c, s)
	if err != nil {
		t.Fatal(err)
	}
	if len(both.Spec.ClusterIPs) != 2 || !strings.HasPrefix(both.Spec.ClusterIPs[1], "fd00::") || len(both.Spec.IPFamilies) != 2 {
		t.Fatalf("%v of %v", both.Spec.ClusterIPs, both.Spec.IPFamilies)
	}
	for _, ip := range both.Spec.ClusterIPs {
		parentIs(t, c, ip, "both")
	}
	second := both.Spec.ClusterIPs[1]
	both.Spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicySingleStack)
	if both, err = c.Clients.CoreV1().Services("default").Update(context.Background(), both, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if len(both.Spec.ClusterIPs) != 1 {
		t.Errorf("%v", both.Spec.ClusterIPs)
	}
	parentIs(t, c, second, "")
	six, err := publish(c, newService("six", "fd00::77"))
	if err != nil || len(six.Spec.IPFamilies) != 1 || six.Spec.IPFamilies[0] != corev1.IPv6Protocol {
		t.Errorf("%v (%v)", six.Spec.IPFamilies, err)
	}
	parentIs(t, c, "fd00::77", "six")
}
