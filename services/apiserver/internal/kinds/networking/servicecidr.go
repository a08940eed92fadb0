package networking

import (
	"strings"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

// ServiceCIDR is the behaviour of networking.k8s.io/v1 ServiceCIDR.
func ServiceCIDR() strategy.Kind[*networkingv1.ServiceCIDR] {
	return strategy.Kind[*networkingv1.ServiceCIDR]{
		PrepareCreate: func(c *networkingv1.ServiceCIDR) { c.Status = networkingv1.ServiceCIDRStatus{} },
		PrepareUpdate: func(c, old *networkingv1.ServiceCIDR) { c.Status = old.Status },
		ValidateCreate: func(c *networkingv1.ServiceCIDR) field.ErrorList {
			return validateCIDRs(specPath.Child("cidrs"), &c.Spec)
		},
		ValidateUpdate: func(c, old *networkingv1.ServiceCIDR) field.ErrorList { return validateCIDRsUpdate(&c.Spec, &old.Spec) },
		Status: &strategy.Sub[*networkingv1.ServiceCIDR]{
			PrepareUpdate: func(c, old *networkingv1.ServiceCIDR) {
				c.Spec = old.Spec
				metav1.ResetObjectMetaForStatus(&c.ObjectMeta, &old.ObjectMeta)
			},
		},
		AllowUnconditionalUpdate: true,
		ResetFields:              map[string][]string{"": {"status"}, "status": {"metadata", "spec"}},
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("CIDRs", networkingv1.ServiceCIDRSpec{}.SwaggerDoc()["cidrs"]),
			cells.Age(),
		),
		Cells: func(c *networkingv1.ServiceCIDR) []any {
			return []any{c.Name, strings.Join(c.Spec.CIDRs, ","), cells.AgeOf(c)}
		},
	}
}

func validateCIDRs(p *field.Path, spec *networkingv1.ServiceCIDRSpec) field.ErrorList {
	cidrs := spec.CIDRs
	switch {
	case len(cidrs) == 0:
		return field.ErrorList{field.Required(p, "at least one CIDR required")}
	case len(cidrs) > 2:
		return field.ErrorList{field.Invalid(p, check.Internal(spec), "may only hold up to 2 values")}
	}
	var errs field.ErrorList
	for i, cidr := range cidrs {
		errs = append(errs, validation.IsValidCIDR(p.Index(i), cidr)...)
	}
	if len(cidrs) == 2 {
		family := netutils.IPFamilyOfCIDRString(cidrs[0])
		if family == netutils.IPFamilyOfCIDRString(cidrs[1]) && family != netutils.IPFamilyUnknown {
			errs = append(errs, field.Invalid(p, cidrs, "may specify no more than one IP for each IP family, i.e 192.168.0.0/24 and 2001:db8::/64"))
		}
	}
	return errs
}

// validateCIDRsUpdate lets a block of the other family be added, and no more:
// addresses of the blocks are in use.
func validateCIDRsUpdate(spec, old *networkingv1.ServiceCIDRSpec) field.ErrorList {
	p := specPath.Child("cidrs")
	grown := len(old.CIDRs) == 1 && len(spec.CIDRs) == 2
	if len(old.CIDRs) != len(spec.CIDRs) && !grown {
		return field.ErrorList{field.Invalid(p, spec.CIDRs, check.Immutable)}
	}
	var errs field.ErrorList
	for i, cidr := range old.CIDRs {
		if cidr != spec.CIDRs[i] {
			errs = append(errs, field.Invalid(p.Index(i), spec.CIDRs[i], check.Immutable))
		}
	}
	if grown {
		errs = append(errs, validateCIDRs(p, spec)...)
	}
	return errs
}
