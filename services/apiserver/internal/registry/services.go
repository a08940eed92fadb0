package registry

import (
	"context"
	"fmt"
	"math/big"
	"math/rand/v2"
	"net/netip"
	"strings"
	"sync"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/cache"
)

// Services gives Services their cluster addresses and node ports. What is
// taken is known from the Services themselves, so nothing is stored beside
// them; reservations of writes under way are held until these fail or show up.
type Services struct {
	network netip.Prefix
	ports   utilnet.PortRange

	mu        sync.Mutex
	addresses map[netip.Addr]types.UID
	nodePorts map[nodePort]types.UID
	held      map[types.UID]*corev1.Service // what each Service holds, as last seen
}

type nodePort struct {
	protocol corev1.Protocol
	port     int32
}

// NewServices returns an allocator of an IPv4 network and a range of ports.
func NewServices(network netip.Prefix, ports utilnet.PortRange) *Services {
	return &Services{
		network: network.Masked(), ports: ports,
		addresses: map[netip.Addr]types.UID{}, nodePorts: map[nodePort]types.UID{}, held: map[types.UID]*corev1.Service{},
	}
}

// Observe follows the Services in the cache; call it before the cache runs.
func (s *Services) Observe(c *cache.Cache) {
	c.Observe(kinds.For[*corev1.Service](), func(i *cache.Item, gone bool) {
		svc := i.Object().(*corev1.Service)
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forget(svc.UID)
		if !gone {
			s.remember(svc)
		}
	})
}

func (s *Services) remember(svc *corev1.Service) {
	s.held[svc.UID] = svc
	for _, ip := range addressesOf(svc) {
		s.addresses[ip] = svc.UID
	}
	for _, p := range nodePortsOf(svc) {
		s.nodePorts[p] = svc.UID
	}
}

func (s *Services) forget(uid types.UID) {
	svc := s.held[uid]
	if svc == nil {
		return
	}
	delete(s.held, uid)
	for _, ip := range addressesOf(svc) {
		if s.addresses[ip] == uid {
			delete(s.addresses, ip)
		}
	}
	for _, p := range nodePortsOf(svc) {
		if s.nodePorts[p] == uid {
			delete(s.nodePorts, p)
		}
	}
}

func addressesOf(svc *corev1.Service) (out []netip.Addr) {
	for _, ip := range svc.Spec.ClusterIPs {
		if a, err := netip.ParseAddr(ip); err == nil {
			out = append(out, a)
		}
	}
	return out
}

func nodePortsOf(svc *corev1.Service) (out []nodePort) {
	for _, p := range svc.Spec.Ports {
		if p.NodePort != 0 {
			out = append(out, nodePort{p.Protocol, p.NodePort})
		}
	}
	if svc.Spec.HealthCheckNodePort != 0 {
		out = append(out, nodePort{corev1.ProtocolTCP, svc.Spec.HealthCheckNodePort})
	}
	return out
}

// allocate fills in what a Service leaves to the server and reserves what it
// names itself. release gives back what this call reserved.
func (s *Services) allocate(_ context.Context, w *write, obj, old kinds.Object) (release func(), err error) {
	svc, ok := obj.(*corev1.Service)
	if !ok || w.subresource != "" {
		return func() {}, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	a := &allocation{services: s, svc: svc}
	if before, ok := old.(*corev1.Service); ok {
		a.old = before
	}
	errs := a.clusterIP()
	errs = append(errs, a.ports()...)
	if len(errs) > 0 {
		a.undo()
		return nil, apierrors.NewInvalid(w.kind.GroupVersionKind().GroupKind(), svc.Name, errs)
	}
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		a.undo()
	}, nil
}

// release gives a removed Service's reservations back before the cache shows
// that it went.
func (s *Services) release(_ *kinds.Kind, obj kinds.Object) {
	if svc, ok := obj.(*corev1.Service); ok {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.forget(svc.UID)
	}
}

// allocation is what one write reserves.
type allocation struct {
	services  *Services
	svc, old  *corev1.Service
	addresses []netip.Addr
	taken     []nodePort
}

func (a *allocation) undo() {
	for _, ip := range a.addresses {
		if a.services.addresses[ip] == a.svc.UID {
			delete(a.services.addresses, ip)
		}
	}
	for _, p := range a.taken {
		if a.services.nodePorts[p] == a.svc.UID {
			delete(a.services.nodePorts, p)
		}
	}
}

func (a *allocation) clusterIP() field.ErrorList {
	spec := &a.svc.Spec
	if spec.Type == corev1.ServiceTypeExternalName {
		return nil
	}
	if spec.ClusterIP == "" && len(spec.ClusterIPs) > 0 {
		spec.ClusterIP = spec.ClusterIPs[0]
	}
	if spec.ClusterIP == "" {
		ip, ok := a.free()
		if !ok {
			return field.ErrorList{field.InternalError(field.NewPath("spec", "clusterIPs"), fmt.Errorf("failed to allocate a serviceIP: range is full"))}
		}
		spec.ClusterIP = ip.String()
		a.take(ip)
	} else if spec.ClusterIP != corev1.ClusterIPNone {
		if err := a.reserve(spec.ClusterIP); err != nil {
			return field.ErrorList{field.Invalid(field.NewPath("spec", "clusterIPs"), []string{spec.ClusterIP}, err.Error())}
		}
	}
	if len(spec.ClusterIPs) == 0 {
		spec.ClusterIPs = []string{spec.ClusterIP}
	}
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{corev1.IPv4Protocol}
	}
	if spec.IPFamilyPolicy == nil {
		spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicySingleStack)
	}
	return nil
}

func (a *allocation) take(ip netip.Addr) {
	a.services.addresses[ip] = a.svc.UID
	a.addresses = append(a.addresses, ip)
}

