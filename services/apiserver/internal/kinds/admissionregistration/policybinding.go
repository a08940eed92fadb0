package admissionregistration

import (
	"slices"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

const exclusive = "name and selector are mutually exclusive"

// ValidatingAdmissionPolicyBinding is the behaviour of
// admissionregistration.k8s.io/v1 ValidatingAdmissionPolicyBinding.
func ValidatingAdmissionPolicyBinding() strategy.Kind[*admissionv1.ValidatingAdmissionPolicyBinding] {
	k := strategy.Outline[*admissionv1.ValidatingAdmissionPolicyBinding]()
	k.AllowUnconditionalUpdate = false
	k.Default = func(b *admissionv1.ValidatingAdmissionPolicyBinding) { defaultMatch(b.Spec.MatchResources) }
	validate := func(b *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
		errs := validateBinding(b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources)
		errs = append(errs, validateActions(specPath.Child("validationActions"), b.Spec.ValidationActions)...)
		errs = append(errs, check.Set(specPath, "policyName", b.Spec.PolicyName)...)
		if len(b.Spec.ValidationActions) == 0 {
			errs = append(errs, field.Required(specPath.Child("validationActions"), ""))
		}
		return errs
	}
	k.ValidateCreate = func(b *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList {
		return append(validate(b), validateName(b.Name)...)
	}
	k.ValidateUpdate = func(b, _ *admissionv1.ValidatingAdmissionPolicyBinding) field.ErrorList { return validate(b) }
	k.Columns = bindingColumns()
	k.Cells = func(b *admissionv1.ValidatingAdmissionPolicyBinding) []any {
		return []any{b.Name, b.Spec.PolicyName, paramRefCell(b.Spec.ParamRef), cells.AgeOf(b)}
	}
	return k
}

// MutatingAdmissionPolicyBinding is the behaviour of
// admissionregistration.k8s.io/v1 MutatingAdmissionPolicyBinding.
func MutatingAdmissionPolicyBinding() strategy.Kind[*admissionv1.MutatingAdmissionPolicyBinding] {
	k := strategy.Outline[*admissionv1.MutatingAdmissionPolicyBinding]()
	k.AllowUnconditionalUpdate = false
	k.Default = func(b *admissionv1.MutatingAdmissionPolicyBinding) { defaultMatch(b.Spec.MatchResources) }
	validate := func(b *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList {
		errs := check.Set(specPath, "policyName", b.Spec.PolicyName)
		errs = append(errs, validateBinding(b.Spec.PolicyName, b.Spec.ParamRef, b.Spec.MatchResources)...)
		return append(errs, validateMutatingOperations(specPath.Child("matchResources"), b.Spec.MatchResources)...)
	}
	k.ValidateCreate = func(b *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList {
		return append(validate(b), validateName(b.Name)...)
	}
	k.ValidateUpdate = func(b, _ *admissionv1.MutatingAdmissionPolicyBinding) field.ErrorList { return validate(b) }
	k.Columns = bindingColumns()
	k.Cells = func(b *admissionv1.MutatingAdmissionPolicyBinding) []any {
		return []any{b.Name, b.Spec.PolicyName, paramRefCell(b.Spec.ParamRef), cells.AgeOf(b)}
	}
	return k
}

func bindingColumns() []metav1.TableColumnDefinition {
	return cells.Columns(
		cells.Name(),
		cells.Text("PolicyName", "PolicyName indicates the policy definition which the policy binding binded to"),
		cells.Text("ParamRef", "ParamRef indicates the param resource which sets the configuration param"),
		cells.Age(),
	)
}

func paramRefCell(ref *admissionv1.ParamRef) string {
	switch {
	case ref == nil:
	case ref.Name != "":
		return cells.Or(ref.Namespace, wildcard) + "/" + ref.Name
	case ref.Selector != nil:
		return ref.Selector.String()
	}
	return "<unset>"
}

func validateBinding(policy string, ref *admissionv1.ParamRef, match *admissionv1.MatchResources) field.ErrorList {
	var errs field.ErrorList
	if policy != "" {
		errs = append(errs, check.Name(specPath.Child("policyName"), policy, apivalidation.NameIsDNSSubdomain)...)
	}
	errs = append(errs, validateParamRef(specPath.Child("paramRef"), ref)...)
	return append(errs, validateMatch(specPath.Child("matchResources"), match)...)
}

func validateParamRef(p *field.Path, ref *admissionv1.ParamRef) field.ErrorList {
	if ref == nil {
		return nil
	}
	var errs field.ErrorList
	both := ref.Name != "" && ref.Selector != nil
	if ref.Name != "" {
		errs = append(errs, check.All(p.Child("name"), ref.Name, content.IsPathSegmentName(ref.Name))...)
	}
	if both {
		errs = append(errs, field.Forbidden(p.Child("name"), exclusive))
	}
	errs = append(errs, check.Selector(p.Child("selector"), ref.Selector, false)...)
	if both {
		errs = append(errs, field.Forbidden(p.Child("selector"), exclusive))
	}
	if ref.Name == "" && ref.Selector == nil {
		errs = append(errs, field.Required(p, "one of name or selector must be specified"))
	}
	var action admissionv1.ParameterNotFoundActionType
	if ref.ParameterNotFoundAction != nil {
		action = *ref.ParameterNotFoundAction
	}
	return append(errs, check.RequiredOneOf(p.Child("parameterNotFoundAction"), action, admissionv1.DenyAction, admissionv1.AllowAction)...)
}

func validateActions(p *field.Path, actions []admissionv1.ValidationAction) field.ErrorList {
	var errs field.ErrorList
	for i, action := range actions {
		errs = append(errs, check.OneOf(p.Index(i), action, admissionv1.Audit, admissionv1.Deny, admissionv1.Warn)...)
		if slices.Contains(actions[:i], action) {
			errs = append(errs, field.Duplicate(p.Index(i), action))
		}
	}
	if slices.Contains(actions, admissionv1.Deny) && slices.Contains(actions, admissionv1.Warn) {
		errs = append(errs, field.Invalid(p, actions,
			"must not contain both Deny and Warn (repeating the same validation failure information in the API response and headers serves no purpose)"))
	}
	return errs
}
