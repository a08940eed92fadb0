package discovery

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
)

// Most items that a slice may have of each.
const (
	maxTopology  = 16
	maxAddresses = 100
	maxPorts     = 20000
	maxEndpoints = 1000
	maxHints     = 8
)

// validateSlice checks a slice; old is nil on create. Former versions let
// endpoints in that are refused now: they pass as long as they do not change.
func validateSlice(s, old *discoveryv1.EndpointSlice) field.ErrorList {
	errs := validatePorts(s.Ports)
	kept := old != nil && equality.Semantic.DeepEqual(s.Endpoints, old.Endpoints)
	if !kept {
		errs = append(errs, validateEndpoints(s)...)
	}
	typePath := field.NewPath("addressType")
	switch {
	case old != nil && old.AddressType == s.AddressType:
	case s.AddressType == "":
		errs = append(errs, field.Required(typePath, ""))
	default:
		errs = append(errs, check.OneOf(typePath, s.AddressType, discoveryv1.AddressTypeFQDN, discoveryv1.AddressTypeIPv4, discoveryv1.AddressTypeIPv6)...)
	}
	if old != nil && old.AddressType != s.AddressType {
		errs = append(errs, field.Invalid(typePath, nil, check.Immutable))
	}
	if kept || len(s.Endpoints) > maxEndpoints {
		return errs
	}
	for i := range s.Endpoints {
		at, n := field.NewPath("endpoints").Index(i).Child("addresses"), len(s.Endpoints[i].Addresses)
		if n == 0 {
			errs = append(errs, field.Required(at, ""))
		}
		if n > maxAddresses {
			errs = append(errs, field.TooMany(at, n, maxAddresses))
		}
	}
	return errs
}

func validateEndpoints(s *discoveryv1.EndpointSlice) field.ErrorList {
	at := field.NewPath("endpoints")
	if len(s.Endpoints) > maxEndpoints {
		return field.ErrorList{field.TooMany(at, len(s.Endpoints), maxEndpoints)}
	}
	var errs field.ErrorList
	for i := range s.Endpoints {
		e, p := &s.Endpoints[i], at.Index(i)
		for k := range e.Addresses {
			errs = append(errs, validateAddress(p.Child("addresses"), k, e.Addresses[k], s.AddressType)...)
		}
		if e.NodeName != nil {
			errs = append(errs, check.Name(p.Child("nodeName"), *e.NodeName, apivalidation.NameIsDNSSubdomain)...)
		}
		if n := len(e.DeprecatedTopology); n > maxTopology {
			errs = append(errs, field.TooMany(p.Child("deprecatedTopology"), n, maxTopology))
		}
		errs = append(errs, metavalidation.ValidateLabels(e.DeprecatedTopology, p.Child("deprecatedTopology"))...)
		if e.Hostname != nil {
			errs = append(errs, check.DNSLabel(p.Child("hostname"), *e.Hostname)...)
		}
		if e.Hints != nil {
			errs = append(errs, validateHints(p.Child("hints"), e.Hints)...)
		}
	}
	return errs
}

// validateAddress lets addresses of an unknown type pass.
func validateAddress(p *field.Path, i int, address string, of discoveryv1.AddressType) field.ErrorList {
	var errs field.ErrorList
	switch of {
	case discoveryv1.AddressTypeFQDN:
		return validation.IsFullyQualifiedDomainName(p.Index(i), address)
	case discoveryv1.AddressTypeIPv4:
		if errs = check.IP(p.Index(i), address); len(errs) > 0 {
			return errs
		}
		if !netutils.IsIPv4String(address) {
			errs = append(errs, field.Invalid(p, address, "must be an IPv4 address"))
		}
	case discoveryv1.AddressTypeIPv6:
		if errs = validation.IsValidIP(p.Index(i), address); len(errs) > 0 {
			return errs
		}
		if !netutils.IsIPv6String(address) {
			errs = append(errs, field.Invalid(p, address, "must be an IPv6 address"))
		}
	default:
		return nil
	}
	return append(errs, core.ValidateEndpointIP(p.Index(i), address)...)
}

func validatePorts(ports []discoveryv1.EndpointPort) field.ErrorList {
	at := field.NewPath("ports")
	if len(ports) > maxPorts {
		return field.ErrorList{field.TooMany(at, len(ports), maxPorts)}
	}
	var errs field.ErrorList
	seen := map[string]bool{}
	for i := range ports {
		port, p := &ports[i], at.Index(i)
		name := ""
		if port.Name != nil {
			name = *port.Name
		}
		if name != "" {
			errs = append(errs, check.DNSLabel(p.Child("name"), name)...)
		}
		if seen[name] {
			errs = append(errs, field.Duplicate(p.Child("name"), name))
		}
		seen[name] = true
		if port.Protocol == nil {
			errs = append(errs, field.Required(p.Child("protocol"), ""))
		} else {
			errs = append(errs, check.OneOf(p.Child("protocol"), *port.Protocol, corev1.ProtocolSCTP, corev1.ProtocolTCP, corev1.ProtocolUDP)...)
		}
		if port.AppProtocol != nil {
			errs = append(errs, check.QualifiedName(p.Child("appProtocol"), *port.AppProtocol)...)
		}
	}
	return errs
}

func validateHints(p *field.Path, hints *discoveryv1.EndpointHints) field.ErrorList {
	var zones, nodes []string
	for i := range hints.ForZones {
		zones = append(zones, hints.ForZones[i].Name)
	}
	for i := range hints.ForNodes {
		nodes = append(nodes, hints.ForNodes[i].Name)
	}
	if len(zones) > maxHints {
		return field.ErrorList{field.TooMany(p.Child("forZones"), len(zones), maxHints)}
	}
	errs := validateHintNames(p.Child("forZones"), zones, validation.IsValidLabelValue)
	if len(nodes) > maxHints {
		return append(errs, field.TooMany(p.Child("forNodes"), len(nodes), maxHints))
	}
	return append(errs, validateHintNames(p.Child("forNodes"), nodes, func(name string) []string {
		return apivalidation.NameIsDNSSubdomain(name, false)
	})...)
}

func validateHintNames(p *field.Path, names []string, rule func(string) []string) field.ErrorList {
	var errs field.ErrorList
	for i, name := range names {
		at := p.Index(i).Child("name")
		if slices.Contains(names[:i], name) {
			errs = append(errs, field.Duplicate(at, name))
		}
		errs = append(errs, check.All(at, name, rule(name))...)
	}
	return errs
}
