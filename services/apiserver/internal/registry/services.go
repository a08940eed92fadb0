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

// Services gives Services their cluster addresses and node ports. An address
// is recorded as an IPAddress, which is written with its Service in one
// transaction; what is taken is known from the cache, and from what is held for
// writes under way until these fail or show up.
type Services struct {
	networks []netip.Prefix
	ports    utilnet.PortRange
	refuses  func(svc, old *corev1.Service) field.ErrorList

	mu        sync.Mutex
	ranges    map[string]serviceRange       // by the name of the ServiceCIDR
	objects   map[netip.Addr]addressObject  // the IPAddresses
	addresses map[netip.Addr]types.UID      // whose Service has or will have an address
	nodePorts map[int32]types.UID           // and a port, of whatever protocol
	held      map[types.UID]*corev1.Service // the Services, as last seen
	byName    map[types.NamespacedName]types.UID
	lost      map[netip.Addr]bool // found taken by another server, and not seen yet
	changed   chan struct{}       // tells repair to look
}

// NewServices returns an allocator of one network, or one of each family, and
// a range of ports. Refuses says what of a Service's families the cluster
// cannot give; it is asked first.
func NewServices(networks []netip.Prefix, ports utilnet.PortRange, refuses func(svc, old *corev1.Service) field.ErrorList) *Services {
	s := &Services{
		ports: ports, refuses: refuses, ranges: map[string]serviceRange{}, objects: map[netip.Addr]addressObject{},
		addresses: map[netip.Addr]types.UID{}, nodePorts: map[int32]types.UID{}, held: map[types.UID]*corev1.Service{},
		byName: map[types.NamespacedName]types.UID{}, lost: map[netip.Addr]bool{}, changed: make(chan struct{}, 1),
	}
	for _, n := range networks {
		s.networks = append(s.networks, n.Masked())
	}
	return s
}

// Observe follows the cache; call it before the cache runs.
func (s *Services) Observe(c *cache.Cache) {
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
	s.held[svc.UID] = svc
	s.byName[types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}] = svc.UID
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
	if name := (types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}); s.byName[name] == uid {
		delete(s.byName, name)
	}
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
	if svc.Spec.Type == corev1.ServiceTypeExternalName {
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
func (s *Services) allocate(_ context.Context, w *write, obj, old kinds.Object) (release func(), err error) {
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
	s.mu.Lock()
	defer s.mu.Unlock()
	if err = a.clusterIPs(); err == nil {
		err = a.ports()
	}
	if err != nil {
		a.undo()
		return nil, err
	}
	w.allocation = a
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		a.undo()
	}, nil
}

// release gives a removed Service's reservations back before the cache shows
// that it went.
func (s *Services) release(_ *kinds.Kind, obj kinds.Object) {
	svc, ok := obj.(*corev1.Service)
	if !ok {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, ip := range s.recorded(svc, addressesOf(svc)) {
		delete(s.objects, ip)
	}
	s.forget(svc.UID)
}

// allocation is what one write takes and gives back.
type allocation struct {
	services *Services
	svc, old *corev1.Service
	dryRun   bool
	// taken are the addresses to be recorded, dropped those that no longer are.
	taken   []takenAddress
	dropped []netip.Addr
	numbers []int32
}

// takenAddress is an address at an index of clusterIPs. One that the server
// chose can be exchanged for another.
type takenAddress struct {
	ip     netip.Addr
	index  int
	chosen bool
}

func (a *allocation) undo() {
	for _, t := range a.taken {
		a.services.giveBack(t.ip, a.svc.UID)
	}
	for _, p := range a.numbers {
		if a.services.nodePorts[p] == a.svc.UID {
			delete(a.services.nodePorts, p)
		}
	}
	a.taken, a.numbers = nil, nil
}

func (s *Services) giveBack(ip netip.Addr, uid types.UID) {
	if s.addresses[ip] == uid {
		delete(s.addresses, ip)
	}
}

func (a *allocation) invalid(p *field.Path, value any, reason string) error {
	k := kinds.For[*corev1.Service]().GroupVersionKind().GroupKind()
	return apierrors.NewInvalid(k, a.svc.Name, field.ErrorList{field.Invalid(p, value, reason)})
}
