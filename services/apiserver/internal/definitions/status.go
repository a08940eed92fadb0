package definitions

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/client-go/util/cert"
)

type (
	definition = *apiextensionsv1.CustomResourceDefinition
	condition  = apiextensionsv1.CustomResourceDefinitionCondition
	names      = apiextensionsv1.CustomResourceDefinitionNames
)

// status is what a definition's status is to be, as far as its names, its
// schemas and its approval tell. claimed are the accepted names of all
// definitions of its group, its own among them.
func status(d definition, claimed []names, now metav1.Time) apiextensionsv1.CustomResourceDefinitionStatus {
	out := *d.Status.DeepCopy()
	if !equality.Semantic.DeepEqual(d.Spec.Names, d.Status.AcceptedNames) {
		accepted, verdict := accept(d.Spec.Names, d.Status.AcceptedNames, claimed)
		out.AcceptedNames = accepted
		set(&out, verdict, now)
	}
	if c := establish(d, &out); c != nil {
		set(&out, *c, now)
	}
	if c := structural(d); c != nil {
		set(&out, *c, now)
	} else {
		out.Conditions = slices.DeleteFunc(out.Conditions, func(c condition) bool { return c.Type == apiextensionsv1.NonStructuralSchema })
	}
	if c := approval(d); c != nil {
		set(&out, *c, now)
	}
	return out
}

// set puts a condition among those that are there. Its time stays as long as
// its status does.
func set(s *apiextensionsv1.CustomResourceDefinitionStatus, c condition, now metav1.Time) {
	c.LastTransitionTime = now
	at := slices.IndexFunc(s.Conditions, func(have condition) bool { return have.Type == c.Type })
	if at < 0 {
		s.Conditions = append(s.Conditions, c)
		return
	}
	have := &s.Conditions[at]
	if have.Status == c.Status && !have.LastTransitionTime.IsZero() {
		c.LastTransitionTime = have.LastTransitionTime
	}
	c.ObservedGeneration = have.ObservedGeneration
	*have = c
}

func find(s *apiextensionsv1.CustomResourceDefinitionStatus, t apiextensionsv1.CustomResourceDefinitionConditionType) *condition {
	for i := range s.Conditions {
		if s.Conditions[i].Type == t {
			return &s.Conditions[i]
		}
	}
	return nil
}

func is(s *apiextensionsv1.CustomResourceDefinitionStatus, t apiextensionsv1.CustomResourceDefinitionConditionType) bool {
	c := find(s, t)
	return c != nil && c.Status == apiextensionsv1.ConditionTrue
}

// accept judges the names that a definition asks for. One that is taken stays
// what was accepted before.
func accept(wanted, accepted names, claimed []names) (names, condition) {
	resources, kinds := map[string]bool{}, map[string]bool{}
	for _, n := range claimed {
		resources[n.Plural], resources[n.Singular] = true, true
		for _, short := range n.ShortNames {
			resources[short] = true
		}
		kinds[n.Kind], kinds[n.ListKind] = true, true
	}
	verdict := condition{
		Type: apiextensionsv1.NamesAccepted, Status: apiextensionsv1.ConditionTrue,
		Reason: "NoConflicts", Message: "no conflicts found",
	}
	out := accepted
	// Of several conflicts the last is told.
	refuse := func(reason string, err error) {
		verdict.Status, verdict.Reason, verdict.Message = apiextensionsv1.ConditionFalse, reason, err.Error()
	}
	one := func(wanted string, accepted *string, taken map[string]bool, reason string) {
		if wanted != *accepted && taken[wanted] {
			refuse(reason, inUse(wanted))
			return
		}
		*accepted = wanted
	}
	one(wanted.Plural, &out.Plural, resources, "PluralConflict")
	one(wanted.Singular, &out.Singular, resources, "SingularConflict")
	if err := shortConflicts(wanted, accepted, resources); err != nil {
		refuse("ShortNamesConflict", err)
	} else {
		out.ShortNames = wanted.ShortNames
	}
	one(wanted.Kind, &out.Kind, kinds, "KindConflict")
	one(wanted.ListKind, &out.ListKind, kinds, "ListKindConflict")
	out.Categories = wanted.Categories
	return out, verdict
}

func inUse(name string) error { return fmt.Errorf("%q is already in use", name) }

func shortConflicts(wanted, accepted names, taken map[string]bool) error {
	var errs []error
	for _, short := range wanted.ShortNames {
		if taken[short] && !slices.Contains(accepted.ShortNames, short) {
			errs = append(errs, inUse(short))
		}
	}
	return utilerrors.NewAggregate(errs)
}

