// Package model says what traffic of which Service port goes where from one
// node; it is rebuilt whole from Services and EndpointSlices.
package model

import (
	"cmp"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
)

// Model is every proxied Service port, sorted by namespace, name and port.
type Model struct{ Ports []Port }

// Port is one port of one Service.
type Port struct {
	Namespace, Name, PortName string
	Protocol                  corev1.Protocol
	ClusterIP                 netip.Addr
	Number                    int32
	// NodePort is 0 if there is none.
	NodePort int32
	// External are addresses outside the cluster that lead here: external IPs
	// and those of load balancers.
	External []netip.Addr
	// SourceRanges limit who may come by the load balancers' addresses; empty
	// is everybody.
	SourceRanges   []netip.Prefix
	LoadBalancers  []netip.Addr // those of External that SourceRanges apply to
	Affinity       int32        // seconds of ClientIP affinity; 0 is none
	InternalLocal  bool         // cluster traffic only to endpoints of this node
	ExternalLocal  bool         // external traffic likewise, with its source kept
	HealthNodePort int32

	// Endpoints are those to be used; Local those of them on this node.
	Endpoints []Endpoint
	Local     []Endpoint
}

// Endpoint is one pod's address.
type Endpoint struct {
	Addr        netip.AddrPort
	Node        string
	Terminating bool
}

// Build makes the model of a node. Headless and external-name Services, and
// those of another proxy, are left out.
func Build(node string, services []*corev1.Service, slices []*discoveryv1.EndpointSlice) *Model {
	byService := map[string][]*discoveryv1.EndpointSlice{}
	for _, s := range slices {
		if s.AddressType == discoveryv1.AddressTypeIPv4 {
			key := s.Namespace + "/" + s.Labels[discoveryv1.LabelServiceName]
			byService[key] = append(byService[key], s)
		}
	}
	m := &Model{}
	for _, svc := range services {
		if ip, ok := proxied(svc); ok {
			for i := range svc.Spec.Ports {
				m.Ports = append(m.Ports, port(node, svc, &svc.Spec.Ports[i], ip, byService[svc.Namespace+"/"+svc.Name]))
			}
		}
	}
	sortPorts(m.Ports)
	return m
}

func sortPorts(ports []Port) {
	slices.SortFunc(ports, func(a, b Port) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name),
			cmp.Compare(a.PortName, b.PortName), cmp.Compare(a.Protocol, b.Protocol), cmp.Compare(a.Number, b.Number))
	})
}

// proxyName is the label of Services that another proxy serves.
const proxyName = "service.kubernetes.io/service-proxy-name"

func proxied(svc *corev1.Service) (netip.Addr, bool) {
	if _, other := svc.Labels[proxyName]; other || svc.Spec.Type == corev1.ServiceTypeExternalName {
		return netip.Addr{}, false
	}
	ip, err := netip.ParseAddr(svc.Spec.ClusterIP)
	return ip, err == nil && ip.Is4()
}

func port(node string, svc *corev1.Service, p *corev1.ServicePort, ip netip.Addr, from []*discoveryv1.EndpointSlice) Port {
	out := Port{
		Namespace: svc.Namespace, Name: svc.Name, PortName: p.Name, Protocol: p.Protocol,
		ClusterIP: ip, Number: p.Port, NodePort: p.NodePort,
		InternalLocal:  svc.Spec.InternalTrafficPolicy != nil && *svc.Spec.InternalTrafficPolicy == corev1.ServiceInternalTrafficPolicyLocal,
		ExternalLocal:  svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal,
		HealthNodePort: svc.Spec.HealthCheckNodePort,
		External:       addresses(svc.Spec.ExternalIPs),
	}
	if out.Protocol == "" {
		out.Protocol = corev1.ProtocolTCP
	}
	for _, in := range svc.Status.LoadBalancer.Ingress {
		if in.IPMode == nil || *in.IPMode == corev1.LoadBalancerIPModeVIP {
			out.LoadBalancers = append(out.LoadBalancers, addresses([]string{in.IP})...)
		}
	}
	out.External = append(out.External, out.LoadBalancers...)
	for _, r := range svc.Spec.LoadBalancerSourceRanges {
		if prefix, err := netip.ParsePrefix(r); err == nil && prefix.Addr().Is4() {
			out.SourceRanges = append(out.SourceRanges, prefix.Masked())
		}
	}
	if svc.Spec.SessionAffinity == corev1.ServiceAffinityClientIP {
		out.Affinity = corev1.DefaultClientIPServiceAffinitySeconds
		if c := svc.Spec.SessionAffinityConfig; c != nil && c.ClientIP != nil && c.ClientIP.TimeoutSeconds != nil {
			out.Affinity = *c.ClientIP.TimeoutSeconds
		}
	}
	all := endpoints(p, from)
	out.Endpoints = usable(all)
	out.Local = usable(slices.DeleteFunc(slices.Clone(all), func(e candidate) bool { return e.Node != node }))
	return out
}

