// Package check holds the validation rules that many kinds share, in
// upstream's wording.
package check

import (
	"reflect"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Messages that several rules end in.
const (
	NotPositive = "must be greater than zero"
	NotInteger  = "must be an integer"
	Immutable   = apivalidation.FieldImmutableErrorMsg
	Negative    = apivalidation.IsNegativeErrorMsg
)

// NameRule is a rule for names as apimachinery writes them: it returns what
// is wrong with a name, or with the beginning of one.
type NameRule = func(name string, prefix bool) []string

// PathSegment is the rule for names that need only fit into a URL.
func PathSegment(name string, prefix bool) []string {
	if prefix {
		return content.IsPathSegmentPrefix(name)
	}
	return content.IsPathSegmentName(name)
}

// All turns each message into an Invalid error about the same value.
func All(path *field.Path, value any, messages []string) field.ErrorList {
	var errs field.ErrorList
	for _, message := range messages {
		errs = append(errs, field.Invalid(path, value, message))
	}
	return errs
}

// Name checks a reference to an object by the name rule of its kind.
func Name(path *field.Path, name string, rule NameRule) field.ErrorList {
	return All(path, name, rule(name, false))
}

// Set reports, in order, each child of path whose value is empty. The
// arguments alternate between the child's name and its value.
func Set(path *field.Path, childAndValue ...string) field.ErrorList {
	var errs field.ErrorList
	for i := 0; i+1 < len(childAndValue); i += 2 {
		if childAndValue[i+1] == "" {
			errs = append(errs, field.Required(path.Child(childAndValue[i]), ""))
		}
	}
	return errs
}

// OneOf checks that value is among the supported ones. The message lists them
// as given, so callers pass them in the order that upstream prints.
func OneOf[T ~string](path *field.Path, value T, supported ...T) field.ErrorList {
	if slices.Contains(supported, value) {
		return nil
	}
	return field.ErrorList{field.NotSupported(path, value, supported)}
}

// RequiredOneOf is OneOf for a field that must not be empty.
func RequiredOneOf[T ~string](path *field.Path, value T, supported ...T) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(path, "")}
	}
	return OneOf(path, value, supported...)
}

// NotNegative checks an integer.
func NotNegative[T ~int | ~int32 | ~int64](path *field.Path, value T) field.ErrorList {
	return apivalidation.ValidateNonnegativeField(int64(value), path)
}

// Positive checks an integer.
func Positive[T ~int | ~int32 | ~int64](path *field.Path, value T) field.ErrorList {
	if value > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, int64(value), NotPositive)}
}

// QuantityNotNegative checks a quantity.
func QuantityNotNegative(path *field.Path, value resource.Quantity) field.ErrorList {
	if value.Sign() >= 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value.String(), Negative)}
}

// QuantityPositive checks a quantity.
func QuantityPositive(path *field.Path, value resource.Quantity) field.ErrorList {
	if value.Sign() > 0 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value.String(), NotPositive)}
}

// Unchanged refuses any change of an immutable field.
func Unchanged(path *field.Path, value, old any) field.ErrorList {
	if equality.Semantic.DeepEqual(old, value) {
		return nil
	}
	if hasInternalNames(reflect.TypeOf(value)) {
		value = Internal(value)
	}
	return field.ErrorList{field.Invalid(path, value, Immutable)}
}

// Fixed is Unchanged for fields whose rule upstream declares with the type
// instead of writing it out: it does not show the value then.
func Fixed(path *field.Path, value, old any) field.ErrorList {
	if equality.Semantic.DeepEqual(old, value) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, nil, Immutable)}
}

// DNSLabel checks a DNS-1123 label.
func DNSLabel(path *field.Path, value string) field.ErrorList {
	return All(path, value, validation.IsDNS1123Label(value))
}

// DNSSubdomain checks a DNS-1123 subdomain.
func DNSSubdomain(path *field.Path, value string) field.ErrorList {
	return All(path, value, validation.IsDNS1123Subdomain(value))
}

// QualifiedName checks a name with an optional DNS prefix.
func QualifiedName(path *field.Path, value string) field.ErrorList {
	return All(path, value, validation.IsQualifiedName(value))
}

// Selector checks a label selector. Lenient lets label values through that
// are none, for objects that were stored before values were checked.
func Selector(path *field.Path, selector *metav1.LabelSelector, lenient bool) field.ErrorList {
	options := metavalidation.LabelSelectorValidationOptions{AllowInvalidLabelValueInSelector: lenient}
	return metavalidation.ValidateLabelSelector(selector, options, path)
}

// Port checks a port that is given as a number or by its name.
func Port(path *field.Path, port intstr.IntOrString) field.ErrorList {
	if port.Type == intstr.String {
		return All(path, port.StrVal, validation.IsValidPortName(port.StrVal))
	}
	return All(path, port.IntValue(), validation.IsValidPortNum(port.IntValue()))
}

// IP checks an address in a field of the old API, whose former value is
// tolerated even if it is not in canonical form.
func IP(path *field.Path, value string, former ...string) field.ErrorList {
	return validation.IsValidIPForLegacyField(path, value, true, former)
}

// CIDR is IP for an address block.
func CIDR(path *field.Path, value string, former ...string) field.ErrorList {
	return validation.IsValidCIDRForLegacyField(path, value, true, former)
}