func (a *allocation) reserve(address string) error {
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return nil // validation says what is wrong with it
	}
	owner, taken := a.services.addresses[ip]
	switch {
	case taken && owner == a.svc.UID:
		return nil
	case taken:
		return fmt.Errorf("failed to allocate IP %s: provided IP is already allocated", ip)
	case !a.services.network.Contains(ip):
		return fmt.Errorf("failed to allocate IP %s: the provided network does not match the current range", ip)
	}
	a.take(ip)
	return nil
}

// free picks an address at random, and then the next free one. Like upstream
// it leaves the lower part of the network to those who name an address.
func (a *allocation) free() (netip.Addr, bool) {
	network := a.services.network
	hosts := new(big.Int).Lsh(big.NewInt(1), uint(network.Addr().BitLen()-network.Bits()))
	size := int64(1 << 16)
	if hosts.IsInt64() {
		size = min(size, hosts.Int64())
	}
	low := min(max(16, size/16), 256, size/2)
	start := low + rand.Int64N(max(size-low-1, 1))
	for n := range size - 2 {
		offset := low + (start-low+n)%max(size-low-1, 1)
		if n >= size-low-1 {
			offset = size - 1 - n // the lower part, when nothing else is left
		}
		if ip := add(network.Addr(), offset); offset > 0 {
			if _, taken := a.services.addresses[ip]; !taken {
				return ip, true
			}
		}
	}
	return netip.Addr{}, false
}

func add(base netip.Addr, n int64) netip.Addr {
	b := base.AsSlice()
	sum := new(big.Int).Add(new(big.Int).SetBytes(b), big.NewInt(n))
	ip, _ := netip.AddrFromSlice(sum.FillBytes(make([]byte, len(b))))
	return ip
}

func needsNodePorts(svc *corev1.Service) bool {
	switch svc.Spec.Type {
	case corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeLoadBalancer:
		return svc.Spec.AllocateLoadBalancerNodePorts == nil || *svc.Spec.AllocateLoadBalancerNodePorts
	}
	return false
}

func (a *allocation) ports() (errs field.ErrorList) {
	if a.old != nil && !needsNodePorts(a.svc) && needsNodePorts(a.old) {
		a.dropPorts()
	}
	path := field.NewPath("spec", "ports")
	for i := range a.svc.Spec.Ports {
		p := &a.svc.Spec.Ports[i]
		switch {
		case p.NodePort != 0:
			if reason := a.reservePort(nodePort{p.Protocol, p.NodePort}); reason != "" {
				errs = append(errs, field.Invalid(path.Index(i).Child("nodePort"), p.NodePort, reason))
			}
		case needsNodePorts(a.svc):
			free, ok := a.freePort(p)
			if !ok {
				errs = append(errs, field.InternalError(path.Index(i).Child("nodePort"), fmt.Errorf("failed to allocate a nodePort: range is full")))
				continue
			}
			p.NodePort = free
		}
	}
	return append(errs, a.healthCheckPort()...)
}

// dropPorts takes away the ports that a Service keeps from its former type,
// unless the client names new ones.
func (a *allocation) dropPorts() {
	before := map[int32]bool{}
	for _, p := range a.old.Spec.Ports {
		before[p.NodePort] = true
	}
	for i := range a.svc.Spec.Ports {
		if before[a.svc.Spec.Ports[i].NodePort] {
			a.svc.Spec.Ports[i].NodePort = 0
		}
	}
}

func (a *allocation) healthCheckPort() field.ErrorList {
	spec := &a.svc.Spec
	if spec.Type != corev1.ServiceTypeLoadBalancer || spec.ExternalTrafficPolicy != corev1.ServiceExternalTrafficPolicyLocal {
		return nil
	}
	path := field.NewPath("spec", "healthCheckNodePort")
	if spec.HealthCheckNodePort != 0 {
		if reason := a.reservePort(nodePort{corev1.ProtocolTCP, spec.HealthCheckNodePort}); reason != "" {
			return field.ErrorList{field.Invalid(path, spec.HealthCheckNodePort, reason)}
		}
		return nil
	}
	free, ok := a.freePort(&corev1.ServicePort{Protocol: corev1.ProtocolTCP})
	if !ok {
		return field.ErrorList{field.InternalError(path, fmt.Errorf("failed to allocate a nodePort: range is full"))}
	}
	spec.HealthCheckNodePort = free
	return nil
}

func (a *allocation) reservePort(p nodePort) (reason string) {
	owner, taken := a.services.nodePorts[p]
	switch {
	case taken && owner == a.svc.UID:
		return ""
	case taken:
		return "provided port is already allocated"
	case !a.services.ports.Contains(int(p.port)):
		return "provided port is not in the valid range. The range of valid ports is " + strings.TrimSpace(a.services.ports.String())
	}
	a.services.nodePorts[p] = a.svc.UID
	a.taken = append(a.taken, p)
	return ""
}

// freePort prefers a port that this Service already has for another protocol,
// as upstream does.
func (a *allocation) freePort(p *corev1.ServicePort) (int32, bool) {
	for _, other := range a.svc.Spec.Ports {
		if other.Port == p.Port && other.NodePort != 0 && other.Protocol != p.Protocol && a.reservePort(nodePort{p.Protocol, other.NodePort}) == "" {
			return other.NodePort, true
		}
	}
	start := rand.IntN(a.services.ports.Size)
	for n := range a.services.ports.Size {
		port := nodePort{p.Protocol, int32(a.services.ports.Base + (start+n)%a.services.ports.Size)}
		if _, taken := a.services.nodePorts[port]; taken {
			continue
		}
		if a.reservePort(port) == "" {
			return port.port, true
		}
	}
	return 0, false
}
