package registry

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
)

var start = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

func newServices(networks ...string) *Services {
	var list []netip.Prefix
	for _, n := range networks {
		list = append(list, netip.MustParsePrefix(n))
	}
	return NewServices(list, utilnet.PortRange{Base: 30000, Size: 8}, nil)
}

func service(name string, ips ...string) *corev1.Service {
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name, UID: types.UID(name + "-uid"), CreationTimestamp: metav1.NewTime(start)}}
	s.Spec.Type = corev1.ServiceTypeClusterIP
	s.Spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	s.Spec.ClusterIPs = ips
	if len(ips) > 0 {
		s.Spec.ClusterIP = ips[0]
	}
	return s
}

func exposing(name string, ports ...corev1.ServicePort) *corev1.Service {
	s := service(name)
	s.Spec.Type, s.Spec.Ports = corev1.ServiceTypeNodePort, ports
	return s
}

// stored shows a Service, and the IPAddresses that belong to it.
func (s *Services) stored(svc *corev1.Service) {
	s.observeService(svc, false)
	for _, ip := range addressesOf(svc) {
		s.observeAddress(recordOf(ip, svc), false)
	}
}

func recordOf(ip netip.Addr, svc *corev1.Service) *networkingv1.IPAddress {
	o := newAddress(ip, svc)
	o.UID, o.CreationTimestamp = types.UID(o.Name), metav1.NewTime(start)
	return o
}

func (s *Services) try(svc, old *corev1.Service, dryRun bool) (*write, func(), error) {
	w := &write{kind: kinds.For[*corev1.Service](), namespace: svc.Namespace, name: svc.Name, options: WriteOptions{DryRun: dryRun}}
	var before kinds.Object
	if old != nil {
		before = old
	}
	release, err := s.allocate(context.Background(), w, svc, before)
	return w, release, err
}

func (s *Services) inspect(now time.Time) []found {
	v := s.view()
	out, _ := v.inspect(now)
	return out
}

func refused(t *testing.T, err error, want string) {
	t.Helper()
	if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
		t.Errorf("got  %v\nwant %s", err, want)
	}
}

