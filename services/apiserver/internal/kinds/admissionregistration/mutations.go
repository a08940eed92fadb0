package admissionregistration

import (
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/expressions"
	"coracle.local/services/apiserver/internal/kinds/check"
)

// storedMutating are the expressions of a stored policy.
func storedMutating(p *admissionv1.MutatingAdmissionPolicy) stored {
	var s stored
	for _, c := range p.Spec.MatchConditions {
		s.conditions = append(s.conditions, c.Expression)
	}
	for _, m := range p.Spec.Mutations {
		if m.ApplyConfiguration != nil {
			s.configurations = append(s.configurations, m.ApplyConfiguration.Expression)
		}
	}
	return s
}

// validateMutatingOperations refuses rules about deletions: there is nothing to
// change.
func validateMutatingOperations(p *field.Path, match *admissionv1.MatchResources) field.ErrorList {
	if match == nil {
		return nil
	}
	var errs field.ErrorList
	for _, rule := range match.ResourceRules {
		for _, operation := range rule.Operations {
			errs = append(errs, check.OneOf(p.Child("resourceRules", "operations"), operation,
				admissionv1.OperationAll, admissionv1.Connect, admissionv1.Create, admissionv1.Update)...)
		}
	}
	return errs
}

func validateMutations(s *admissionv1.MutatingAdmissionPolicySpec, known stored) field.ErrorList {
	params := s.ParamKind != nil
	compiler := expressions.NewPolicyCompiler()
	errs := validateVariables(specPath.Child("variables"), compiler, s.Variables, params, known.validations)
	at := specPath.Child("mutations")
	if len(s.Mutations) == 0 {
		errs = append(errs, field.Required(at, "mutations must contain at least one item"))
	}
	for i := range s.Mutations {
		errs = append(errs, validateMutation(at.Index(i), compiler, &s.Mutations[i], params, known)...)
	}
	return append(errs, check.RequiredOneOf(specPath.Child("reinvocationPolicy"), s.ReinvocationPolicy,
		admissionv1.IfNeededReinvocationPolicy, admissionv1.NeverReinvocationPolicy)...)
}

func validateMutation(p *field.Path, compiler *expressions.Compiler, m *admissionv1.Mutation, params bool, known stored) field.ErrorList {
	compile := func(p *field.Path, text string, as func(string) *expressions.Expression) field.ErrorList {
		trimmed := strings.TrimSpace(text)
		if trimmed == "" {
			return field.ErrorList{field.Required(p.Child("expression"), "")}
		}
		d := expressions.Declared{HasParams: params, HasAuthorizer: true, HasPatchTypes: true}
		return compiled(p.Child("expression"), compiler.Compile(as(trimmed), d, mode(known.configurations, text)), trimmed)
	}
	patch, configuration := p.Child("jsonPatch"), p.Child("applyConfiguration")
	var errs field.ErrorList
	switch m.PatchType {
	case admissionv1.PatchTypeJSONPatch:
		if m.JSONPatch == nil {
			errs = append(errs, field.Required(patch, "must be specified when patchType is JSONPatch"))
		} else {
			errs = append(errs, compile(patch, m.JSONPatch.Expression, expressions.JSONPatch)...)
		}
		if m.ApplyConfiguration != nil {
			errs = append(errs, field.Invalid(configuration, "{applyConfiguration}", "must not be specified when patchType is JSONPatch"))
		}
	case admissionv1.PatchTypeApplyConfiguration:
		if m.ApplyConfiguration == nil {
			errs = append(errs, field.Required(configuration, "must be specified when patchType is ApplyConfiguration"))
		} else {
			errs = append(errs, compile(configuration, m.ApplyConfiguration.Expression, expressions.Configuration)...)
		}
		if m.JSONPatch != nil {
			errs = append(errs, field.Invalid(patch, "{jsonPatch}", "must not be specified when patchType is ApplyConfiguration"))
		}
	default:
		return check.RequiredOneOf(p.Child("patchType"), m.PatchType, admissionv1.PatchTypeApplyConfiguration, admissionv1.PatchTypeJSONPatch)
	}
	return errs
}
