package model

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

func service(change func(*corev1.Service)) *corev1.Service {
	s := &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Namespace: "d", Name: "s"},
		Spec: corev1.ServiceSpec{
			ClusterIP: "10.96.0.1", Ports: []corev1.ServicePort{{Name: "http", Protocol: corev1.ProtocolTCP, Port: 80}},
		},
	}
	change(s)
	return s
}

// endpoint is "ip[@node] [ready|serving|gone]".
func slice(endpoints ...discoveryv1.Endpoint) *discoveryv1.EndpointSlice {
	return &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Namespace: "d", Name: "s-x", Labels: map[string]string{discoveryv1.LabelServiceName: "s"}},
		AddressType: discoveryv1.AddressTypeIPv4,
		Ports:       []discoveryv1.EndpointPort{{Name: ptr.To("http"), Protocol: ptr.To(corev1.ProtocolTCP), Port: ptr.To[int32](8080)}},
		Endpoints:   endpoints,
	}
}

func at(ip, node string, ready, serving, terminating bool) discoveryv1.Endpoint {
	return discoveryv1.Endpoint{
		Addresses: []string{ip}, NodeName: &node,
		Conditions: discoveryv1.EndpointConditions{Ready: &ready, Serving: &serving, Terminating: &terminating},
	}
}

func addrs(es []Endpoint) string {
	out := []string{}
	for _, e := range es {
		out = append(out, e.Addr.String())
	}
	return fmt.Sprint(out)
}

func TestWhichEndpointsAreUsed(t *testing.T) {
	for name, c := range map[string]struct {
		endpoints  []discoveryv1.Endpoint
		all, local string
	}{
		"ready ones": {
			[]discoveryv1.Endpoint{at("10.0.0.2", "n1", true, true, false), at("10.0.0.1", "n2", true, true, false), at("10.0.0.3", "n1", false, false, false)},
			"[10.0.0.1:8080 10.0.0.2:8080]", "[10.0.0.2:8080]",
		},
		"terminating ones when no other is left": {
			[]discoveryv1.Endpoint{at("10.0.0.1", "n1", false, true, true), at("10.0.0.2", "n2", false, false, true)},
			"[10.0.0.1:8080]", "[10.0.0.1:8080]",
		},
		"no terminating one beside a ready one": {
			[]discoveryv1.Endpoint{at("10.0.0.1", "n1", false, true, true), at("10.0.0.2", "n2", true, true, false)},
			"[10.0.0.2:8080]", "[10.0.0.1:8080]",
		},
		"each once": {
			[]discoveryv1.Endpoint{at("10.0.0.1", "n1", true, true, false), at("10.0.0.1", "n1", true, true, false)},
			"[10.0.0.1:8080]", "[10.0.0.1:8080]",
		},
		"none": {nil, "[]", "[]"},
	} {
		m := Build("n1", []*corev1.Service{service(func(*corev1.Service) {})}, []*discoveryv1.EndpointSlice{slice(c.endpoints...)})
		if len(m.Ports) != 1 {
			t.Fatalf("%s: %d ports", name, len(m.Ports))
		}
		if p := m.Ports[0]; addrs(p.Endpoints) != c.all || addrs(p.Local) != c.local {
			t.Errorf("%s: all %s local %s, want %s and %s", name, addrs(p.Endpoints), addrs(p.Local), c.all, c.local)
		}
	}
}

func TestWhichServicesAreProxied(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*corev1.Service)
		want   int
	}{
		"ordinary":       {func(*corev1.Service) {}, 1},
		"headless":       {func(s *corev1.Service) { s.Spec.ClusterIP = corev1.ClusterIPNone }, 0},
		"external name":  {func(s *corev1.Service) { s.Spec.Type = corev1.ServiceTypeExternalName }, 0},
		"other proxy's":  {func(s *corev1.Service) { s.Labels = map[string]string{proxyName: "x"} }, 0},
		"no address yet": {func(s *corev1.Service) { s.Spec.ClusterIP = "" }, 0},
	} {
		if m := Build("n1", []*corev1.Service{service(c.change)}, nil); len(m.Ports) != c.want {
			t.Errorf("%s: %d ports, want %d", name, len(m.Ports), c.want)
		}
	}
}

func TestSettingsOfAService(t *testing.T) {
	s := service(func(s *corev1.Service) {
		s.Spec.SessionAffinity = corev1.ServiceAffinityClientIP
		s.Spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyLocal)
		s.Spec.ExternalTrafficPolicy = corev1.ServiceExternalTrafficPolicyLocal
		s.Spec.ExternalIPs = []string{"203.0.113.1", "not an address"}
		s.Spec.LoadBalancerSourceRanges = []string{"198.51.100.7/24"}
		s.Status.LoadBalancer.Ingress = []corev1.LoadBalancerIngress{{IP: "203.0.113.2"}, {IP: "203.0.113.3", IPMode: ptr.To(corev1.LoadBalancerIPModeProxy)}}
	})
	p := Build("n1", []*corev1.Service{s}, nil).Ports[0]
	if p.Affinity != 10800 || !p.InternalLocal || !p.ExternalLocal {
		t.Errorf("got %+v", p)
	}
	if fmt.Sprint(p.External, p.LoadBalancers, p.SourceRanges) != "[203.0.113.1 203.0.113.2] [203.0.113.2] [198.51.100.0/24]" {
		t.Errorf("got %v %v %v", p.External, p.LoadBalancers, p.SourceRanges)
	}
	if p.ID() != "d/s:http" {
		t.Errorf("id %s", p.ID())
	}
}
