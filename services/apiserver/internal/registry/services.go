package registry

import (
	"context"
	"net/netip"
	"sync"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/cache"
)

// Services gives Services their cluster addresses and node ports. What is taken
// is known from the cache, and from what is held for writes under way until
// these fail or show up; but etcd decides. An address is recorded as an
// IPAddress, a port in the record of all ports, and either is written with its
// Service in one transaction that another server's makes fail.
type Services struct {
	networks []netip.Prefix
	ports    utilnet.PortRange
	refuses  func(svc, old *corev1.Service) field.ErrorList
	fresh    func(context.Context) error // makes what is known as new as etcd
	portTurn chan struct{}               // held by who changes the record of ports
	changed  chan struct{}               // tells repair to look

	mu        sync.Mutex
	ranges    map[string]serviceRange // by the name of the ServiceCIDR
	given     familyNetworks          // of the ranges that addresses are given out of
	known     familyNetworks          // of all ranges
	objects   map[netip.Addr]addressObject
	addresses map[netip.Addr]types.UID      // whose Service has or will have an address
	nodePorts map[int32]types.UID           // and a port, of whatever protocol
	services  map[types.UID]*corev1.Service // as last seen
	byName    map[types.NamespacedName]types.UID
	lost      map[netip.Addr]bool // found taken by another server, and not seen yet
	record    *portRecord         // as last seen; nil if that is not known
}

// NewServices returns an allocator of one network, or one of each family, and
// a range of ports. Refuses says what of a Service's families the cluster
// cannot give; it is asked first.
func NewServices(networks []netip.Prefix, ports utilnet.PortRange, refuses func(svc, old *corev1.Service) field.ErrorList) *Services {
	s := &Services{
		ports: ports, refuses: refuses, ranges: map[string]serviceRange{}, objects: map[netip.Addr]addressObject{},
		addresses: map[netip.Addr]types.UID{}, nodePorts: map[int32]types.UID{}, services: map[types.UID]*corev1.Service{},
		byName: map[types.NamespacedName]types.UID{}, lost: map[netip.Addr]bool{},
		fresh:    func(context.Context) error { return nil },
		portTurn: make(chan struct{}, 1), changed: make(chan struct{}, 1),
	}
	for _, n := range networks {
		s.networks = append(s.networks, n.Masked())
	}
	s.arrange()
	return s
}

// Observe follows the cache; call it before the cache runs.
func (s *Services) Observe(c *cache.Cache) {
	s.fresh = c.Fresh
	c.Observe(kinds.For[*corev1.Service](), func(i *cache.Item, gone bool) {
		s.observeService(i.Object().(*corev1.Service), gone)
	})
	c.Observe(kinds.For[*networkingv1.IPAddress](), func(i *cache.Item, gone bool) {
		s.observeAddress(i.Object().(*networkingv1.IPAddress), gone)
	})
	c.Observe(kinds.For[*networkingv1.ServiceCIDR](), func(i *cache.Item, gone bool) {
		s.observeRange(i.Object().(*networkingv1.ServiceCIDR), gone)
	})
}

func (s *Services) observeService(svc *corev1.Service, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget(svc.UID)
	if !gone {
		s.remember(svc)
	}
	s.look()
}

// look wakes the repair.
func (s *Services) look() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (s *Services) remember(svc *corev1.Service) {
	s.services[svc.UID] = svc
	s.byName[nameOf(svc)] = svc.UID
	for _, ip := range addressesOf(svc) {
		s.addresses[ip] = svc.UID
	}
	for _, p := range nodePortsOf(svc) {
		s.nodePorts[p] = svc.UID
	}
}

func (s *Services) forget(uid types.UID) {
	svc := s.services[uid]
	if svc == nil {
		return
	}
	delete(s.services, uid)
	if name := nameOf(svc); s.byName[name] == uid {
		delete(s.byName, name)
	}
	for _, ip := range addressesOf(svc) {
		giveBack(s.addresses, ip, uid)
	}
	for _, p := range nodePortsOf(svc) {
		giveBack(s.nodePorts, p, uid)
	}
}

// giveBack ends a reservation, unless it is another Service's by now.
func giveBack[K comparable](reserved map[K]types.UID, k K, uid types.UID) {
	if reserved[k] == uid {
		delete(reserved, k)
	}
}

func nameOf(svc *corev1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
}

func addressesOf(svc *corev1.Service) (out []netip.Addr) {
	if external(svc) {
		return nil
	}
	for _, ip := range svc.Spec.ClusterIPs {
		if a, err := netip.ParseAddr(ip); err == nil {
			out = append(out, a)
		}
	}
	return out
}

func nodePortsOf(svc *corev1.Service) (out []int32) {
	for _, p := range svc.Spec.Ports {
		if p.NodePort != 0 {
			out = append(out, p.NodePort)
		}
	}
	if svc.Spec.HealthCheckNodePort != 0 {
		out = append(out, svc.Spec.HealthCheckNodePort)
	}
	return out
}

// allocate fills in what a Service leaves to the server and holds what it names
// itself. release gives back what this call took.
func (s *Services) allocate(ctx context.Context, w *write, obj, old kinds.Object) (release func(), err error) {
	w.allocation = nil
	svc, ok := obj.(*corev1.Service)
	if !ok || w.subresource != "" {
		return func() {}, nil
	}
	a := &allocation{services: s, svc: svc, dryRun: w.options.DryRun}
	a.old, _ = old.(*corev1.Service)
	if s.refuses != nil {
		if errs := s.refuses(svc, a.old); len(errs) > 0 {
			return nil, apierrors.NewInvalid(w.groupKind(), svc.Name, errs)
		}
	}
	if err = a.take(); err != nil && a.scarce {
		if err := s.refresh(ctx); err != nil {
			return nil, err
		}
		err = a.take()
	}
	if err != nil {
		return nil, err
	}
	w.allocation = a
	return a.undo, nil
}

// refresh catches up with what other servers did: what is in the way may be
// gone, and not have been seen to go.
func (s *Services) refresh(ctx context.Context) error {
	if err := s.fresh(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	clear(s.lost)
	s.record = nil
	return nil
}

// release gives back what a removed Service had, before the cache shows that it
// went.
func (s *Services) release(a *allocation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ip := range a.dropped {
		delete(s.objects, ip)
	}
	s.forget(a.svc.UID)
}
