package registry

import (
	"context"
	"fmt"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/auth"
)

// allocatorName marks the IPAddresses that are made here; it is upstream's.
const allocatorName = "ipallocator.k8s.io"

// allocator is who makes them, as admission sees it.
var allocator = &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup}}

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

// makeAddresses encodes the IPAddresses that are to be written. Admission judges
// them like any others, as upstream's does: a policy about IPAddresses is one
// about what addresses Services may have.
func (r *Registry) makeAddresses(ctx context.Context, a *allocation) error {
	for i := range a.addresses {
		t := &a.addresses[i]
		if t.value != nil {
			continue
		}
		o, err := r.admitAddress(ctx, newAddress(t.ip, a.svc))
		if err != nil {
			return a.refuseAddress(*t, err.Error())
		}
		if t.value, err = r.seal(kinds.For[*networkingv1.IPAddress](), o); err != nil {
			return err
		}
	}
	return nil
}

func (r *Registry) admitAddress(ctx context.Context, o *networkingv1.IPAddress) (kinds.Object, error) {
	ctx = auth.WithUser(ctx, allocator)
	k := kinds.For[*networkingv1.IPAddress]()
	w := &write{kind: k, name: o.Name}
	r.fill(o)
	uid, at := o.UID, o.CreationTimestamp
	attributes := w.attributes(ctx, admission.Create, o, nil)
	// It is not what the client asks for, nor what its request is audited for.
	attributes.Warn, attributes.Annotate, attributes.AnnotateBody = nil, nil, nil
	if err := r.Admission.Admit(ctx, attributes); err != nil {
		return nil, err
	}
	obj := attributes.Object
	obj.SetName(o.Name)
	obj.SetUID(uid)
	obj.SetCreationTimestamp(at)
	if errs := validateCreate(k, r.Strategy(k), obj); len(errs) > 0 {
		return nil, apierrors.NewInvalid(w.groupKind(), w.name, errs)
	}
	return obj, r.Admission.Validate(ctx, attributes)
}

// recorded keeps of addresses those whose IPAddress is the Service's.
func (s *Services) recorded(svc *corev1.Service, list []netip.Addr) []netip.Addr {
	return slices.DeleteFunc(slices.Clone(list), func(ip netip.Addr) bool {
		o, ok := s.objects[ip]
		return !ok || o.parent != parentOf(svc)
	})
}

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

const alreadyAllocated = "provided IP is already allocated"

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
