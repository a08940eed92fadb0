package admissionregistration

import (
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

func validateParamKind(p *field.Path, kind *admissionv1.ParamKind) field.ErrorList {
	if kind == nil {
		return nil
	}
	errs := validateParamVersion(p.Child("apiVersion"), kind.APIVersion)
	if kind.Kind == "" {
		return append(errs, field.Required(p.Child("kind"), ""))
	}
	if wrong := validation.IsDNS1035Label(strings.ToLower(kind.Kind)); len(wrong) > 0 {
		errs = append(errs, field.Invalid(p.Child("kind"), kind.Kind, "may have mixed case, but should otherwise match: "+strings.Join(wrong, ",")))
	}
	return errs
}

func validateParamVersion(p *field.Path, text string) field.ErrorList {
	group, version, grouped := strings.Cut(text, "/")
	switch {
	case text == "":
		return field.ErrorList{field.Required(p, "")}
	case strings.Count(text, "/") > 1:
		return field.ErrorList{field.Invalid(p, text, fmt.Sprintf("unexpected GroupVersion string: %v", text))}
	case !grouped:
		group, version = "", text
	}
	var errs field.ErrorList
	if group != "" {
		if wrong := validation.IsDNS1123Subdomain(group); len(wrong) > 0 {
			errs = append(errs, field.Invalid(p, group, strings.Join(wrong, ",")))
		}
	}
	if version == "" {
		return append(errs, field.Invalid(p, text, "version must be specified"))
	}
	if wrong := validation.IsDNS1035Label(version); len(wrong) > 0 {
		errs = append(errs, field.Invalid(p, version, strings.Join(wrong, ",")))
	}
	return errs
}
