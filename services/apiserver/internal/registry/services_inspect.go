package registry

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/types"
)

const (
	// leakAfter is how long an IPAddress, or a port in the record, may be there
	// before its Service: upstream's servers write the one before the other.
	leakAfter = time.Minute
	// settleAfter is the same for an IPAddress of a Service that is there already.
	settleAfter = 5 * time.Second
)

// cure is what to do about something that was found.
type cure int

const (
	tell cure = iota
	record
	renew
	remove
	install // the first range
	confirm // that it is ready
)

// finding is something that is wrong with an address or a port.
type finding struct {
	svc    types.NamespacedName
	uid    types.UID // of the Service, or of the IPAddress that is removed
	name   string    // the address or port
	reason string
}

type found struct {
	finding
	cure    cure
	action  string
	message string
	// about is the object that the event is filed under; nil tells nobody.
	about *corev1.ObjectReference
}

// view is the state of a moment, which is looked at while writes go on.
type view struct {
	networks []netip.Prefix
	known    familyNetworks
	ranges   map[string]serviceRange
	objects  map[netip.Addr]addressObject
	services map[types.UID]*corev1.Service
	byName   map[types.NamespacedName]types.UID
}

func (s *Services) view() view {
	s.mu.Lock()
	defer s.mu.Unlock()
	return view{
		networks: s.networks, known: s.known, ranges: maps.Clone(s.ranges),
		objects: maps.Clone(s.objects), services: maps.Clone(s.services), byName: maps.Clone(s.byName),
	}
}

// named is the Service that an IPAddress names; nil if there is none.
func (v *view) named(p networkingv1.ParentReference) *corev1.Service {
	if p.Group != "" || p.Resource != "services" {
		return nil
	}
	return v.services[v.byName[types.NamespacedName{Namespace: p.Namespace, Name: p.Name}]]
}

// inspect holds Services, IPAddresses and ranges against one another. again is
// when something will be due that is not yet, if it is not 0.
func (v *view) inspect(now time.Time) (out []found, again time.Duration) {
	out = v.inspectRange()
	for _, svc := range v.services {
		for _, ip := range addressesOf(svc) {
			out = append(out, v.inspectAddress(svc, ip)...)
		}
	}
	for ip, o := range v.objects {
		f, wait := v.inspectObject(ip, o, now)
		out = append(out, f...)
		again = sooner(again, wait)
	}
	return out, again
}

func (v *view) inspectRange() []found {
	switch first, ok := v.ranges[defaultRange]; {
	case !ok:
		return []found{{cure: install, finding: finding{name: defaultRange}}}
	case !slices.Equal(first.prefixes, v.networks):
		return []found{{
			finding: finding{name: defaultRange, reason: "KubernetesDefaultServiceCIDRInconsistent"},
			message: fmt.Sprintf("The default ServiceCIDR %v does not match the controller flag configurations %v", first.prefixes, v.networks),
			about:   &corev1.ObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "ServiceCIDR", Name: defaultRange, UID: first.uid},
		}}
	case !first.reported:
		return []found{{cure: confirm, finding: finding{name: defaultRange}}}
	}
	return nil
}

// sooner is the shorter of two times to wait; 0 is none.
func sooner(a, b time.Duration) time.Duration {
	if a == 0 || b != 0 && b < a {
		return b
	}
	return a
}

func (v *view) inspectAddress(svc *corev1.Service, ip netip.Addr) []found {
	report := func(c cure, reason, format string, args ...any) []found {
		f := found{cure: c, finding: finding{svc: nameOf(svc), uid: svc.UID, name: ip.String(), reason: reason}, action: "ClusterIPAllocation"}
		if reason != "" {
			f.message, f.about = fmt.Sprintf(format, args...), referTo(svc)
		}
		return []found{f}
	}
	family := familyOf(ip)
	if !slices.ContainsFunc(v.known[family], func(p netip.Prefix) bool { return contains(p, ip) }) {
		return report(tell, "ClusterIPOutOfRange", "Cluster IP [%v]: %s is not within any configured Service CIDR; please recreate service", family, ip)
	}
	o, ok := v.objects[ip]
	if !ok {
		return report(record, "ClusterIPNotAllocated", "Cluster IP [%v]: %s is not allocated; repairing", family, ip)
	}
	if o.parent == parentOf(svc) {
		if !o.labeled {
			return report(renew, "", "")
		}
		return nil
	}
	switch other := v.named(o.parent); {
	case other == nil:
	case slices.Contains(addressesOf(other), ip):
		return report(tell, "ClusterIPAlreadyAllocated", "Cluster IP [%v]:%s was assigned to multiple services; please recreate service", family, ip)
	case o.labeled:
		return nil // the IPAddress goes first, as it is of no use to the other
	}
	return report(renew, "ClusterIPNotAllocated", "the ClusterIP [%v]: %s for Service %s/%s has a wrong reference; repairing", family, ip, svc.Namespace, svc.Name)
}

// inspectObject finds IPAddresses of an allocator's that no Service has.
func (v *view) inspectObject(ip netip.Addr, o addressObject, now time.Time) (out []found, wait time.Duration) {
	if !o.managed {
		return nil, 0
	}
	report := func(reason, message string) ([]found, time.Duration) {
		about := &corev1.ObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "IPAddress", Name: ip.String(), UID: o.uid}
		return []found{{
			cure: remove, finding: finding{name: ip.String(), uid: o.uid, reason: reason}, action: "IPAddressAllocation", message: message, about: about,
		}}, 0
	}
	p := o.parent
	if p.Group != "" || p.Resource != "services" {
		return report("IPAddressNotAllocated", fmt.Sprintf("IPAddress %s appears to have been modified, not referencing a Service %v: cleaning up", ip, &p))
	}
	age := now.Sub(o.created.Time)
	svc := v.named(p)
	switch {
	case svc == nil && age <= leakAfter:
		return nil, leakAfter - age + time.Second
	case svc == nil:
		return report("IPAddressNotAllocated", fmt.Sprintf("IPAddress: %s for Service %s/%s appears to have leaked: cleaning up", ip, p.Namespace, p.Name))
	case slices.Contains(addressesOf(svc), ip):
		return nil, 0
	case external(svc) && age < leakAfter:
		return nil, leakAfter - age
	case age < settleAfter || now.Sub(svc.CreationTimestamp.Time) < settleAfter:
		return nil, settleAfter // one of the two may be about to go
	}
	return report("IPAddressWrongReference", fmt.Sprintf("IPAddress: %s for Service %s/%s has a wrong reference; cleaning up", ip, svc.Namespace, svc.Name))
}

func referTo(svc *corev1.Service) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		APIVersion: "v1", Kind: "Service", Namespace: svc.Namespace, Name: svc.Name, UID: svc.UID, ResourceVersion: svc.ResourceVersion,
	}
}
