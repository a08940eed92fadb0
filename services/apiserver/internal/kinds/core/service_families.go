package core

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/check"
)

var (
	clusterIPsPath = specPath.Child("clusterIPs")
	familiesPath   = specPath.Child("ipFamilies")
	policyPath     = specPath.Child("ipFamilyPolicy")
)

func policyOf(s *corev1.Service) corev1.IPFamilyPolicy { return ptr.Deref(s.Spec.IPFamilyPolicy, "") }

// Families are the address families of a cluster's Services: one, which is
// IPv4 by default, or both.
type Families struct {
	First corev1.IPFamily
	Both  bool
}

func (f Families) first() corev1.IPFamily {
	if f.First == "" {
		return corev1.IPv4Protocol
	}
	return f.First
}

func (f Families) has(family corev1.IPFamily) bool { return f.Both || family == f.first() }

func otherFamily(f corev1.IPFamily) corev1.IPFamily {
	if f == corev1.IPv4Protocol {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

func familyOfIP(ip string) corev1.IPFamily {
	if netutils.IsIPv6String(ip) {
		return corev1.IPv6Protocol
	}
	return corev1.IPv4Protocol
}

// choose fills in the policy and the families. In a cluster of one family a
// second one is given only to headless Services without a selector, whose
// endpoints the client writes. What is asked for but cannot be had is left as
// it is, for the validation to say so.
func (f Families) choose(s, old *corev1.Service) {
	spec := &s.Spec
	if !needsClusterIP(s) || unchangedPreferDual(s, old) {
		return
	}
	external := spec.ClusterIP == corev1.ClusterIPNone && len(spec.Selector) == 0
	switch {
	case spec.IPFamilyPolicy != nil:
	case old != nil && old.Spec.IPFamilyPolicy != nil:
		spec.IPFamilyPolicy = ptr.To(*old.Spec.IPFamilyPolicy)
	case external:
		spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicyRequireDualStack)
	default:
		spec.IPFamilyPolicy = ptr.To(corev1.IPFamilyPolicySingleStack)
	}
	if len(validateFamilyFields(s, old)) > 0 {
		return
	}
	single := policyOf(s) == corev1.IPFamilyPolicySingleStack
	if old != nil && single {
		// To name the policy is to say which of the two goes.
		if slices.Equal(spec.ClusterIPs, old.Spec.ClusterIPs) && len(spec.ClusterIPs) > 1 {
			spec.ClusterIPs = spec.ClusterIPs[:1]
		}
		if slices.Equal(spec.IPFamilies, old.Spec.IPFamilies) && len(spec.IPFamilies) > 1 {
			spec.IPFamilies = spec.IPFamilies[:1]
		}
	}
	if len(f.Refuse(s, old)) > 0 {
		return
	}
	f.infer(s)
	if len(spec.IPFamilies) == 0 {
		spec.IPFamilies = []corev1.IPFamily{f.first()}
	}
	if (external || f.Both) && !single && len(spec.IPFamilies) == 1 {
		spec.IPFamilies = append(spec.IPFamilies, otherFamily(spec.IPFamilies[0]))
	}
}

// unchangedPreferDual: such a Service keeps what it has, so that it does not
// change when the cluster does.
func unchangedPreferDual(s, old *corev1.Service) bool {
	return old != nil && s.Spec.Type == old.Spec.Type &&
		policyOf(s) == corev1.IPFamilyPolicyPreferDualStack &&
		(old.Spec.IPFamilyPolicy == nil || policyOf(old) == corev1.IPFamilyPolicyPreferDualStack) &&
		slices.Equal(s.Spec.ClusterIPs, old.Spec.ClusterIPs) && slices.Equal(s.Spec.IPFamilies, old.Spec.IPFamilies)
}

// infer takes the families of the addresses that a client names, as far as the
// cluster has them.
func (f Families) infer(s *corev1.Service) {
	spec := &s.Spec
	for i, ip := range spec.ClusterIPs {
		if ip == corev1.ClusterIPNone || i != len(spec.IPFamilies) || !f.has(familyOfIP(ip)) {
			return
		}
		spec.IPFamilies = append(spec.IPFamilies, familyOfIP(ip))
	}
}

// Refuse says what of the request this cluster cannot give. Upstream answers
// with these errors alone, before it allocates anything and validates the rest.
func (f Families) Refuse(s, old *corev1.Service) field.ErrorList {
	if !needsClusterIP(s) || unchangedPreferDual(s, old) {
		return nil
	}
	if errs := validateFamilyFields(s, old); len(errs) > 0 {
		return errs
	}
	var errs field.ErrorList
	spec, policy := &s.Spec, policyOf(s)
	wrong := func(detail string) { errs = append(errs, field.Invalid(policyPath, policy, detail)) }
	if policy == corev1.IPFamilyPolicySingleStack {
		if len(spec.ClusterIPs) == 2 {
			wrong("must be 'RequireDualStack' or 'PreferDualStack' when multiple cluster IPs are specified")
		}
		if len(spec.IPFamilies) == 2 {
			wrong("must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified")
		}
	} else if old != nil {
		if n := len(spec.ClusterIPs); n > 0 && n < len(old.Spec.ClusterIPs) {
			wrong("must be 'SingleStack' to release the secondary cluster IP")
		}
		if n := len(spec.IPFamilies); n > 0 && n < len(old.Spec.IPFamilies) {
			wrong("must be 'SingleStack' to release the secondary IP family")
		}
	}
	for i, ip := range spec.ClusterIPs {
		if ip != corev1.ClusterIPNone && i >= len(spec.IPFamilies) && !f.has(familyOfIP(ip)) {
			errs = append(errs, field.Invalid(clusterIPsPath.Index(i), spec.ClusterIPs, fmt.Sprintf("%s is not configured on this cluster", familyOfIP(ip))))
		}
	}
	if len(errs) > 0 || (spec.ClusterIP == corev1.ClusterIPNone && len(spec.Selector) == 0) {
		return errs
	}
	if policy == corev1.IPFamilyPolicyRequireDualStack && !f.Both {
		wrong("this cluster is not configured for dual-stack services")
	}
	for i, family := range spec.IPFamilies {
		if !f.has(family) {
			errs = append(errs, field.Invalid(familiesPath.Index(i), family, "not configured on this cluster"))
		}
	}
	return errs
}

// validateFamilyFields checks that the addresses, their families and the
// policy go together.
func validateFamilyFields(s, old *corev1.Service) field.ErrorList {
	if !needsClusterIP(s) {
		return nil
	}
	spec := &s.Spec
	var errs field.ErrorList
	switch {
	case spec.ClusterIP == "" && len(spec.ClusterIPs) > 0:
		errs = append(errs, field.Invalid(clusterIPsPath, spec.ClusterIPs, "must be empty when `clusterIP` is not specified"))
	case spec.ClusterIP != "" && len(spec.ClusterIPs) == 0:
		errs = append(errs, field.Required(clusterIPsPath, ""))
	case spec.ClusterIP != "" && spec.ClusterIPs[0] != spec.ClusterIP:
		errs = append(errs, field.Invalid(clusterIPsPath, spec.ClusterIPs, "first value must match `clusterIP`"))
	}
	seen := sets.Set[corev1.IPFamily]{}
	for i, family := range spec.IPFamilies {
		errs = append(errs, check.OneOf(familiesPath.Index(i), family, corev1.IPv4Protocol, corev1.IPv6Protocol)...)
		if seen.Has(family) {
			errs = append(errs, field.Duplicate(familiesPath.Index(i), family))
		}
		seen.Insert(family)
	}
	if spec.IPFamilyPolicy != nil {
		errs = append(errs, check.OneOf(policyPath, *spec.IPFamilyPolicy,
			corev1.IPFamilyPolicyPreferDualStack, corev1.IPFamilyPolicyRequireDualStack, corev1.IPFamilyPolicySingleStack)...)
	}
	wrong := validateClusterIPs(s, old)
	errs = append(errs, wrong...)
	if len(spec.ClusterIPs) > 2 {
		errs = append(errs, field.Invalid(clusterIPsPath, spec.ClusterIPs, "may only hold up to 2 values"))
	}
	if len(wrong) > 0 {
		return errs
	}
	return append(errs, validateClusterIPFamilies(s)...)
}

func validateClusterIPs(s, old *corev1.Service) field.ErrorList {
	var former []string
	if old != nil {
		former = old.Spec.ClusterIPs
	}
	var errs field.ErrorList
	for i, ip := range s.Spec.ClusterIPs {
		switch {
		case i > 0 || ip != corev1.ClusterIPNone:
			errs = append(errs, check.IP(clusterIPsPath.Index(i), ip, former...)...)
		case len(s.Spec.ClusterIPs) > 1:
			errs = append(errs, field.Invalid(clusterIPsPath, s.Spec.ClusterIPs, "'None' must be the first and only value"))
		}
	}
	return errs
}

func validateClusterIPFamilies(s *corev1.Service) field.ErrorList {
	spec := &s.Spec
	var errs field.ErrorList
	if len(spec.ClusterIPs) > 1 {
		if dual, err := netutils.IsDualStackIPStrings(spec.ClusterIPs); err != nil {
			errs = append(errs, field.InternalError(clusterIPsPath, fmt.Errorf("failed to check for dual stack with error:%w", err)))
		} else if !dual {
			errs = append(errs, field.Invalid(clusterIPsPath, spec.ClusterIPs, "may specify no more than one IP for each IP family"))
		}
	}
	if isHeadless(s) {
		return errs
	}
	for i, ip := range spec.ClusterIPs {
		if i >= len(spec.IPFamilies) {
			break
		}
		is6 := netutils.IsIPv6String(ip)
		switch spec.IPFamilies[i] {
		case corev1.IPv4Protocol:
			if is6 {
				errs = append(errs, field.Invalid(clusterIPsPath.Index(i), ip, fmt.Sprintf("expected an IPv4 value as indicated by `ipFamilies[%v]`", i)))
			}
		case corev1.IPv6Protocol:
			if !is6 {
				errs = append(errs, field.Invalid(clusterIPsPath.Index(i), ip, fmt.Sprintf("expected an IPv6 value as indicated by `ipFamilies[%v]`", i)))
			}
		}
	}
	return errs
}

// validateClusterIPsUpdate: what a Service was given it keeps, but for the
// second of two, which it may gain or give back.
func validateClusterIPsUpdate(s, old *corev1.Service) field.ErrorList {
	if !needsClusterIP(s) || !needsClusterIP(old) || (isHeadless(s) && isHeadless(old)) {
		return nil
	}
	return validatePairUpdate(pairUpdate[string]{
		p: clusterIPsPath, is: s.Spec.ClusterIPs, was: old.Spec.ClusterIPs, policy: s.Spec.IPFamilyPolicy,
		unset: "primary clusterIP can not be unset", release: "must be set to 'SingleStack' when releasing the secondary clusterIP",
		addresses: s.Spec.ClusterIPs,
	})
}

func validateFamiliesUpdate(s, old *corev1.Service) field.ErrorList {
	if !needsClusterIP(s) || !needsClusterIP(old) || isHeadless(s) || isHeadless(old) {
		return nil
	}
	return validatePairUpdate(pairUpdate[corev1.IPFamily]{
		p: familiesPath, is: s.Spec.IPFamilies, was: old.Spec.IPFamilies, policy: s.Spec.IPFamilyPolicy,
		unset: "primary ipFamily can not be unset", release: "must be set to 'SingleStack' when releasing the secondary ipFamily", atFirst: true,
		addresses: s.Spec.ClusterIPs,
	})
}

// pairUpdate is a change of a list of one or two values.
type pairUpdate[T comparable] struct {
	p              *field.Path
	is, was        []T
	policy         *corev1.IPFamilyPolicy
	unset, release string
	// atFirst gives every error the path of the first value.
	atFirst bool
	// addresses are what upstream shows where the first of more or fewer values
	// changed, whatever the values are of.
	addresses []string
}

func validatePairUpdate[T comparable](u pairUpdate[T]) field.ErrorList {
	const changed = "may not change once set"
	var errs field.ErrorList
	if len(u.is) == len(u.was) {
		for i := range u.was {
			if u.is[i] == u.was[i] {
				continue
			}
			at := i
			if u.atFirst {
				at = 0
			}
			errs = append(errs, field.Invalid(u.p.Index(at), u.is, changed))
		}
		return errs
	}
	if len(u.is) == 0 {
		errs = append(errs, field.Invalid(u.p.Index(0), u.is, u.unset))
	}
	if len(u.is) > 0 && len(u.was) > 0 && u.is[0] != u.was[0] {
		errs = append(errs, field.Invalid(u.p.Index(0), u.addresses, changed))
	}
	if len(u.is) == 1 && len(u.was) > 1 && ptr.Deref(u.policy, "") != corev1.IPFamilyPolicySingleStack {
		errs = append(errs, field.Invalid(policyPath, u.policy, u.release))
	}
	return errs
}
