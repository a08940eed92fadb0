package registry

import (
	"context"
	"net/netip"
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/cache"
)

// allocatorName marks the IPAddresses that are made here; it is upstream's.
const allocatorName = "ipallocator.k8s.io"

// allocator is who makes them, as admission sees it.
var allocator = &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup}}

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

func addressKey(ip netip.Addr) string {
	return cache.StoreKey(kinds.For[*networkingv1.IPAddress](), "", ip.String())
}
