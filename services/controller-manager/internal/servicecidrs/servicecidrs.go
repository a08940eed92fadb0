// Package servicecidrs says which address ranges of Services are ready, and
// keeps a range from going away while Services have addresses of it alone.
package servicecidrs

import (
	"net/netip"
	"slices"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apimeta "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
)

const (
	// Name is the controller's.
	Name = "service-cidr-controller"

	finalizer = "networking.k8s.io/service-cidr-finalizer"
	// allocator marks the addresses that API servers gave to Services.
	allocator = "ipallocator.k8s.io"
	// grace is how long a range stays after it was asked to go, so that no API
	// server gives out an address of it without knowing.
	grace = 10 * time.Second
)

// state is a range, the others, and the addresses given to Services.
type state struct {
	Self      *networkingv1.ServiceCIDR
	Others    []*networkingv1.ServiceCIDR
	Addresses []netip.Addr
}

// New is service-cidr-controller.
func New(d loop.Deps) loop.Loop {
	ranges, addresses := cluster.Of[*networkingv1.ServiceCIDR](d.API), cluster.Of[*networkingv1.IPAddress](d.API)
	return loop.New(d, loop.Spec[loop.Key, state]{
		Name: Name,
		Sources: []loop.Source[loop.Key]{
			{Cache: ranges, Keys: func(before, after kinds.Object) []loop.Key {
				keys := owner.Self(before, after)
				if before != nil && after != nil {
					return keys
				}
				// One more or less may let others go.
				for _, r := range cluster.List(ranges, "", going) {
					keys = append(keys, loop.Key{Name: r.Name})
				}
				return keys
			}},
			{Cache: addresses, Keys: func(before, after kinds.Object) []loop.Key {
				if before != nil && after != nil {
					return nil
				}
				var keys []loop.Key
				for _, r := range cluster.List(ranges, "", going) {
					keys = append(keys, loop.Key{Name: r.Name})
				}
				return keys
			}},
		},
		Observe: func(k loop.Key, _ time.Time) (state, bool) {
			self, ok := cluster.Get[*networkingv1.ServiceCIDR](ranges, "", k.Name)
			if !ok {
				return state{}, false
			}
			s := state{Self: self}
			if !going(self) {
				return s, true
			}
			s.Others = cluster.List(ranges, "", func(r *networkingv1.ServiceCIDR) bool { return r.Name != self.Name })
			for _, ip := range cluster.List[*networkingv1.IPAddress](addresses, "") {
				if a, err := netip.ParseAddr(ip.Name); err == nil && ip.Labels[networkingv1.LabelManagedBy] == allocator {
					s.Addresses = append(s.Addresses, a)
				}
			}
			return s, true
		},
		Compute: compute,
	})
}

func going(r *networkingv1.ServiceCIDR) bool { return r.DeletionTimestamp != nil }

func compute(s state, now time.Time) plan.Plan {
	if going(s.Self) {
		return release(s, now)
	}
	if !slices.Contains(s.Self.Finalizers, finalizer) {
		r := s.Self.DeepCopy()
		r.Finalizers = append(r.Finalizers, finalizer)
		return plan.Plan{
			Do: []plan.Action{plan.Update{Object: r, MayMiss: true}},
			Then: func(out plan.Outcome) plan.Plan {
				if out.Err != nil || out.Results[0].Object == nil {
					return plan.Plan{}
				}
				return report(out.Results[0].Object.(*networkingv1.ServiceCIDR), ready, now)
			},
		}
	}
	return report(s.Self, ready, now)
}

var (
	ready = metav1.Condition{
		Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionTrue, Message: "Kubernetes Service CIDR is ready",
	}
	blocked = metav1.Condition{
		Type: networkingv1.ServiceCIDRConditionReady, Status: metav1.ConditionFalse, Reason: networkingv1.ServiceCIDRReasonTerminating,
		Message: "There are still IPAddresses referencing the ServiceCIDR, please remove them or create a new ServiceCIDR",
	}
)

// release lets a range go that nothing depends on.
func release(s state, now time.Time) plan.Plan {
	if !slices.Contains(s.Self.Finalizers, finalizer) {
		return plan.Plan{}
	}
	if !covered(s) && slices.ContainsFunc(s.Addresses, s.alone) {
		return report(s.Self, blocked, now)
	}
	if left := s.Self.DeletionTimestamp.Add(grace).Sub(now); left > 0 {
		return plan.Plan{After: left}
	}
	return plan.Plan{Do: []plan.Action{owner.RemoveFinalizer(s.Self, finalizer)}}
}

// covered tells whether other ranges hold all of this one.
func covered(s state) bool {
	for _, p := range prefixes(s.Self) {
		holds := func(o netip.Prefix) bool { return o.Bits() <= p.Bits() && o.Overlaps(p) }
		if !slices.ContainsFunc(s.Others, func(o *networkingv1.ServiceCIDR) bool { return slices.ContainsFunc(prefixes(o), holds) }) {
			return false
		}
	}
	return true
}

// alone tells whether this range is the only one with an address.
func (s state) alone(a netip.Addr) bool {
	holds := func(p netip.Prefix) bool { return p.Contains(a) }
	return slices.ContainsFunc(prefixes(s.Self), holds) &&
		!slices.ContainsFunc(s.Others, func(o *networkingv1.ServiceCIDR) bool { return slices.ContainsFunc(prefixes(o), holds) })
}

func prefixes(r *networkingv1.ServiceCIDR) []netip.Prefix {
	var out []netip.Prefix
	for _, text := range r.Spec.CIDRs {
		if p, err := netip.ParsePrefix(text); err == nil {
			out = append(out, p.Masked())
		}
	}
	return out
}

// report writes a condition unless it says so already.
func report(r *networkingv1.ServiceCIDR, c metav1.Condition, now time.Time) plan.Plan {
	have := apimeta.FindStatusCondition(r.Status.Conditions, c.Type)
	if have != nil && have.Status == c.Status && have.Reason == c.Reason && have.Message == c.Message {
		return plan.Plan{}
	}
	r = r.DeepCopy()
	c.LastTransitionTime = metav1.NewTime(now)
	apimeta.SetStatusCondition(&r.Status.Conditions, c)
	return plan.Plan{Do: []plan.Action{plan.UpdateStatus(r)}}
}
