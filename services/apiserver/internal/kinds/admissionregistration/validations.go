package admissionregistration

import (
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/expressions"
	"coracle.local/services/apiserver/internal/kinds/check"
)

// Limits of audit annotations.
const (
	maxAnnotations      = 20
	maxAnnotationLength = 5 << 10
)

// storedValidating are the expressions of a stored policy.
func storedValidating(p *admissionv1.ValidatingAdmissionPolicy) stored {
	var s stored
	for _, c := range p.Spec.MatchConditions {
		s.conditions = append(s.conditions, c.Expression)
	}
	for _, v := range p.Spec.Validations {
		s.validations = append(s.validations, v.Expression)
		s.messages = append(s.messages, v.MessageExpression)
	}
	for _, a := range p.Spec.AuditAnnotations {
		s.annotations = append(s.annotations, a.ValueExpression)
	}
	return s
}

// validateJudgements checks what a policy says about objects.
func validateJudgements(p *admissionv1.ValidatingAdmissionPolicy, known stored) field.ErrorList {
	s := &p.Spec
	params := s.ParamKind != nil
	compiler := compilerFor(s.Variables)
	errs := validateVariables(specPath.Child("variables"), compiler, s.Variables, params, known.validations)
	if len(s.Validations) == 0 && len(s.AuditAnnotations) == 0 {
		return append(errs, field.Required(specPath.Child("validations"), validationsMissing), field.Required(specPath.Child("auditAnnotations"), validationsMissing))
	}
	for i := range s.Validations {
		errs = append(errs, validateValidation(specPath.Child("validations").Index(i), compiler, &s.Validations[i], params, known)...)
	}
	return append(errs, validateAnnotations(specPath.Child("auditAnnotations"), compiler, p, known)...)
}

func validateValidation(p *field.Path, compiler *expressions.Compiler, v *admissionv1.Validation, params bool, known stored) field.ErrorList {
	var errs field.ErrorList
	at := p.Child("expression")
	if blank(v.Expression) {
		errs = append(errs, field.Required(at, "expression is not specified"))
	} else {
		r := compiler.Compile(expressions.Condition(v.Expression), expressions.Declared{HasParams: params, HasAuthorizer: true}, mode(known.validations, v.Expression))
		errs = append(errs, compiled(at, r, v.Expression)...)
	}
	at = p.Child("messageExpression")
	switch {
	case v.MessageExpression == "":
	case blank(v.MessageExpression):
		errs = append(errs, field.Invalid(at, v.MessageExpression, "must be non-empty if specified"))
	default:
		r := compiler.Compile(expressions.Message(v.MessageExpression), expressions.Declared{HasParams: params}, mode(known.messages, v.MessageExpression))
		errs = append(errs, compiled(at, r, v.MessageExpression)...)
	}
	at = p.Child("message")
	switch {
	case v.Message != "" && blank(v.Message):
		errs = append(errs, field.Invalid(at, v.Message, "must be non-empty if specified"))
	case strings.ContainsAny(strings.TrimSpace(v.Message), "\n\r"):
		errs = append(errs, field.Invalid(at, v.Message, "must not contain line breaks"))
	}
	if v.Reason != nil {
		errs = append(errs, check.OneOf(p.Child("reason"), *v.Reason,
			metav1.StatusReasonForbidden, metav1.StatusReasonInvalid, metav1.StatusReasonRequestEntityTooLarge)...)
	}
	return errs
}

func validateAnnotations(p *field.Path, compiler *expressions.Compiler, policy *admissionv1.ValidatingAdmissionPolicy, known stored) field.ErrorList {
	annotations := policy.Spec.AuditAnnotations
	var errs field.ErrorList
	if len(annotations) > maxAnnotations {
		errs = append(errs, field.Invalid(p, annotations, fmt.Sprintf("must not have more than %d auditAnnotations", maxAnnotations)))
	}
	seen := map[string]bool{}
	for i, a := range annotations {
		p := p.Index(i)
		if policy.Name == "" {
			errs = append(errs, field.Invalid(p.Child("key"), a.Key, "requires metadata.name be non-empty"))
		} else {
			errs = append(errs, check.QualifiedName(p.Child("key"), policy.Name+"/"+a.Key)...)
		}
		errs = append(errs, validateAnnotation(p.Child("valueExpression"), compiler, a.ValueExpression, policy.Spec.ParamKind != nil, known)...)
		if seen[a.Key] {
			errs = append(errs, field.Duplicate(p.Child("key"), a.Key))
		}
		seen[a.Key] = true
	}
	return errs
}

func validateAnnotation(p *field.Path, compiler *expressions.Compiler, expression string, params bool, known stored) field.ErrorList {
	text := strings.TrimSpace(expression)
	switch {
	case text == "":
		return field.ErrorList{field.Required(p, "valueExpression is not specified")}
	case len(text) > maxAnnotationLength:
		return field.ErrorList{field.Required(p, fmt.Sprintf("must not exceed %d bytes in length", maxAnnotationLength))}
	}
	r := compiler.Compile(expressions.Annotation(text), expressions.Declared{HasParams: params, HasAuthorizer: true}, mode(known.annotations, expression))
	return compiled(p, r, expression)
}
