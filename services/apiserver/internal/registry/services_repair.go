package registry

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
)

const (
	// gather is how long changes settle before they are looked at.
	gather = 2 * time.Second
	// leakAfter is how long an IPAddress may be there before its Service:
	// upstream's servers write the one before the other.
	leakAfter = time.Minute
	// settleAfter is the same for one of a Service that is there already.
	settleAfter = 5 * time.Second
)

// Repair keeps the addresses of Services and their IPAddresses in step, and
// the first range in the cluster, until ctx ends. What it finds wrong it tells
// in events, once.
func (s *Services) Repair(ctx context.Context, r *Registry) error {
	told := map[finding]bool{}
	var ports portRecord
	for {
		findings, again := s.inspect(r.Clock.Now())
		if err := ports.keep(ctx, r); err != nil && ctx.Err() == nil {
			r.Log.Warn("the node ports of Services are not recorded", zap.Error(err))
			again = settleAfter
		}
		now := map[finding]bool{}
		for _, f := range findings {
			now[f.finding] = true
			if err := r.mend(ctx, f, told[f.finding]); err != nil && ctx.Err() == nil {
				r.Log.Warn("the address of a Service is not repaired", zap.String("address", f.name), zap.String("service", f.svc.String()), zap.Error(err))
				again = settleAfter
			}
		}
		told = now
		var due <-chan time.Time
		if again > 0 {
			due = time.After(again)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
		case <-due:
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(gather):
		}
	}
}

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
	name   string    // the address
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

