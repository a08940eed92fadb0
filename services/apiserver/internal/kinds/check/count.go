package check

import (
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// Count is one of the numbers that a status gives, by its field's name.
type Count struct {
	Child string
	Value int32
}

// Counts checks, in order, that no count is negative.
func Counts(path *field.Path, counts ...Count) field.ErrorList {
	var errs field.ErrorList
	for _, count := range counts {
		errs = append(errs, NotNegative(path.Child(count.Child), count.Value)...)
	}
	return errs
}

// CountsAtMost refuses, in order, each count above limit with message.
func CountsAtMost(path *field.Path, limit int32, message string, counts ...Count) field.ErrorList {
	var errs field.ErrorList
	for _, count := range counts {
		if count.Value > limit {
			errs = append(errs, field.Invalid(path.Child(count.Child), count.Value, message))
		}
	}
	return errs
}

// NotDecremented refuses an optional counter that goes back.
func NotDecremented(path *field.Path, value, old *int32) field.ErrorList {
	now := int32(0)
	if value != nil {
		now = *value
	}
	if old == nil || (value != nil && now >= *old) {
		return nil
	}
	return field.ErrorList{field.Invalid(path, now, "cannot be decremented")}
}

// IntOrPercent checks a number of things, or a share of them.
func IntOrPercent(path *field.Path, value intstr.IntOrString) field.ErrorList {
	if value.Type == intstr.String {
		return All(path, value, validation.IsValidPercent(value.StrVal))
	}
	return NotNegative(path, value.IntValue())
}

// NotAbove100Percent checks a share of things.
func NotAbove100Percent(path *field.Path, value intstr.IntOrString) field.ErrorList {
	if !isPercent(value) || Amount(value) <= 100 {
		return nil
	}
	return field.ErrorList{field.Invalid(path, value, "must not be greater than 100%")}
}

// Amount is the number alone, whether it counts things or percents of them.
func Amount(value intstr.IntOrString) int {
	if isPercent(value) {
		percent, err := intstr.GetScaledValueFromIntOrPercent(&value, 100, false)
		if err == nil {
			return percent
		}
	}
	return value.IntValue()
}

func isPercent(value intstr.IntOrString) bool {
	return value.Type == intstr.String && len(validation.IsValidPercent(value.StrVal)) == 0
}