func TestClusterIPs(t *testing.T) {
	dual := func(policy corev1.IPFamilyPolicy, ips ...string) *corev1.Service {
		s := service("s", ips...)
		s.Spec.IPFamilies, s.Spec.IPFamilyPolicy = []corev1.IPFamily{corev1.IPv4Protocol, corev1.IPv6Protocol}, ptr.To(policy)
		return s
	}
	externalName := service("s")
	externalName.Spec.Type = corev1.ServiceTypeExternalName
	tests := []struct {
		name     string
		svc, old *corev1.Service
		dryRun   bool
		refusal  string
		taken    int
		dropped  string
	}{
		{name: "any", svc: service("s"), taken: 1},
		{name: "named", svc: service("s", "10.0.0.77"), taken: 1},
		{name: "headless", svc: service("s", corev1.ClusterIPNone)},
		{name: "external", svc: externalName},
		{name: "both families", svc: dual(corev1.IPFamilyPolicyRequireDualStack), taken: 2},
		{
			name: "taken", svc: service("s", "10.0.0.5"),
			refusal: `Service "s" is invalid: spec.clusterIPs: Invalid value: ["10.0.0.5"]: failed to allocate IP 10.0.0.5: provided IP is already allocated`,
		},
		{
			name: "an IPAddress of somebody else", svc: service("s", "10.0.0.6"), refusal: "failed to allocate IP 10.0.0.6: provided IP is already allocated",
		},
		{
			name: "of no range", svc: service("s", "10.0.1.5"), refusal: "failed to allocate IP 10.0.1.5: the provided network does not match the current range",
		},
		{name: "the network's own", svc: service("s", "10.0.0.0"), refusal: "the provided network does not match the current range"},
		{name: "broadcast", svc: service("s", "10.0.0.255"), refusal: "the provided network does not match the current range"},
		{name: "of a range that goes", svc: service("s", "10.9.0.5"), refusal: "the provided network does not match the current range"},
		{name: "of another range", svc: service("s", "10.8.0.5"), taken: 1},
		{name: "a dry run minds the range alone", svc: service("s", "10.0.0.5"), dryRun: true, taken: 1},
		{
			name: "a dry run of no range", svc: service("s", "10.0.1.5"), dryRun: true,
			refusal: "failed to allocate IP 10.0.1.5: the provided IP (10.0.1.5) is not in the valid range. The range of valid IPs is 10.0.0.0/24",
		},
		{name: "from external", svc: service("s"), old: externalName, taken: 1},
		{name: "to external", svc: externalName, old: service("old", "10.0.0.5"), dropped: "[10.0.0.5]"},
		{name: "no change", svc: service("old", "10.0.0.5"), old: service("old", "10.0.0.5")},
		{name: "a second family", svc: dual(corev1.IPFamilyPolicyPreferDualStack, "10.0.0.5"), old: service("old", "10.0.0.5"), taken: 1},
		{
			name: "one family less", svc: service("old", "10.0.0.5"),
			old: func() *corev1.Service {
				s := dual("", "10.0.0.5", "fd00::5")
				s.Name, s.UID = "old", "old-uid"
				return s
			}(),
			dropped: "[fd00::5]",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newServices("10.0.0.0/24", "fd00::/112")
			s.observeRange(&networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: "more"}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.8.0.0/24"}}}, false)
			s.observeRange(&networkingv1.ServiceCIDR{
				ObjectMeta: metav1.ObjectMeta{Name: "going", DeletionTimestamp: ptr.To(metav1.NewTime(start))},
				Spec:       networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.9.0.0/24"}},
			}, false)
			owner := service("old", "10.0.0.5")
			s.stored(owner)
			s.observeAddress(recordOf(netip.MustParseAddr("fd00::5"), owner), false)
			gateway := recordOf(netip.MustParseAddr("10.0.0.6"), owner)
			gateway.Spec.ParentRef.Resource, gateway.Labels = "gateways", nil
			s.observeAddress(gateway, false)
			before := len(s.addresses)

			w, release, err := s.try(test.svc.DeepCopy(), test.old, test.dryRun)
			refused(t, err, test.refusal)
			if err != nil {
				if len(s.addresses) != before {
					t.Error("something is held after a refusal")
				}
				return
			}
			if len(w.allocation.addresses) != test.taken {
				t.Errorf("takes %v", w.allocation.addresses)
			}
			dropped := ""
			if len(w.allocation.dropped) > 0 {
				dropped = fmt.Sprint(w.allocation.dropped)
			}
			if dropped != test.dropped {
				t.Errorf("drops %s, want %s", dropped, test.dropped)
			}
			release()
			if len(s.addresses) != before {
				t.Error("something is held after the release")
			}
		})
	}
}

// A network is used up to its last address, the lower part last.
func TestNetworkIsUsedUp(t *testing.T) {
	for network, size := range map[string]int{"10.0.0.0/26": 62, "10.0.0.0/28": 14, "10.0.0.0/30": 2, "fd00::/124": 15} {
		t.Run(network, func(t *testing.T) {
			s := newServices(network)
			family := familyOf(s.networks[0].Addr())
			seen := map[string]bool{}
			for i := range size {
				svc := service(fmt.Sprint("s", i))
				svc.Spec.IPFamilies = []corev1.IPFamily{family}
				if _, _, err := s.try(svc, nil, false); err != nil {
					t.Fatalf("address %d: %v", i, err)
				}
				ip := svc.Spec.ClusterIP
				if seen[ip] || !contains(s.networks[0], netip.MustParseAddr(ip)) {
					t.Fatalf("%s is given", ip)
				}
				seen[ip] = true
			}
			svc := service("late")
			svc.Spec.IPFamilies = []corev1.IPFamily{family}
			_, _, err := s.try(svc, nil, false)
			refused(t, err, `failed to allocate a serviceIP for Service "late": range is full`)
		})
	}
}