func addresses(list []string) (out []netip.Addr) {
	for _, s := range list {
		if ip, err := netip.ParseAddr(s); err == nil && ip.Is4() {
			out = append(out, ip)
		}
	}
	return out
}

// candidate is an endpoint before it is decided which are used.
type candidate struct {
	Endpoint
	ready, serving bool
}

func endpoints(p *corev1.ServicePort, from []*discoveryv1.EndpointSlice) []candidate {
	seen := map[netip.AddrPort]bool{}
	var out []candidate
	for _, s := range from {
		number, ok := slicePort(s, p)
		if !ok {
			continue
		}
		for _, e := range s.Endpoints {
			for _, ip := range addresses(e.Addresses) {
				at := netip.AddrPortFrom(ip, uint16(number))
				if seen[at] {
					continue
				}
				seen[at] = true
				c := candidate{
					Endpoint: Endpoint{Addr: at, Terminating: e.Conditions.Terminating != nil && *e.Conditions.Terminating},
					ready:    e.Conditions.Ready == nil || *e.Conditions.Ready,
				}
				c.serving = c.ready
				if e.Conditions.Serving != nil {
					c.serving = *e.Conditions.Serving
				}
				if e.NodeName != nil {
					c.Node = *e.NodeName
				}
				out = append(out, c)
			}
		}
	}
	slices.SortFunc(out, func(a, b candidate) int { return a.Addr.Compare(b.Addr) })
	return out
}

func slicePort(s *discoveryv1.EndpointSlice, p *corev1.ServicePort) (int32, bool) {
	for _, sp := range s.Ports {
		name, protocol := "", corev1.ProtocolTCP
		if sp.Name != nil {
			name = *sp.Name
		}
		if sp.Protocol != nil {
			protocol = *sp.Protocol
		}
		if name == p.Name && sp.Port != nil && (protocol == p.Protocol || p.Protocol == "") {
			return *sp.Port, true
		}
	}
	return 0, false
}

// usable picks the ready endpoints or, when there are none, those that still
// serve while they end.
func usable(all []candidate) []Endpoint {
	var ready, ending []Endpoint
	for _, c := range all {
		switch {
		case c.ready:
			ready = append(ready, c.Endpoint)
		case c.serving && c.Terminating:
			ending = append(ending, c.Endpoint)
		}
	}
	if len(ready) > 0 {
		return ready
	}
	return ending
}

// ID is the port's name in comments and chains: namespace/name:port.
func (p *Port) ID() string {
	id := p.Namespace + "/" + p.Name
	if p.PortName != "" {
		id += ":" + p.PortName
	}
	return id
}

// Internal are the endpoints for traffic from within the cluster.
func (p *Port) Internal() []Endpoint {
	if p.InternalLocal {
		return p.Local
	}
	return p.Endpoints
}

// FromOutside are the endpoints for traffic by node ports and external
// addresses.
func (p *Port) FromOutside() []Endpoint {
	if p.ExternalLocal {
		return p.Local
	}
	return p.Endpoints
}

// Exposed tells whether traffic from outside the cluster is served.
func (p *Port) Exposed() bool { return p.NodePort != 0 || len(p.External) > 0 }
