package admissionregistration

import (
	"fmt"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/validate/content"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

// staticSuffix ends the names of configurations that a server reads from files.
const staticSuffix = ".static.k8s.io"

const validationsMissing = "validations or auditAnnotations must contain at least one item"

var specPath = field.NewPath("spec")

func validateName(name string) field.ErrorList {
	if !strings.HasSuffix(name, staticSuffix) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata", "name"), name,
		fmt.Sprintf("names ending with %q are reserved for static manifest-based configurations and cannot be managed via the API", staticSuffix))}
}

// ValidatingAdmissionPolicy is the behaviour of
// admissionregistration.k8s.io/v1 ValidatingAdmissionPolicy.
func ValidatingAdmissionPolicy() strategy.Kind[*admissionv1.ValidatingAdmissionPolicy] {
	k := strategy.Outline[*admissionv1.ValidatingAdmissionPolicy]()
	k.AllowUnconditionalUpdate = false
	k.Default = func(p *admissionv1.ValidatingAdmissionPolicy) {
		defaultPointer(&p.Spec.FailurePolicy, admissionv1.Fail)
		defaultMatch(p.Spec.MatchConstraints)
	}
	validate := func(p *admissionv1.ValidatingAdmissionPolicy, sameConditions bool, known stored) field.ErrorList {
		errs := validateConstraints(p.Spec.FailurePolicy, p.Spec.ParamKind, p.Spec.MatchConstraints)
		if !sameConditions {
			errs = append(errs, validateConditions(specPath.Child("matchConditions"), p.Spec.MatchConditions, p.Spec.ParamKind != nil, known.conditions)...)
		}
		return append(errs, validateJudgements(p, known)...)
	}
	k.ValidateCreate = func(p *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
		return append(validate(p, false, stored{}), validateName(p.Name)...)
	}
	k.ValidateUpdate = func(p, old *admissionv1.ValidatingAdmissionPolicy) field.ErrorList {
		same := equality.Semantic.DeepEqual(p.Spec.ParamKind, old.Spec.ParamKind) && equality.Semantic.DeepEqual(p.Spec.MatchConditions, old.Spec.MatchConditions)
		return validate(p, same, storedValidating(old))
	}
	k.Status.PrepareUpdate = func(p, old *admissionv1.ValidatingAdmissionPolicy) {
		p.Spec = old.Spec
		metav1.ResetObjectMetaForStatus(&p.ObjectMeta, &old.ObjectMeta)
	}
	k.ResetFields = map[string][]string{"": {"status"}, "status": {"metadata", "spec"}}
	k.Status.ValidateUpdate = func(p, _ *admissionv1.ValidatingAdmissionPolicy) field.ErrorList { return validateStatus(&p.Status) }
	k.Columns = cells.Columns(
		cells.Name(),
		cells.Number("Validations", "Validations indicates the number of validation rules defined in this configuration"),
		cells.Text("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
		cells.Age(),
	)
	k.Cells = func(p *admissionv1.ValidatingAdmissionPolicy) []any {
		return []any{p.Name, int64(len(p.Spec.Validations)), paramKindCell(p.Spec.ParamKind), cells.AgeOf(p)}
	}
	return k
}

// MutatingAdmissionPolicy is the behaviour of admissionregistration.k8s.io/v1
// MutatingAdmissionPolicy.
func MutatingAdmissionPolicy() strategy.Kind[*admissionv1.MutatingAdmissionPolicy] {
	k := strategy.Outline[*admissionv1.MutatingAdmissionPolicy]()
	k.AllowUnconditionalUpdate = false
	k.Default = func(p *admissionv1.MutatingAdmissionPolicy) {
		defaultPointer(&p.Spec.FailurePolicy, admissionv1.Fail)
		defaultMatch(p.Spec.MatchConstraints)
	}
	validate := func(p *admissionv1.MutatingAdmissionPolicy, sameConditions bool, known stored) field.ErrorList {
		errs := validateConstraints(p.Spec.FailurePolicy, p.Spec.ParamKind, p.Spec.MatchConstraints)
		errs = append(errs, validateMutatingOperations(specPath.Child("matchConstraints"), p.Spec.MatchConstraints)...)
		if !sameConditions {
			errs = append(errs, validateConditions(specPath.Child("matchConditions"), p.Spec.MatchConditions, p.Spec.ParamKind != nil, known.conditions)...)
		}
		return append(errs, validateMutations(&p.Spec, known)...)
	}
	k.ValidateCreate = func(p *admissionv1.MutatingAdmissionPolicy) field.ErrorList {
		return append(validate(p, false, stored{}), validateName(p.Name)...)
	}
	k.ValidateUpdate = func(p, old *admissionv1.MutatingAdmissionPolicy) field.ErrorList {
		same := equality.Semantic.DeepEqual(p.Spec.ParamKind, old.Spec.ParamKind) && equality.Semantic.DeepEqual(p.Spec.MatchConditions, old.Spec.MatchConditions)
		return validate(p, same, storedMutating(old))
	}
	k.Columns = cells.Columns(
		cells.Name(),
		cells.Number("Mutations", "Mutation indicates the number of mutations rules defined in this configuration"),
		cells.Text("ParamKind", "ParamKind specifies the kind of resources used to parameterize this policy"),
		cells.Age(),
	)
	k.Cells = func(p *admissionv1.MutatingAdmissionPolicy) []any {
		return []any{p.Name, int64(len(p.Spec.Mutations)), paramKindCell(p.Spec.ParamKind), cells.AgeOf(p)}
	}
	return k
}

func paramKindCell(kind *admissionv1.ParamKind) string {
	if kind == nil {
		return "<unset>"
	}
	return kind.APIVersion + "/" + kind.Kind
}

func defaultMatch(match *admissionv1.MatchResources) {
	if match == nil {
		return
	}
	defaultPointer(&match.MatchPolicy, admissionv1.Equivalent)
	defaultPointer(&match.NamespaceSelector, metav1.LabelSelector{})
	defaultPointer(&match.ObjectSelector, metav1.LabelSelector{})
	for i := range match.ResourceRules {
		defaultPointer(&match.ResourceRules[i].Scope, admissionv1.AllScopes)
	}
	for i := range match.ExcludeResourceRules {
		defaultPointer(&match.ExcludeResourceRules[i].Scope, admissionv1.AllScopes)
	}
}

func validateConstraints(policy *admissionv1.FailurePolicyType, kind *admissionv1.ParamKind, match *admissionv1.MatchResources) field.ErrorList {
	var errs field.ErrorList
	if policy == nil {
		errs = append(errs, field.Required(specPath.Child("failurePolicy"), ""))
	} else {
		errs = append(errs, check.OneOf(specPath.Child("failurePolicy"), *policy, admissionv1.Fail, admissionv1.Ignore)...)
	}
	errs = append(errs, validateParamKind(specPath.Child("paramKind"), kind)...)
	at := specPath.Child("matchConstraints")
	if match == nil {
		return append(errs, field.Required(at, ""))
	}
	errs = append(errs, validateMatch(at, match)...)
	if len(match.ResourceRules) == 0 {
		errs = append(errs, field.Required(at.Child("resourceRules"), ""))
	}
	return errs
}

func validateMatch(p *field.Path, match *admissionv1.MatchResources) field.ErrorList {
	if match == nil {
		return nil
	}
	var errs field.ErrorList
	if match.MatchPolicy != nil {
		errs = append(errs, check.OneOf(p.Child("matchPolicy"), *match.MatchPolicy, admissionv1.Equivalent, admissionv1.Exact)...)
	}
	errs = append(errs, check.Selector(p.Child("namespaceSelector"), match.NamespaceSelector, false)...)
	errs = append(errs, check.Selector(p.Child("objectSelector"), match.ObjectSelector, false)...)
	for i := range match.ResourceRules {
		errs = append(errs, validateNamedRule(p.Child("resourceRules").Index(i), &match.ResourceRules[i])...)
	}
	for i := range match.ExcludeResourceRules {
		errs = append(errs, validateNamedRule(p.Child("excludeResourceRules").Index(i), &match.ExcludeResourceRules[i])...)
	}
	return errs
}

func validateNamedRule(p *field.Path, rule *admissionv1.NamedRuleWithOperations) field.ErrorList {
	var errs field.ErrorList
	seen := map[string]bool{}
	for i, name := range rule.ResourceNames {
		at := p.Child("resourceNames").Index(i)
		errs = append(errs, check.All(at, name, content.IsPathSegmentName(name))...)
		if seen[name] {
			errs = append(errs, field.Duplicate(at, name))
		}
		seen[name] = true
	}
	return append(errs, validateOperations(p, &rule.RuleWithOperations)...)
}
