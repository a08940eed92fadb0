package resource

import (
	"slices"
	"strings"

	resourcev1 "k8s.io/api/resource/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/declared"
)

// requests are the names of a claim's requests, with those of their alternatives.
type requests map[string][]string

func requestsOf(claim *resourcev1.DeviceClaim) requests {
	names := requests{}
	for i := range claim.Requests {
		r := &claim.Requests[i]
		names[r.Name] = nil
		for k := range r.FirstAvailable {
			names[r.Name] = append(names[r.Name], r.FirstAvailable[k].Name)
		}
	}
	return names
}

func (r requests) has(name string) bool {
	request, alternative, nested := strings.Cut(name, "/")
	alternatives, found := r[request]
	return found && (!nested || slices.Contains(alternatives, alternative))
}

func (r requests) reference(path *field.Path, name *string) field.ErrorList {
	const message = "must be the name of a request in the claim or the name of a request and a subrequest separated by '/'"
	parts := strings.Split(*name, "/")
	if len(parts) > 2 {
		return field.ErrorList{field.Invalid(path, *name, message)}
	}
	var errs field.ErrorList
	for _, part := range parts {
		errs = append(errs, label(path, part)...)
	}
	if !r.has(*name) {
		errs = append(errs, field.Invalid(path, *name, message))
	}
	return errs
}

func (r requests) references(path *field.Path, names []string) field.ErrorList {
	return unique(path, names, resourcev1.DeviceRequestsMaxSize, true, itself, r.reference)
}

// validateClaimSpec checks a new claim, or what a template will make one of.
func validateClaimSpec(path *field.Path, spec *resourcev1.ResourceClaimSpec) field.ErrorList {
	path = path.Child("devices")
	claim := &spec.Devices
	names := requestsOf(claim)
	errs := unique(path.Child("requests"), claim.Requests, resourcev1.DeviceRequestsMaxSize, true,
		func(r *resourcev1.DeviceRequest) string { return r.Name }, validateRequest)
	errs = append(errs, each(path.Child("constraints"), claim.Constraints, resourcev1.DeviceConstraintsMaxSize, true,
		func(path *field.Path, c *resourcev1.DeviceConstraint) field.ErrorList {
			return validateConstraint(path, c, names)
		})...)
	return append(errs, each(path.Child("config"), claim.Config, resourcev1.DeviceConfigMaxSize, true,
		func(path *field.Path, c *resourcev1.DeviceClaimConfiguration) field.ErrorList {
			errs := names.references(path.Child("requests"), c.Requests)
			return append(errs, validateConfiguration(path, &c.DeviceConfiguration, false)...)
		})...)
}

func validateRequest(path *field.Path, r *resourcev1.DeviceRequest) field.ErrorList {
	errs := label(path.Child("name"), r.Name)
	switch {
	case len(r.FirstAvailable) == 0 && r.Exactly == nil:
		return append(errs, field.Required(path, "exactly one of `exactly` or `firstAvailable` is required"))
	case len(r.FirstAvailable) > 0 && r.Exactly != nil:
		return append(errs, field.Invalid(path, nil, "exactly one of `exactly` or `firstAvailable` is required, but multiple fields are set"))
	case r.Exactly != nil:
		at := path.Child("exactly")
		errs = append(errs, validateClassName(at.Child("deviceClassName"), r.Exactly.DeviceClassName)...)
		errs = append(errs, validateSelectors(at.Child("selectors"), r.Exactly.Selectors, false)...)
		errs = append(errs, validateMode(at, r.Exactly.AllocationMode, r.Exactly.Count)...)
		return append(errs, validateTolerations(at.Child("tolerations"), r.Exactly.Tolerations)...)
	}
	return append(errs, unique(path.Child("firstAvailable"), r.FirstAvailable, resourcev1.FirstAvailableDeviceRequestMaxSize, true,
		func(s *resourcev1.DeviceSubRequest) string { return s.Name },
		func(at *field.Path, s *resourcev1.DeviceSubRequest) field.ErrorList {
			errs := label(at.Child("name"), s.Name)
			errs = append(errs, covered(validateClassName(at.Child("deviceClassName"), s.DeviceClassName))...)
			errs = append(errs, validateSelectors(at.Child("selectors"), s.Selectors, false)...)
			errs = append(errs, validateMode(at, s.AllocationMode, s.Count)...)
			return append(errs, validateTolerations(at.Child("tolerations"), s.Tolerations)...)
		})...)
}

func validateClassName(path *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return subdomain(path, name)
}

func validateMode(path *field.Path, mode resourcev1.DeviceAllocationMode, count int64) field.ErrorList {
	at := path.Child("count")
	switch mode {
	case resourcev1.DeviceAllocationModeAll:
		if count != 0 {
			return field.ErrorList{field.Invalid(at, count, "must not be specified when allocationMode is 'All'")}
		}
		return nil
	case resourcev1.DeviceAllocationModeExactCount:
		return check.Positive(at, count)
	}
	return covered(check.OneOf(path.Child("allocationMode"), mode, resourcev1.DeviceAllocationModeAll, resourcev1.DeviceAllocationModeExactCount))
}

func validateConstraint(path *field.Path, c *resourcev1.DeviceConstraint, names requests) field.ErrorList {
	errs := names.references(path.Child("requests"), c.Requests)
	switch {
	case c.MatchAttribute != nil:
		return append(errs, covered(validateQualified(path.Child("matchAttribute"), *c.MatchAttribute))...)
	case c.DistinctAttribute != nil:
		return append(errs, covered(validateQualified(path.Child("distinctAttribute"), *c.DistinctAttribute))...)
	}
	return append(errs, field.Required(path, `exactly one of "matchAttribute" or "distinctAttribute" is required, but multiple fields are set`))
}

func validateClaim(c *resourcev1.ResourceClaim) field.ErrorList {
	return check.WithDeclared(validateClaimSpec(specPath, &c.Spec), declared.Create(specPath, &c.Spec))
}

// dropSpec removes what is behind gates that are off.
func dropSpec(spec *resourcev1.ResourceClaimSpec) {
	for i := range spec.Devices.Requests {
		r := &spec.Devices.Requests[i]
		if r.Exactly != nil {
			r.Exactly.DerivedAttributes = nil
		}
		for k := range r.FirstAvailable {
			r.FirstAvailable[k].DerivedAttributes = nil
		}
	}
}