func TestLargeNetworks(t *testing.T) {
	for _, network := range []string{"fd00:1:2:3::/64", "10.0.0.0/8"} {
		s := newServices(network)
		for range 100 {
			if ip, ok := s.free(s.networks[0]); !ok || !contains(s.networks[0], ip) || ip.Less(plus(s.networks[0].Addr(), 256)) {
				t.Fatalf("%s gives %s", network, ip)
			}
		}
	}
}

func TestNodePorts(t *testing.T) {
	port := func(n, nodePort int32, protocol corev1.Protocol) corev1.ServicePort {
		return corev1.ServicePort{Port: n, NodePort: nodePort, Protocol: protocol}
	}
	balanced := func(svc *corev1.Service, healthCheck int32) *corev1.Service {
		svc.Spec.Type, svc.Spec.ExternalTrafficPolicy = corev1.ServiceTypeLoadBalancer, corev1.ServiceExternalTrafficPolicyLocal
		svc.Spec.HealthCheckNodePort = healthCheck
		return svc
	}
	tests := []struct {
		name     string
		svc, old *corev1.Service
		refusal  string
		took     int
		check    func(*corev1.Service) bool
	}{
		{name: "any", svc: exposing("s", port(80, 0, "TCP"), port(81, 0, "TCP")), took: 2},
		{name: "named", svc: exposing("s", port(80, 30001, "TCP")), took: 1},
		{
			name: "one for two protocols", svc: exposing("s", port(53, 0, "TCP"), port(53, 0, "UDP")), took: 1,
			check: func(s *corev1.Service) bool { return s.Spec.Ports[0].NodePort == s.Spec.Ports[1].NodePort },
		},
		{
			name: "the one named is for both", svc: exposing("s", port(53, 0, "TCP"), port(53, 30003, "UDP")), took: 1,
			check: func(s *corev1.Service) bool { return s.Spec.Ports[0].NodePort == 30003 },
		},
		{name: "taken by another protocol of another Service", svc: exposing("s", port(80, 30000, "UDP")), refusal: "spec.ports[0].nodePort: Invalid value: 30000: provided port is already allocated"},
		{name: "out of range", svc: exposing("s", port(80, 80, "TCP")), refusal: "provided port is not in the valid range. The range of valid ports is 30000-30007"},
		{name: "health check", svc: balanced(exposing("s", port(80, 0, "TCP")), 0), took: 2, check: func(s *corev1.Service) bool { return s.Spec.HealthCheckNodePort != 0 }},
		{name: "health check taken", svc: balanced(exposing("s"), 30000), refusal: "failed to allocate requested HealthCheck NodePort 30000: provided port is already allocated"},
		{name: "more than there are", svc: exposing("s", port(1, 0, "TCP"), port(2, 0, "TCP"), port(3, 0, "TCP"), port(4, 0, "TCP"), port(5, 0, "TCP"), port(6, 0, "TCP"), port(7, 0, "TCP"), port(8, 0, "TCP")), refusal: "failed to allocate a nodePort: range is full"},
		{name: "kept", svc: exposing("old", port(80, 30000, "TCP")), old: exposing("old", port(80, 30000, "TCP"))},
		{name: "one more", svc: exposing("old", port(80, 30000, "TCP"), port(81, 0, "TCP")), old: exposing("old", port(80, 30000, "TCP")), took: 1},
		{name: "by type", svc: exposing("s", port(80, 0, "TCP")), old: service("s", "10.0.0.9"), took: 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newServices("10.0.0.0/24")
			s.stored(exposing("old", port(80, 30000, "TCP")))
			w, release, err := s.try(test.svc, test.old, false)
			refused(t, err, test.refusal)
			if err == nil {
				if len(w.allocation.ports) != test.took || test.check != nil && !test.check(test.svc) {
					t.Errorf("takes %v for %v", w.allocation.ports, test.svc.Spec.Ports)
				}
				release()
			}
			if len(s.nodePorts) != 1 {
				t.Errorf("ports %v are held", s.nodePorts)
			}
		})
	}
}