// inspect holds Services, IPAddresses and ranges against one another. again is
// when something will be due that is not yet.
func (s *Services) inspect(now time.Time) (out []found, again time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch first, ok := s.ranges[defaultRange]; {
	case !ok:
		out = append(out, found{cure: install, finding: finding{name: defaultRange}})
	case !slices.Equal(first.prefixes, s.networks):
		out = append(out, found{
			finding: finding{name: defaultRange, reason: "KubernetesDefaultServiceCIDRInconsistent"},
			message: fmt.Sprintf("The default ServiceCIDR %v does not match the controller flag configurations %v", first.prefixes, s.networks),
			about:   &corev1.ObjectReference{APIVersion: "networking.k8s.io/v1", Kind: "ServiceCIDR", Name: defaultRange, UID: first.uid},
		})
	case !first.reported:
		out = append(out, found{cure: confirm, finding: finding{name: defaultRange}})
	}
	services := make([]*corev1.Service, 0, len(s.held))
	for _, svc := range s.held {
		services = append(services, svc)
	}
	// Of two with the same port the older one has it.
	slices.SortFunc(services, func(a, b *corev1.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	ports := map[int32]bool{}
	for _, svc := range services {
		for _, ip := range addressesOf(svc) {
			out = append(out, s.inspectAddress(svc, ip)...)
		}
		out = append(out, s.inspectPorts(svc, ports)...)
	}
	for ip, o := range s.objects {
		f, wait := s.inspectObject(ip, o, now)
		out = append(out, f...)
		if wait > 0 && (again == 0 || wait < again) {
			again = wait
		}
	}
	return out, again
}

func (s *Services) inspectAddress(svc *corev1.Service, ip netip.Addr) []found {
	report := func(c cure, reason, format string, args ...any) []found {
		f := found{cure: c, finding: finding{svc: nameOf(svc), uid: svc.UID, name: ip.String(), reason: reason}, action: "ClusterIPAllocation"}
		if reason != "" {
			f.message, f.about = fmt.Sprintf(format, args...), referTo(svc)
		}
		return []found{f}
	}
	family := familyOf(ip)
	if !slices.ContainsFunc(s.prefixes(family, true), func(p netip.Prefix) bool { return contains(p, ip) }) {
		return report(tell, "ClusterIPOutOfRange", "Cluster IP [%v]: %s is not within any configured Service CIDR; please recreate service", family, ip)
	}
	o, ok := s.objects[ip]
	if !ok {
		return report(record, "ClusterIPNotAllocated", "Cluster IP [%v]: %s is not allocated; repairing", family, ip)
	}
	if o.parent == parentOf(svc) {
		if !o.labeled {
			return report(renew, "", "")
		}
		return nil
	}
	if o.parent.Group == "" && o.parent.Resource == "services" {
		other := s.held[s.byName[types.NamespacedName{Namespace: o.parent.Namespace, Name: o.parent.Name}]]
		if other != nil && slices.Contains(addressesOf(other), ip) {
			return report(tell, "ClusterIPAlreadyAllocated", "Cluster IP [%v]:%s was assigned to multiple services; please recreate service", family, ip)
		}
		if other != nil && o.labeled {
			return nil // the IPAddress goes first, as it is of no use to the other
		}
	}
	return report(renew, "ClusterIPNotAllocated", "the ClusterIP [%v]: %s for Service %s/%s has a wrong reference; repairing", family, ip, svc.Namespace, svc.Name)
}

func (s *Services) inspectPorts(svc *corev1.Service, seen map[int32]bool) (out []found) {
	report := func(port int32, reason, message string) {
		out = append(out, found{
			finding: finding{svc: nameOf(svc), uid: svc.UID, name: fmt.Sprint(port), reason: reason},
			action:  "PortAllocation", message: message, about: referTo(svc),
		})
	}
	list := nodePortsOf(svc)
	slices.Sort(list)
	for _, port := range slices.Compact(list) {
		switch {
		case seen[port]:
			report(port, "PortAlreadyAllocated", fmt.Sprintf("Port %d was assigned to multiple services; please recreate service", port))
		case !s.ports.Contains(int(port)):
			report(port, "PortOutOfRange", fmt.Sprintf("Port %d is not within the port range %s; please recreate service", port, s.ports.String()))
		}
		seen[port] = true
	}
	return out
}

// inspectObject finds IPAddresses of an allocator's that no Service has.
func (s *Services) inspectObject(ip netip.Addr, o addressObject, now time.Time) (out []found, wait time.Duration) {
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
	svc := s.held[s.byName[types.NamespacedName{Namespace: p.Namespace, Name: p.Name}]]
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

func nameOf(svc *corev1.Service) types.NamespacedName {
	return types.NamespacedName{Namespace: svc.Namespace, Name: svc.Name}
}

func referTo(svc *corev1.Service) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		APIVersion: "v1", Kind: "Service", Namespace: svc.Namespace, Name: svc.Name, UID: svc.UID, ResourceVersion: svc.ResourceVersion,
	}
}

// mend does what is to be done about a finding, and tells it.
func (r *Registry) mend(ctx context.Context, f found, told bool) error {
	var err error
	switch f.cure {
	case install:
		return r.installRange(ctx)
	case confirm:
		return r.confirmRange(ctx)
	case renew:
		if err = r.dropAddress(ctx, f.name, ""); err == nil {
			err = r.recordAddress(ctx, f)
		}
	case record:
		err = r.recordAddress(ctx, f)
	case remove:
		err = r.dropAddress(ctx, f.name, f.uid)
	}
	if errors.Is(err, errMended) {
		return nil
	}
	if err == nil && !told {
		r.tell(ctx, f)
	}
	return err
}

// errMended says that somebody else was faster.
var errMended = errors.New("it is as it should be")

func (r *Registry) recordAddress(ctx context.Context, f found) error {
	r.Services.mu.Lock()
	svc := r.Services.held[f.finding.uid]
	r.Services.mu.Unlock()
	ip, err := netip.ParseAddr(f.name)
	if svc == nil || err != nil {
		return errMended
	}
	_, err = r.Create(ctx, kinds.For[*networkingv1.IPAddress](), "", newAddress(ip, svc), WriteOptions{})
	if apierrors.IsAlreadyExists(err) {
		return errMended
	}
	return err
}

func (r *Registry) dropAddress(ctx context.Context, name string, uid types.UID) error {
	o := &metav1.DeleteOptions{}
	if uid != "" {
		o.Preconditions = &metav1.Preconditions{UID: &uid}
	}
	_, _, err := r.Delete(ctx, kinds.For[*networkingv1.IPAddress](), "", name, o)
	if uid != "" && (apierrors.IsNotFound(err) || apierrors.IsConflict(err)) {
		return errMended
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
