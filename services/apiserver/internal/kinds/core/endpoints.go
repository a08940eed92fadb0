package core

import (
	"fmt"
	"net"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

// The kind is deprecated and served all the same.
type (
	endpointsKind  = corev1.Endpoints
	endpointSubset = corev1.EndpointSubset
)

// Endpoints is the behaviour of core/v1 Endpoints.
func Endpoints() strategy.Kind[*endpointsKind] {
	at := field.NewPath("subsets")
	return strategy.Kind[*endpointsKind]{
		Deprecation: "v1 Endpoints is deprecated in v1.33+; use discovery.k8s.io/v1 EndpointSlice",
		Default: func(e *endpointsKind) {
			for i := range e.Subsets {
				for j := range e.Subsets[i].Ports {
					setIfEmpty(&e.Subsets[i].Ports[j].Protocol, corev1.ProtocolTCP)
				}
			}
		},
		ValidateCreate: func(e *endpointsKind) field.ErrorList { return validateSubsets(at, e.Subsets) },
		ValidateUpdate: func(e, old *endpointsKind) field.ErrorList {
			errs := validateSubsets(at, e.Subsets)
			if len(errs) > 0 && equality.Semantic.DeepEqual(e.Subsets, old.Subsets) {
				return nil
			}
			return errs
		},
		Warnings:                 endpointsWarnings,
		AllowCreateOnUpdate:      true,
		AllowUnconditionalUpdate: true,
		Columns:                  cells.Columns(cells.Name(), cells.Text("Endpoints", endpointsKind{}.SwaggerDoc()["subsets"]), cells.Age()),
		Cells: func(e *endpointsKind) []any {
			return []any{e.Name, endpointsCell(e), cells.AgeOf(e)}
		},
	}
}

func validateSubsets(p *field.Path, subsets []endpointSubset) field.ErrorList {
	var errs field.ErrorList
	for i := range subsets {
		s, at := &subsets[i], p.Index(i)
		if len(s.Addresses) == 0 && len(s.NotReadyAddresses) == 0 {
			errs = append(errs, field.Required(at, "must specify `addresses` or `notReadyAddresses`"))
		}
		for j := range s.Addresses {
			errs = append(errs, validateEndpointAddress(at.Child("addresses").Index(j), &s.Addresses[j])...)
		}
		for j := range s.NotReadyAddresses {
			errs = append(errs, validateEndpointAddress(at.Child("notReadyAddresses").Index(j), &s.NotReadyAddresses[j])...)
		}
		for j := range s.Ports {
			errs = append(errs, validateEndpointPort(at.Child("ports").Index(j), &s.Ports[j], len(s.Ports) > 1)...)
		}
	}
	return errs
}

func validateEndpointAddress(p *field.Path, a *corev1.EndpointAddress) field.ErrorList {
	errs := check.IP(p.Child("ip"), a.IP)
	if a.Hostname != "" {
		errs = append(errs, check.DNSLabel(p.Child("hostname"), a.Hostname)...)
	}
	if a.NodeName != nil {
		errs = append(errs, check.Name(p.Child("nodeName"), *a.NodeName, apivalidation.NameIsDNSSubdomain)...)
	}
	return append(errs, ValidateEndpointIP(p.Child("ip"), a.IP)...)
}

// ValidateEndpointIP refuses addresses to which no traffic from another
// machine can go.
func ValidateEndpointIP(p *field.Path, address string) field.ErrorList {
	ip := netutils.ParseIPSloppy(address)
	if ip == nil {
		return field.ErrorList{field.Invalid(p, address, "must be a valid IP address")}
	}
	var errs field.ErrorList
	for _, r := range []struct {
		in     bool
		detail string
	}{
		{ip.IsUnspecified(), fmt.Sprintf("may not be unspecified (%v)", address)},
		{ip.IsLoopback(), "may not be in the loopback range (127.0.0.0/8, ::1/128)"},
		{ip.IsLinkLocalUnicast(), "may not be in the link-local range (169.254.0.0/16, fe80::/10)"},
		{ip.IsLinkLocalMulticast(), "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)"},
	} {
		if r.in {
			errs = append(errs, field.Invalid(p, address, r.detail))
		}
	}
	return errs
}

func validateEndpointPort(p *field.Path, port *corev1.EndpointPort, named bool) field.ErrorList {
	var errs field.ErrorList
	switch {
	case port.Name != "":
		errs = append(errs, check.DNSLabel(p.Child("name"), port.Name)...)
	case named:
		errs = append(errs, field.Required(p.Child("name"), ""))
	}
	errs = append(errs, check.All(p.Child("port"), port.Port, validation.IsValidPortNum(int(port.Port)))...)
	errs = append(errs, check.RequiredOneOf(p.Child("protocol"), port.Protocol, protocols...)...)
	if port.AppProtocol != nil {
		errs = append(errs, check.QualifiedName(p.Child("appProtocol"), *port.AppProtocol)...)
	}
	return errs
}

// endpointsWarnings spares what the endpoints controller wrote: it writes
// canonical addresses, and many of them.
func endpointsWarnings(e, _ *endpointsKind) []string {
	if e.Labels["endpoints.kubernetes.io/managed-by"] == "endpoint-controller" {
		return nil
	}
	var warnings []string
	for i, s := range e.Subsets {
		at := field.NewPath("subsets").Index(i)
		for j, a := range s.Addresses {
			warnings = append(warnings, validation.GetWarningsForIP(at.Child("addresses").Index(j).Child("ip"), a.IP)...)
		}
		for j, a := range s.NotReadyAddresses {
			warnings = append(warnings, validation.GetWarningsForIP(at.Child("notReadyAddresses").Index(j).Child("ip"), a.IP)...)
		}
	}
	return warnings
}

func endpointsCell(e *endpointsKind) string {
	if len(e.Subsets) == 0 {
		return "<none>"
	}
	var list []string
	for _, s := range e.Subsets {
		if len(s.Ports) == 0 {
			for _, a := range s.Addresses {
				list = append(list, a.IP)
			}
		}
		for _, port := range s.Ports {
			for _, a := range s.Addresses {
				list = append(list, net.JoinHostPort(a.IP, strconv.Itoa(int(port.Port))))
			}
		}
	}
	if len(list) > 3 {
		return fmt.Sprintf("%s + %d more...", strings.Join(list[:3], ","), len(list)-3)
	}
	return strings.Join(list, ",")
}