func TestRepairFinds(t *testing.T) {
	ip := netip.MustParseAddr("10.0.0.5")
	svc := service("s", "10.0.0.5")
	tests := []struct {
		name string
		set  func(*Services)
		at   time.Duration
		want string
		cure cure
	}{
		{name: "nothing", set: func(s *Services) { s.stored(svc) }},
		{
			name: "no record", set: func(s *Services) { s.observeService(svc, false) }, cure: record,
			want: "ClusterIPNotAllocated: Cluster IP [IPv4]: 10.0.0.5 is not allocated; repairing",
		},
		{
			name: "out of range", set: func(s *Services) { s.stored(service("s", "192.168.0.1")) }, cure: tell,
			want: "ClusterIPOutOfRange: Cluster IP [IPv4]: 192.168.0.1 is not within any configured Service CIDR; please recreate service",
		},
		{
			name: "the record of something else", cure: renew,
			set: func(s *Services) {
				s.observeService(svc, false)
				o := recordOf(ip, svc)
				o.Spec.ParentRef.Resource, o.Labels = "gateways", nil
				s.observeAddress(o, false)
			},
			want: "ClusterIPNotAllocated: the ClusterIP [IPv4]: 10.0.0.5 for Service ns/s has a wrong reference; repairing",
		},
		{
			name: "two Services", cure: tell,
			set: func(s *Services) {
				s.stored(svc)
				s.observeService(service("twin", "10.0.0.5"), false)
			},
			want: "ClusterIPAlreadyAllocated: Cluster IP [IPv4]:10.0.0.5 was assigned to multiple services; please recreate service",
		},
		{
			name: "labels lost", cure: renew, want: ": ",
			set: func(s *Services) {
				s.observeService(svc, false)
				o := recordOf(ip, svc)
				o.Labels = map[string]string{}
				s.observeAddress(o, false)
			},
		},
		{name: "a record that is early", set: func(s *Services) { s.observeAddress(recordOf(ip, svc), false) }, at: 59 * time.Second},
		{
			name: "a record without a Service", set: func(s *Services) { s.observeAddress(recordOf(ip, svc), false) }, at: 61 * time.Second, cure: remove,
			want: "IPAddressNotAllocated: IPAddress: 10.0.0.5 for Service ns/s appears to have leaked: cleaning up",
		},
		{
			name: "a record too many", cure: remove, at: 6 * time.Second,
			set: func(s *Services) {
				s.stored(service("s", "10.0.0.6"))
				s.observeAddress(recordOf(ip, svc), false)
			},
			want: "IPAddressWrongReference: IPAddress: 10.0.0.5 for Service ns/s has a wrong reference; cleaning up",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newServices("10.0.0.0/24")
			s.observeRange(&networkingv1.ServiceCIDR{
				ObjectMeta: metav1.ObjectMeta{Name: defaultRange}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.0.0.0/24"}},
				Status: networkingv1.ServiceCIDRStatus{Conditions: []metav1.Condition{{Type: "Ready", Status: metav1.ConditionTrue}}},
			}, false)
			test.set(s)
			findings := s.inspect(start.Add(test.at))
			if test.want == "" {
				if len(findings) > 0 {
					t.Errorf("found %+v", findings)
				}
				return
			}
			if len(findings) != 1 || findings[0].cure != test.cure || findings[0].reason+": "+findings[0].message != test.want {
				t.Errorf("found %+v", findings)
			}
		})
	}
}

func TestRepairKeepsTheFirstRange(t *testing.T) {
	s := newServices("10.0.0.0/24")
	if f := s.inspect(start); len(f) != 1 || f[0].cure != install {
		t.Errorf("without a range: %+v", f)
	}
	r := &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: defaultRange}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: []string{"10.0.0.0/24"}}}
	s.observeRange(r, false)
	if f := s.inspect(start); len(f) != 1 || f[0].cure != confirm {
		t.Errorf("with a range nobody speaks of: %+v", f)
	}
	r.Spec.CIDRs = []string{"10.0.0.0/16"}
	s.observeRange(r, false)
	f := s.inspect(start)
	if want := "The default ServiceCIDR [10.0.0.0/16] does not match the controller flag configurations [10.0.0.0/24]"; len(f) != 1 || f[0].cure != tell || f[0].message != want {
		t.Errorf("with a range of another server: %+v", f)
	}
}
