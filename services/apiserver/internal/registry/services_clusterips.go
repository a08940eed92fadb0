package registry

import (
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const alreadyAllocated = "provided IP is already allocated"

var clusterIPsPath = field.NewPath("spec", "clusterIPs")

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
	named := spec.ClusterIPs[index]
	if named == "" {
		ip, err := a.choose(index, family)
		if err == nil {
			a.addresses = append(a.addresses, takenAddress{ip: ip, index: index, chosen: true})
		}
		return err
	}
	ip, err := netip.ParseAddr(named)
	if err != nil {
		return nil // validation says what is wrong with it
	}
	t := takenAddress{ip: ip, index: index}
	if reason := a.reserve(ip, family); reason != "" {
		return a.refuseAddress(t, reason)
	}
	a.addresses = append(a.addresses, t)
	return nil
}

// refuseAddress says why a Service cannot have an address.
func (a *allocation) refuseAddress(t takenAddress, reason string) error {
	which := "IP " + a.svc.Spec.ClusterIPs[t.index]
	if t.chosen {
		a.setIP(t.index, "")
		which = "IP"
	}
	return a.invalid(clusterIPsPath, a.svc.Spec.ClusterIPs, fmt.Sprintf("failed to allocate %s: %s", which, reason))
}

// choose takes a free address and puts it into the Service.
func (a *allocation) choose(index int, family corev1.IPFamily) (netip.Addr, error) {
	for _, p := range a.services.given[family] {
		ip, ok := a.services.free(p)
		if !ok {
			continue
		}
		if a.svc.Name == "" && !a.dryRun {
			t := takenAddress{ip: ip, index: index, chosen: true}
			return ip, a.refuseAddress(t, fmt.Sprintf("IPAddress.networking.k8s.io %q is invalid: spec.parentRef.name: Required value", ip))
		}
		if !a.dryRun {
			a.services.addresses[ip] = a.svc.UID
		}
		a.setIP(index, ip.String())
		return ip, nil
	}
	a.scarce = true
	return netip.Addr{}, apierrors.NewInternalError(fmt.Errorf("failed to allocate a serviceIP for Service %q: range is full", a.svc.Name))
}

func (a *allocation) setIP(index int, ip string) {
	a.svc.Spec.ClusterIPs[index] = ip
	if index == 0 {
		a.svc.Spec.ClusterIP = ip
	}
}

// reserve takes an address that a client names. A dry run takes nothing, and
// does not mind whether it is taken.
func (a *allocation) reserve(ip netip.Addr, family corev1.IPFamily) (refusal string) {
	s := a.services
	switch in := slices.ContainsFunc(s.given[family], func(p netip.Prefix) bool { return contains(p, ip) }); {
	case !in && a.dryRun && len(s.given[family]) > 0:
		return fmt.Sprintf("the provided IP (%v) is not in the valid range. The range of valid IPs is %s", ip, s.given[family][0])
	case !in:
		return "the provided network does not match the current range"
	case a.dryRun:
		return ""
	case s.isTaken(ip):
		a.scarce = true
		return alreadyAllocated
	}
	s.addresses[ip] = a.svc.UID
	return ""
}

// exchangeAddress gives up an address that turned out to be somebody's, and
// takes another one.
func (a *allocation) exchangeAddress(t *takenAddress) error {
	s := a.services
	s.mu.Lock()
	defer s.mu.Unlock()
	giveBack(s.addresses, t.ip, a.svc.UID)
	s.lost[t.ip] = true
	if !t.chosen {
		return a.refuseAddress(*t, alreadyAllocated)
	}
	ip, err := a.choose(t.index, familyOf(t.ip))
	t.ip, t.value, a.exchanged = ip, nil, true
	return err
}

// exchangeAddresses takes others for the addresses whose writes were stale,
// which come first.
func (a *allocation) exchangeAddresses(stale []bool) error {
	for i := range a.addresses {
		if stale[i] {
			if err := a.exchangeAddress(&a.addresses[i]); err != nil {
				return err
			}
		}
	}
	return nil
}
