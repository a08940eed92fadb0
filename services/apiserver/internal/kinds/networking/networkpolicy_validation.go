package networking

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"coracle.local/services/apiserver/internal/kinds/check"
)

func validatePolicy(spec *networkingv1.NetworkPolicySpec, allow policyAllowances) field.ErrorList {
	errs := check.Selector(specPath.Child("podSelector"), &spec.PodSelector, allow.selectorValues)
	rules := rulesOf(spec)
	for _, r := range rules {
		for i := range r.ports {
			errs = append(errs, validatePolicyPort(r.path.Child("ports").Index(i), &r.ports[i])...)
		}
		for i := range r.peers {
			errs = append(errs, validatePeer(r.peersPath.Index(i), &r.peers[i], allow)...)
		}
	}
	if len(spec.PolicyTypes) > 2 {
		errs = append(errs, field.Invalid(specPath.Child("policyTypes"), spec.PolicyTypes, "may not specify more than two policyTypes"))
	} else {
		for i, policyType := range spec.PolicyTypes {
			errs = append(errs, check.OneOf(specPath.Child("policyTypes").Index(i), policyType, networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress)...)
		}
	}
	for _, r := range rules {
		for i := range r.peers {
			if block := r.peers[i].IPBlock; block != nil && block.CIDR == "" {
				errs = append(errs, field.Required(r.peersPath.Index(i).Child("ipBlock", "cidr"), ""))
			}
		}
	}
	return errs
}

func validatePolicyPort(p *field.Path, port *networkingv1.NetworkPolicyPort) field.ErrorList {
	var errs field.ErrorList
	if port.Protocol != nil {
		errs = append(errs, check.OneOf(p.Child("protocol"), *port.Protocol, corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP)...)
	}
	last := p.Child("endPort")
	switch {
	case port.Port == nil:
		if port.EndPort != nil {
			errs = append(errs, field.Invalid(last, *port.EndPort, "may not be specified when `port` is not specified"))
		}
	case port.Port.Type == intstr.Int:
		first := port.Port.IntVal
		errs = append(errs, check.All(p.Child("port"), first, validation.IsValidPortNum(int(first)))...)
		if port.EndPort == nil {
			break
		}
		if *port.EndPort < first {
			errs = append(errs, field.Invalid(last, *port.EndPort, "must be greater than or equal to `port`"))
		}
		errs = append(errs, check.All(last, *port.EndPort, validation.IsValidPortNum(int(*port.EndPort)))...)
	default:
		if port.EndPort != nil {
			errs = append(errs, field.Invalid(last, *port.EndPort, "may not be specified when `port` is non-numeric"))
		}
		errs = append(errs, check.All(p.Child("port"), port.Port.StrVal, validation.IsValidPortName(port.Port.StrVal))...)
	}
	return errs
}

func validatePeer(p *field.Path, peer *networkingv1.NetworkPolicyPeer, allow policyAllowances) field.ErrorList {
	var errs field.ErrorList
	selected := false
	if peer.PodSelector != nil {
		selected = true
		errs = append(errs, check.Selector(p.Child("podSelector"), peer.PodSelector, allow.selectorValues)...)
	}
	if peer.NamespaceSelector != nil {
		selected = true
		errs = append(errs, check.Selector(p.Child("namespaceSelector"), peer.NamespaceSelector, allow.selectorValues)...)
	}
	if peer.IPBlock != nil && peer.IPBlock.CIDR != "" {
		errs = append(errs, validateBlock(p.Child("ipBlock"), peer.IPBlock, allow.blocks)...)
	}
	switch {
	case !selected && peer.IPBlock == nil:
		errs = append(errs, field.Required(p, "must specify a peer"))
	case selected && peer.IPBlock != nil:
		errs = append(errs, field.Forbidden(p, "may not specify both ipBlock and another peer"))
	}
	return errs
}

func validateBlock(p *field.Path, block *networkingv1.IPBlock, former []string) field.ErrorList {
	errs := check.CIDR(p.Child("cidr"), block.CIDR, former...)
	_, outer, err := netutils.ParseCIDRSloppy(block.CIDR)
	if err != nil {
		return errs
	}
	for i, text := range block.Except {
		at := p.Child("except").Index(i)
		errs = append(errs, check.CIDR(at, text, former...)...)
		_, except, err := netutils.ParseCIDRSloppy(text)
		if err != nil {
			continue
		}
		outerBits, _ := outer.Mask.Size()
		exceptBits, _ := except.Mask.Size()
		if !outer.Contains(except.IP) || outerBits >= exceptBits {
			errs = append(errs, field.Invalid(at, text, "must be a strict subset of `cidr`"))
		}
	}
	return errs
}
