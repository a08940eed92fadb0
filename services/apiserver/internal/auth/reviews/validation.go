package reviews

import (
	"fmt"

	authenticationv1 "k8s.io/api/authentication/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1validation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/libs/kinds"
)

// check returns an error about a question that cannot be asked so.
func check(namespace string, review kinds.Object) error {
	var errs field.ErrorList
	switch o := review.(type) {
	case *authorizationv1.SubjectAccessReview:
		errs = validateSpec(&o.Spec)
		errs = append(errs, validateMeta(o.ObjectMeta, "must be empty")...)
	case *authorizationv1.SelfSubjectAccessReview:
		errs = validateAttributes(o.Spec.ResourceAttributes, o.Spec.NonResourceAttributes)
		errs = append(errs, validateSelectors(o.Spec.ResourceAttributes)...)
		errs = append(errs, validateMeta(o.ObjectMeta, "must be empty")...)
	case *authorizationv1.LocalSubjectAccessReview:
		errs = validateLocal(o)
		if len(errs) == 0 && namespace != o.Namespace {
			return apierrors.NewBadRequest(fmt.Sprintf("spec.resourceAttributes.namespace must match namespace: %v", namespace))
		}
	case *authorizationv1.SelfSubjectRulesReview:
		if o.Spec.Namespace == "" {
			return apierrors.NewBadRequest("no namespace on request")
		}
	case *authenticationv1.TokenReview:
		if o.Spec.Token == "" {
			return apierrors.NewBadRequest("token is required for TokenReview in authentication")
		}
	}
	if len(errs) == 0 {
		return nil
	}
	// Upstream's questions have lost the name of their kind by then.
	return apierrors.NewInvalid(schema.GroupKind{Group: authorizationv1.GroupName}, "", errs)
}

func validateSpec(spec *authorizationv1.SubjectAccessReviewSpec) field.ErrorList {
	errs := validateAttributes(spec.ResourceAttributes, spec.NonResourceAttributes)
	if spec.User == "" && len(spec.Groups) == 0 {
		errs = append(errs, field.Invalid(field.NewPath("spec", "user"), spec.User, "at least one of user or group must be specified"))
	}
	return append(errs, validateSelectors(spec.ResourceAttributes)...)
}

func validateAttributes(r *authorizationv1.ResourceAttributes, n *authorizationv1.NonResourceAttributes) field.ErrorList {
	if (r != nil) != (n != nil) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("spec"), shown(n), "exactly one of nonResourceAttributes or resourceAttributes must be specified")}
}

// shown is how upstream shows a path in an error: by the names of Go.
func shown(n *authorizationv1.NonResourceAttributes) any {
	if n == nil {
		return n
	}
	return &struct{ Path, Verb string }{n.Path, n.Verb}
}

func validateLocal(o *authorizationv1.LocalSubjectAccessReview) field.ErrorList {
	errs := validateSpec(&o.Spec)
	said := o.ObjectMeta
	said.Namespace = ""
	if len(validateMeta(said, "")) > 0 {
		errs = append(errs, field.Invalid(field.NewPath("metadata"), o.ObjectMeta, "must be empty except for namespace"))
	}
	if r := o.Spec.ResourceAttributes; r != nil && r.Namespace != o.Namespace {
		errs = append(errs, field.Invalid(field.NewPath("spec.resourceAttributes.namespace"), r.Namespace, "must match metadata.namespace"))
	}
	if n := o.Spec.NonResourceAttributes; n != nil {
		errs = append(errs, field.Invalid(field.NewPath("spec.nonResourceAttributes"), shown(n), "disallowed on this kind of request"))
	}
	return errs
}

func validateMeta(meta metav1.ObjectMeta, message string) field.ErrorList {
	said := meta
	said.ManagedFields = nil
	if equality.Semantic.DeepEqual(metav1.ObjectMeta{}, said) {
		return nil
	}
	return field.ErrorList{field.Invalid(field.NewPath("metadata"), meta, message)}
}

func validateSelectors(r *authorizationv1.ResourceAttributes) field.ErrorList {
	if r == nil {
		return nil
	}
	var errs field.ErrorList
	if s := r.FieldSelector; s != nil {
		path := field.NewPath("spec.resourceAttributes").Child("fieldSelector")
		errs = append(errs, validateSelector(path, s.RawSelector, len(s.Requirements))...)
		// Operators that a newer client knows are let through: they are left
		// out of the question.
		options := metav1validation.FieldSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}
		for i, requirement := range s.Requirements {
			errs = append(errs, metav1validation.ValidateFieldSelectorRequirement(requirement, options, path.Child("requirements").Index(i))...)
		}
	}
	if s := r.LabelSelector; s != nil {
		path := field.NewPath("spec.resourceAttributes").Child("labelSelector")
		errs = append(errs, validateSelector(path, s.RawSelector, len(s.Requirements))...)
		options := metav1validation.LabelSelectorValidationOptions{AllowUnknownOperatorInRequirement: true}
		for i, requirement := range s.Requirements {
			errs = append(errs, metav1validation.ValidateLabelSelectorRequirement(requirement, options, path.Child("requirements").Index(i))...)
		}
	}
	return errs
}

func validateSelector(path *field.Path, raw string, requirements int) field.ErrorList {
	switch {
	case raw != "" && requirements > 0:
		return field.ErrorList{field.Invalid(path.Child("rawSelector"), raw, "may not specified at the same time as requirements")}
	case raw == "" && requirements == 0:
		return field.ErrorList{field.Required(path.Child("requirements"), fmt.Sprintf("when %s is specified, requirements or rawSelector is required", path))}
	}
	return nil
}
