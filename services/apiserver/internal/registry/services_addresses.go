package registry

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// allocatorName marks the IPAddresses that are made here; it is upstream's.
const allocatorName = "ipallocator.k8s.io"

var clusterIPsPath = field.NewPath("spec", "clusterIPs")

// addressObject is an IPAddress.
type addressObject struct {
	parent  networkingv1.ParentReference
	uid     types.UID
	managed bool // made by an allocator of Services
	labeled bool // and labelled as such an allocator does
	created metav1.Time
}

func (s *Services) observeAddress(o *networkingv1.IPAddress, gone bool) {
	ip, err := netip.ParseAddr(o.Name)
	if err != nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	defer s.look()
	delete(s.lost, ip)
	if gone {
		if s.objects[ip].uid == o.UID {
			delete(s.objects, ip)
		}
		return
	}
	a := addressObject{uid: o.UID, created: o.CreationTimestamp, managed: o.Labels[networkingv1.LabelManagedBy] == allocatorName}
	a.labeled = a.managed && o.Labels[networkingv1.LabelIPAddressFamily] == string(familyOf(ip))
	if o.Spec.ParentRef != nil {
		a.parent = *o.Spec.ParentRef
	}
	s.objects[ip] = a
}

// parentOf is how an IPAddress names its Service.
func parentOf(svc *corev1.Service) networkingv1.ParentReference {
	return networkingv1.ParentReference{Resource: "services", Namespace: svc.Namespace, Name: svc.Name}
}

// newAddress is the IPAddress of a Service's address.
func newAddress(ip netip.Addr, svc *corev1.Service) *networkingv1.IPAddress {
	parent := parentOf(svc)
	return &networkingv1.IPAddress{
		ObjectMeta: metav1.ObjectMeta{Name: ip.String(), Labels: map[string]string{
			networkingv1.LabelIPAddressFamily: string(familyOf(ip)), networkingv1.LabelManagedBy: allocatorName,
		}},
		Spec: networkingv1.IPAddressSpec{ParentRef: &parent},
	}
}

// recorded keeps of addresses those whose IPAddress is the Service's.
func (s *Services) recorded(svc *corev1.Service, list []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(list), func(ip netip.Addr) bool {
		o, ok := s.objects[ip]
		return !ok || o.parent != parentOf(svc)
	})
}

func headless(svc *corev1.Service) bool {
	return len(svc.Spec.ClusterIPs) > 0 && svc.Spec.ClusterIPs[0] == corev1.ClusterIPNone || svc.Spec.ClusterIP == corev1.ClusterIPNone
}

func external(svc *corev1.Service) bool { return svc.Spec.Type == corev1.ServiceTypeExternalName }

// clusterIPs takes the addresses of a new Service, and those by which an update
// changes what it has: by another type, or by one family more or less.
func (a *allocation) clusterIPs() error {
	spec := &a.svc.Spec
	if a.old == nil || external(a.old) {
		if external(a.svc) || headless(a.svc) {
			return nil
		}
		for len(spec.ClusterIPs) < len(spec.IPFamilies) {
			spec.ClusterIPs = append(spec.ClusterIPs, "")
		}
		for i, family := range spec.IPFamilies {
			if err := a.clusterIP(i, family); err != nil {
				return err
			}
		}
		return nil
	}
	was := &a.old.Spec
	switch {
	case headless(a.old) || a.keepsPreference():
	case external(a.svc):
		a.dropped = a.services.recorded(a.old, addressesOf(a.old))
	case len(was.IPFamilies) == 1 && len(spec.IPFamilies) == 2:
		if len(spec.ClusterIPs) < 2 {
			spec.ClusterIPs = append(slices.Clone(spec.ClusterIPs), "")
		}
		return a.clusterIP(1, spec.IPFamilies[1])
	case len(was.IPFamilies) == 2 && len(spec.IPFamilies) == 1 && len(was.ClusterIPs) == 2:
		if ip, err := netip.ParseAddr(was.ClusterIPs[1]); err == nil {
			a.dropped = a.services.recorded(a.old, []netip.Addr{ip})
		}
	}
	return nil
}

// keepsPreference: a Service that prefers two families keeps what it has until
// somebody asks for something else.
func (a *allocation) keepsPreference() bool {
	prefers := func(p *corev1.IPFamilyPolicy) bool { return p != nil && *p == corev1.IPFamilyPolicyPreferDualStack }
	is, was := &a.svc.Spec, &a.old.Spec
	return is.Type == was.Type && prefers(is.IPFamilyPolicy) && (was.IPFamilyPolicy == nil || prefers(was.IPFamilyPolicy)) &&
		slices.Equal(is.ClusterIPs, was.ClusterIPs) && slices.Equal(is.IPFamilies, was.IPFamilies)
}

// clusterIP takes the address at an index: the one that is there, or a free
// one. Of a family that the cluster does not have nothing is taken, and
// validation says why it cannot be had.
func (a *allocation) clusterIP(index int, family corev1.IPFamily) error {
	spec := &a.svc.Spec
	if !slices.ContainsFunc(a.services.networks, func(p netip.Prefix) bool { return familyOf(p.Addr()) == family }) {
		return nil
	}
	if named := spec.ClusterIPs[index]; named != "" {
		ip, err := netip.ParseAddr(named)
		if err != nil {
			return nil // validation says what is wrong with it
		}
		if reason := a.reserve(ip, family); reason != "" {
			return a.invalid(clusterIPsPath, spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: %s", named, reason))
		}
		a.taken = append(a.taken, takenAddress{ip: ip, index: index})
		return nil
	}
	return a.choose(index, family)
}

func (a *allocation) choose(index int, family corev1.IPFamily) error {
	for _, p := range a.services.prefixes(family, false) {
		if ip, ok := a.services.free(p); ok {
			if a.svc.Name == "" && !a.dryRun {
				return a.invalid(clusterIPsPath, a.svc.Spec.ClusterIPs, fmt.Sprintf(
					"failed to allocate IP: IPAddress.networking.k8s.io %q is invalid: spec.parentRef.name: Required value", ip))
			}
			a.services.addresses[ip] = a.svc.UID
			a.taken = append(a.taken, takenAddress{ip: ip, index: index, chosen: true})
			a.set(index, ip)
			return nil
		}
	}
	return apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP for Service %q: range is full", a.svc.Name))
}

func (a *allocation) set(index int, ip netip.Addr) {
	a.svc.Spec.ClusterIPs[index] = ip.String()
	if index == 0 {
		a.svc.Spec.ClusterIP = ip.String()
	}
}

const alreadyAllocated = "provided IP is already allocated"

// reserve takes an address that a client names. A dry run takes nothing, and
// does not mind whether it is taken.
func (a *allocation) reserve(ip netip.Addr, family corev1.IPFamily) (refusal string) {
	ready := a.services.prefixes(family, false)
	switch in := slices.ContainsFunc(ready, func(p netip.Prefix) bool { return contains(p, ip) }); {
	case !in && a.dryRun && len(ready) > 0:
		return fmt.Sprintf("the provided IP (%v) is not in the valid range. The range of valid IPs is %s", ip, ready[0])
	case !in:
		return "the provided network does not match the current range"
	case a.dryRun:
		return ""
	case a.services.isTaken(ip):
		return alreadyAllocated
	}
	a.services.addresses[ip] = a.svc.UID
	return ""
}