// establish is whether the definition's objects are served, once its names are
// known; nil if that stays as it is.
func establish(d definition, s *apiextensionsv1.CustomResourceDefinitionStatus) *condition {
	switch {
	case is(s, apiextensionsv1.Established):
		return nil
	case !is(s, apiextensionsv1.NamesAccepted):
		if find(s, apiextensionsv1.Established) != nil {
			return nil
		}
		return &condition{
			Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionFalse,
			Reason: "NotAccepted", Message: "not all names are accepted",
		}
	case !validBundle(d.Spec.Conversion):
		return &condition{
			Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionFalse,
			Reason: "InvalidCABundle", Message: "The conversion webhook CABundle is invalid",
		}
	}
	return &condition{
		Type: apiextensionsv1.Established, Status: apiextensionsv1.ConditionTrue,
		Reason: "InitialNamesAccepted", Message: "the initial names have been accepted",
	}
}

func validBundle(c *apiextensionsv1.CustomResourceConversion) bool {
	if c == nil || c.Webhook == nil || c.Webhook.ClientConfig == nil || len(c.Webhook.ClientConfig.CABundle) == 0 {
		return true
	}
	_, err := cert.ParseCertsPEM(c.Webhook.ClientConfig.CABundle)
	return err == nil
}

// structural is what is wrong with schemas that were stored before they had to
// be structural; nil if nothing is. New ones cannot be otherwise.
func structural(d definition) *condition {
	if !d.Spec.PreserveUnknownFields && find(&d.Status, apiextensionsv1.NonStructuralSchema) == nil {
		return nil
	}
	var errs field.ErrorList
	if d.Spec.PreserveUnknownFields {
		errs = append(errs, field.Invalid(field.NewPath("spec", "preserveUnknownFields"), true, "must be false"))
	}
	for i, v := range d.Spec.Versions {
		if v.Schema == nil || v.Schema.OpenAPIV3Schema == nil {
			continue
		}
		internal := &apiextensions.CustomResourceValidation{}
		if apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(v.Schema, internal, nil) != nil {
			continue
		}
		s, err := schema.NewStructural(internal.OpenAPIV3Schema)
		if err != nil {
			return &condition{
				Type: apiextensionsv1.NonStructuralSchema, Status: apiextensionsv1.ConditionUnknown, Reason: "StructuralError",
				Message: fmt.Sprintf("failed to check validation schema for version %s: %v", v.Name, err),
			}
		}
		errs = append(errs, schema.ValidateStructural(field.NewPath("spec", "versions").Index(i).Child("schema", "openAPIV3Schema"), s)...)
	}
	if len(errs) == 0 {
		return nil
	}
	return &condition{
		Type: apiextensionsv1.NonStructuralSchema, Status: apiextensionsv1.ConditionTrue,
		Reason: "Violations", Message: errs.ToAggregate().Error(),
	}
}

// approval is whether a definition in a group of the project's was approved;
// nil for other groups.
func approval(d definition) *condition {
	group := "." + d.Spec.Group
	if !strings.HasSuffix(group, ".k8s.io") && !strings.HasSuffix(group, ".kubernetes.io") {
		return nil
	}
	c := &condition{Type: apiextensionsv1.KubernetesAPIApprovalPolicyConformant, Status: apiextensionsv1.ConditionFalse}
	const see = ", see https://github.com/kubernetes/enhancements/pull/1111"
	needed := fmt.Sprintf("protected groups must have approval annotation %q", apiextensionsv1.KubeAPIApprovedAnnotation)
	annotation := d.Annotations[apiextensionsv1.KubeAPIApprovedAnnotation]
	address, err := url.ParseRequestURI(annotation)
	switch {
	case annotation == "":
		c.Reason, c.Message = "MissingAnnotation", needed+see
	case strings.HasPrefix(annotation, "unapproved"):
		c.Reason, c.Message = "UnapprovedAnnotation", fmt.Sprintf("not approved: %q", annotation)
	case err == nil && address.Host != "" && address.Scheme != "":
		c.Status = apiextensionsv1.ConditionTrue
		c.Reason, c.Message = "ApprovedAnnotation", "approved in "+annotation
	default:
		c.Reason, c.Message = "InvalidAnnotation", needed+" with either a URL or a reason starting with \"unapproved\""+see
	}
	return c
}
