package resource

import (
	"fmt"
	"maps"
	"math"
	"slices"

	resourcev1 "k8s.io/api/resource/v1"
	apiresource "k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
)

// mostOptions is how many values of a capacity a request may choose from.
const mostOptions = 10

func validateCapacities(path *field.Path, capacities map[resourcev1.QualifiedName]resourcev1.DeviceCapacity, shared bool) field.ErrorList {
	var errs field.ErrorList
	for _, name := range slices.Sorted(maps.Keys(capacities)) {
		errs = append(errs, validateAttributeName(path, string(name))...)
		c := capacities[name]
		at := path.Key(truncated(string(name))).Child("requestPolicy")
		switch {
		case c.RequestPolicy == nil:
		case !shared:
			errs = append(errs, field.Forbidden(at, "allowMultipleAllocations must be true"))
		default:
			errs = append(errs, validatePolicy(at, c.Value, c.RequestPolicy)...)
		}
	}
	return errs
}

func validatePolicy(path *field.Path, most apiresource.Quantity, p *resourcev1.CapacityRequestPolicy) field.ErrorList {
	missing := func(what string) field.ErrorList {
		return field.ErrorList{field.Required(path.Child("default"), fmt.Sprintf("required when %s is defined", what))}
	}
	switch {
	case len(p.ValidValues) > 0 && p.ValidRange != nil:
		return field.ErrorList{field.Forbidden(path, `exactly one policy can be specified, cannot specify "validValues" and "validRange" at the same time`)}
	case len(p.ValidValues) > 0 && p.Default == nil:
		return missing("validValues")
	case len(p.ValidValues) > 0:
		return validateOptions(path.Child("validValues"), *p.Default, most, p.ValidValues)
	case p.ValidRange != nil && p.Default == nil:
		return missing("validRange")
	case p.ValidRange != nil:
		return validateRange(path.Child("validRange"), *p.Default, most, p.ValidRange)
	}
	return nil
}

func validateOptions(path *field.Path, chosen, most apiresource.Quantity, options []apiresource.Quantity) field.ErrorList {
	var errs field.ErrorList
	for i := 1; i < len(options); i++ {
		if options[i-1].Cmp(options[i]) > 0 {
			errs = append(errs, field.Invalid(path.Index(i), options[i].String(), "values must be sorted in ascending order"))
		}
	}
	found := false
	errs = append(errs, unique(path, options, mostOptions, false, func(q *apiresource.Quantity) string { return q.AsDec().String() },
		func(path *field.Path, q *apiresource.Quantity) field.ErrorList {
			found = found || q.Cmp(chosen) == 0
			if q.Cmp(most) > 0 {
				return field.ErrorList{field.Invalid(path, q.String(), fmt.Sprintf("option is larger than capacity value: %s", most.String()))}
			}
			return nil
		})...)
	if !found {
		errs = append(errs, field.Invalid(path, chosen.String(), "default value is not valid according to the requestPolicy"))
	}
	return errs
}

// validateRange checks a range of values and the steps in it.
func validateRange(path *field.Path, chosen, most apiresource.Quantity, r *resourcev1.CapacityRequestPolicyRange) field.ErrorList {
	if r.Min == nil {
		return field.ErrorList{field.Required(path.Child("min"), "required when validRange is defined")}
	}
	var errs field.ErrorList
	refuse := func(child string, value apiresource.Quantity, format string, than apiresource.Quantity) {
		errs = append(errs, field.Invalid(path.Child(child), value.String(), fmt.Sprintf(format, than.String())))
	}
	if r.Min.Cmp(most) > 0 {
		refuse("min", *r.Min, "min is larger than capacity value: %s", most)
	}
	if chosen.Cmp(*r.Min) < 0 {
		refuse("default", chosen, "default is less than min: %s", *r.Min)
	}
	if r.Max != nil {
		if r.Min.Cmp(*r.Max) > 0 {
			refuse("max", *r.Min, "min is larger than max: %s", *r.Max)
		}
		if r.Max.Cmp(most) > 0 {
			refuse("max", *r.Max, "max is larger than capacity value: %s", most)
		}
		if chosen.Cmp(*r.Max) > 0 {
			refuse("default", chosen, "default is more than max: %s", *r.Max)
		}
	}
	return append(errs, validateStep(path, chosen, most, r)...)
}

// validateStep checks that the values of a range are whole steps apart: in
// thousandths if one of them is a fraction.
func validateStep(path *field.Path, chosen, most apiresource.Quantity, r *resourcev1.CapacityRequestPolicyRange) field.ErrorList {
	names := []string{"default", "min", "max", "step"}
	values := []*apiresource.Quantity{&chosen, r.Min, r.Max, r.Step}
	fractions := slices.ContainsFunc(values, func(q *apiresource.Quantity) bool { return q != nil && fraction(*q) })
	var errs field.ErrorList
	bounded := func(fault func(q apiresource.Quantity) string) bool {
		for i, q := range values {
			if q == nil {
				continue
			}
			if message := fault(*q); message != "" {
				errs = append(errs, field.Invalid(path.Child(names[i]), q.String(), message))
			}
		}
		return len(errs) == 0
	}
	if fractions && !bounded(unlessMilli) {
		return errs
	}
	if r.Step == nil {
		return nil
	}
	at := path.Child("step")
	if r.Step.Sign() <= 0 {
		return field.ErrorList{field.Invalid(at, r.Step.String(), check.NotPositive)}
	}
	first := r.Min.DeepCopy()
	first.Add(*r.Step)
	var large field.ErrorList
	if first.Cmp(most) > 0 {
		large = append(large, field.Invalid(at, r.Step.String(), fmt.Sprintf("one step %s is larger than capacity value: %s", first.String(), most.String())))
	}
	if !fractions && !bounded(unlessInt64) {
		return append(large, errs...)
	}
	for _, q := range []*apiresource.Quantity{&chosen, r.Max} {
		if q != nil && (units(*q, fractions)-units(*r.Min, fractions))%units(*r.Step, fractions) != 0 {
			large = append(large, field.Invalid(at, q.String(), fmt.Sprintf("value is not a multiple of a given step (%s) from (%s)", r.Step.String(), r.Min.String())))
		}
	}
	return large
}

func units(q apiresource.Quantity, milli bool) int64 {
	if milli {
		return q.MilliValue()
	}
	return q.Value()
}

func fraction(q apiresource.Quantity) bool { return q.MilliValue()%1000 != 0 }

func unlessMilli(q apiresource.Quantity) string {
	if q.Cmp(*apiresource.NewMilliQuantity(q.MilliValue(), q.Format)) != 0 {
		return "value cannot be represented as a milli value"
	}
	return ""
}

func unlessInt64(q apiresource.Quantity) string {
	switch {
	case q.Sign() < 0:
		return check.Negative
	case q.CmpInt64(math.MaxInt64) > 0:
		return "must not be larger than 9223372036854775807"
	}
	return ""
}
