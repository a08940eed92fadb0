package registry

import (
	"encoding/binary"
	"maps"
	"math"
	"math/bits"
	"math/rand/v2"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
)

// defaultRange is the ServiceCIDR of the networks that the server was started
// with.
const defaultRange = "kubernetes"

// serviceRange is a ServiceCIDR. Addresses are given out of those that are
// ready.
type serviceRange struct {
	prefixes []netip.Prefix
	ready    bool
	// reported tells that somebody said whether it is ready.
	reported bool
	uid      types.UID
}

func (s *Services) observeRange(r *networkingv1.ServiceCIDR, gone bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.look()
	defer s.arrange()
	if gone {
		delete(s.ranges, r.Name)
		return
	}
	// Without a controller that says otherwise a range is ready.
	c := apimeta.FindStatusCondition(r.Status.Conditions, networkingv1.ServiceCIDRConditionReady)
	out := serviceRange{ready: r.DeletionTimestamp == nil && (c == nil || c.Status == metav1.ConditionTrue), reported: c != nil, uid: r.UID}
	for _, text := range r.Spec.CIDRs {
		if p, err := netip.ParsePrefix(text); err == nil {
			out.prefixes = append(out.prefixes, p.Masked())
		}
	}
	s.ranges[r.Name] = out
}

// familyNetworks are networks by their family, the server's own first.
type familyNetworks map[corev1.IPFamily][]netip.Prefix

func (f familyNetworks) add(list []netip.Prefix) {
	for _, p := range list {
		if family := familyOf(p.Addr()); !slices.Contains(f[family], p) {
			f[family] = append(f[family], p)
		}
	}
}

// arrange says anew what networks there are. Until the cluster's first range is
// there, the server's own stand for it.
func (s *Services) arrange() {
	s.given, s.known = familyNetworks{}, familyNetworks{}
	names := slices.Sorted(maps.Keys(s.ranges))
	if i := slices.Index(names, defaultRange); i >= 0 {
		names = slices.Insert(slices.Delete(names, i, i+1), 0, defaultRange)
	} else {
		s.given.add(s.networks)
		s.known.add(s.networks)
	}
	for _, name := range names {
		r := s.ranges[name]
		s.known.add(r.prefixes)
		if r.ready {
			s.given.add(r.prefixes)
		}
	}
}

func familyOf(ip netip.Addr) corev1.IPFamily {
	if ip.Is4() {
		return corev1.IPv4Protocol
	}
	return corev1.IPv6Protocol
}

// hosts are the first and the last address of a network that a Service can
// have: not the network's own, nor IPv4's broadcast address.
func hosts(p netip.Prefix) (first, last netip.Addr) {
	first = p.Addr().Next()
	b := p.Addr().AsSlice()
	for i := p.Bits(); i < len(b)*8; i++ {
		b[i/8] |= 0x80 >> (i % 8)
	}
	last, _ = netip.AddrFromSlice(b)
	if p.Addr().Is4() {
		last = last.Prev()
	}
	return first, last
}

// contains tells whether a network has an address to give.
func contains(p netip.Prefix, ip netip.Addr) bool {
	first, last := hosts(p)
	return p.Contains(ip) && first.Compare(ip) <= 0 && ip.Compare(last) <= 0
}

// free picks an address of a network at random, and then the next free one. As
// upstream it leaves the lower part to those who name an address.
func (s *Services) free(p netip.Prefix) (netip.Addr, bool) {
	first, last := hosts(p)
	if !first.IsValid() || !last.IsValid() || last.Less(first) {
		return netip.Addr{}, false
	}
	offset := lowerPart(p)
	middle := plus(first, offset)
	if ip, ok := s.freeBetween(middle, last); ok || offset == 0 {
		return ip, ok
	}
	return s.freeBetween(first, middle.Prev())
}

// lowerPart is how many addresses are given out only when nothing else is left.
func lowerPart(p netip.Prefix) uint64 {
	const least, most, part = 16, 256, 16
	host := p.Addr().BitLen() - p.Bits()
	if host > 32 {
		return most
	}
	size := uint64(1) << host
	if size <= least {
		return 0
	}
	return min(max(size/part, least), most)
}

func (s *Services) freeBetween(first, last netip.Addr) (netip.Addr, bool) {
	if last.Less(first) {
		return netip.Addr{}, false
	}
	span := distance(first, last)
	start := rand.Uint64()
	if span < math.MaxUint64 {
		start = rand.Uint64N(span + 1)
	}
	ip := plus(first, start)
	for n := uint64(0); ; n++ {
		if !s.isTaken(ip) {
			return ip, true
		}
		if n == span {
			return netip.Addr{}, false
		}
		if ip == last {
			ip = first
		} else {
			ip = ip.Next()
		}
	}
}

func (s *Services) isTaken(ip netip.Addr) bool {
	_, has := s.addresses[ip]
	_, recorded := s.objects[ip]
	return has || recorded || s.lost[ip]
}

// halves are an address as a number.
func halves(ip netip.Addr) (high, low uint64) {
	b := ip.As16()
	return binary.BigEndian.Uint64(b[:8]), binary.BigEndian.Uint64(b[8:])
}

// plus is the address n after another.
func plus(ip netip.Addr, n uint64) netip.Addr {
	high, low := halves(ip)
	low, carry := bits.Add64(low, n, 0)
	var b [16]byte
	binary.BigEndian.PutUint64(b[:8], high+carry)
	binary.BigEndian.PutUint64(b[8:], low)
	out := netip.AddrFrom16(b)
	if ip.Is4() {
		return out.Unmap()
	}
	return out
}

// distance is how far apart two addresses are; more than 64 bits count as the
// most that there is.
func distance(a, b netip.Addr) uint64 {
	highA, lowA := halves(a)
	highB, lowB := halves(b)
	low, borrow := bits.Sub64(lowB, lowA, 0)
	if highB-highA-borrow > 0 {
		return math.MaxUint64
	}
	return low
}
