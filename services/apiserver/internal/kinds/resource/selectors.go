package resource

import (
	"encoding/json"
	"errors"
	"fmt"

	resourcev1 "k8s.io/api/resource/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/dynamic-resource-allocation/cel"

	"coracle.local/services/apiserver/internal/kinds/check"
)

func validateSelectors(path *field.Path, selectors []resourcev1.DeviceSelector, stored bool) field.ErrorList {
	return each(path, selectors, resourcev1.DeviceSelectorsMaxSize, true, func(path *field.Path, s *resourcev1.DeviceSelector) field.ErrorList {
		if s.CEL == nil {
			return field.ErrorList{field.Required(path.Child("cel"), "")}
		}
		if stored {
			return nil
		}
		return validateExpression(path.Child("cel", "expression"), s.CEL.Expression)
	})
}

// validateExpression compiles an expression about a device. The compiler is made
// when first needed.
func validateExpression(path *field.Path, expression string) field.ErrorList {
	if len(expression) > resourcev1.CELSelectorExpressionMaxLength {
		return field.ErrorList{field.TooLong(path, "", resourcev1.CELSelectorExpressionMaxLength)}
	}
	envType := environment.NewExpressions
	result := cel.GetCompiler(cel.Features{EnableConsumableCapacity: true}).CompileCELExpression(expression, cel.Options{EnvType: &envType})
	if result.Error != nil {
		return field.ErrorList{expressionError(path, expression, result.Error)}
	}
	if result.MaxCost > resourcev1.CELSelectorExpressionMaxCost {
		return field.ErrorList{field.Forbidden(path, "too complex, exceeds cost limit")}
	}
	return nil
}

func expressionError(path *field.Path, expression string, err error) *field.Error {
	var known *apiservercel.Error
	if !errors.As(err, &known) {
		return field.InternalError(path, fmt.Errorf("unsupported error type: %w", err))
	}
	switch known.Type {
	case apiservercel.ErrorTypeRequired:
		return field.Required(path, known.Detail)
	case apiservercel.ErrorTypeInvalid:
		return field.Invalid(path, expression, known.Detail)
	}
	return field.InternalError(path, known)
}

func validateConfiguration(path *field.Path, c *resourcev1.DeviceConfiguration, stored bool) field.ErrorList {
	if c.Opaque == nil {
		return field.ErrorList{field.Required(path.Child("opaque"), "")}
	}
	path = path.Child("opaque")
	errs := validateDriver(path.Child("driver"), c.Opaque.Driver, true)
	return append(errs, validateRaw(path.Child("parameters"), c.Opaque.Parameters, stored, resourcev1.OpaqueParametersMaxLength)...)
}

// validateRaw checks what only a driver understands: it must be an object.
func validateRaw(path *field.Path, raw runtime.RawExtension, stored bool, most int) field.ErrorList {
	const omitted = "<value omitted>"
	var value any
	switch err := json.Unmarshal(raw.Raw, &value); {
	case len(raw.Raw) == 0:
		return field.ErrorList{field.Required(path, "")}
	case !stored && len(raw.Raw) > most:
		return field.ErrorList{field.TooLong(path, "", most)}
	case err != nil:
		return field.ErrorList{field.Invalid(path, omitted, fmt.Sprintf("error parsing data as JSON: %v", err))}
	case value == nil:
		return field.ErrorList{field.Required(path, "")}
	}
	if _, ok := value.(map[string]any); !ok {
		return field.ErrorList{field.Invalid(path, omitted, "must be a valid JSON object")}
	}
	return nil
}

var effects = []resourcev1.DeviceTaintEffect{
	resourcev1.DeviceTaintEffectNoExecute, resourcev1.DeviceTaintEffectNoSchedule, resourcev1.DeviceTaintEffectNone,
}

func covered(errs field.ErrorList) field.ErrorList { return errs.MarkCoveredByDeclarative() }

func validateTaint(path *field.Path, taint, old *resourcev1.DeviceTaint) field.ErrorList {
	errs := metavalidation.ValidateLabelName(taint.Key, path.Child("key"))
	if taint.Value != "" {
		errs = append(errs, labelValue(path.Child("value"), taint.Value)...)
	}
	if old == nil || old.Effect != taint.Effect {
		errs = append(errs, covered(check.RequiredOneOf(path.Child("effect"), taint.Effect, effects...))...)
	}
	return errs
}

func validateToleration(path *field.Path, t *resourcev1.DeviceToleration) field.ErrorList {
	var errs field.ErrorList
	if t.Key != "" {
		errs = covered(metavalidation.ValidateLabelName(t.Key, path.Child("key")))
	}
	switch t.Operator {
	case resourcev1.DeviceTolerationOpExists:
		if t.Value != "" {
			errs = append(errs, field.Invalid(path.Child("value"), t.Value, "must be empty for operator `Exists`"))
		}
	case resourcev1.DeviceTolerationOpEqual:
		errs = append(errs, labelValue(path.Child("value"), t.Value)...)
	default:
		errs = append(errs, covered(check.RequiredOneOf(path.Child("operator"), t.Operator, resourcev1.DeviceTolerationOpEqual, resourcev1.DeviceTolerationOpExists))...)
	}
	if t.Effect != "" {
		errs = append(errs, covered(check.OneOf(path.Child("effect"), t.Effect, effects...))...)
	}
	return errs
}

func validateTolerations(path *field.Path, tolerations []resourcev1.DeviceToleration) field.ErrorList {
	return each(path, tolerations, -1, false, validateToleration)
}

func labelValue(path *field.Path, value string) field.ErrorList {
	return check.All(path, value, validation.IsValidLabelValue(value))
}
