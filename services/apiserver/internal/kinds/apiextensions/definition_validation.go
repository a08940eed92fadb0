package apiextensions

import (
	"fmt"
	"net/url"
	"slices"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/check"
)

const approvalNeeded = "protected groups must have approval annotation %q, see https://github.com/kubernetes/enhancements/pull/1111"

var specPath = field.NewPath("spec")

// validateDefinition checks a definition; old is nil on create.
func validateDefinition(d, old definition) field.ErrorList {
	var errs field.ErrorList
	if d.Name != d.Spec.Names.Plural+"."+d.Spec.Group {
		errs = append(errs, field.Invalid(field.NewPath("metadata", "name"), d.Name, `must be spec.names.plural+"."+spec.group`))
	}
	errs = append(errs, validateSpec(&d.Spec)...)
	if old != nil {
		errs = append(errs, validateKept(d, old)...)
	}
	errs = append(errs, validateNames(field.NewPath("status", "acceptedNames"), &d.Status.AcceptedNames)...)
	errs = append(errs, validateStored(field.NewPath("status", "storedVersions"), d.Status.StoredVersions, d.Spec.Versions)...)
	errs = append(errs, validateApproval(d, old)...)
	if d.Spec.PreserveUnknownFields && (old == nil || !old.Spec.PreserveUnknownFields) {
		errs = append(errs, field.Invalid(specPath.Child("preserveUnknownFields"), true,
			"cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead"))
	}
	return errs
}

func validateSpec(spec *apiextensionsv1.CustomResourceDefinitionSpec) field.ErrorList {
	errs := validateGroup(specPath.Child("group"), spec.Group)
	errs = append(errs, check.RequiredOneOf(specPath.Child("scope"), spec.Scope, apiextensionsv1.ClusterScoped, apiextensionsv1.NamespaceScoped)...)
	errs = append(errs, validateVersions(specPath.Child("versions"), spec.Versions)...)
	names := specPath.Child("names")
	errs = append(errs, check.Set(names,
		"plural", spec.Names.Plural, "singular", spec.Names.Singular, "kind", spec.Names.Kind, "listKind", spec.Names.ListKind)...)
	errs = append(errs, validateNames(names, &spec.Names)...)
	return append(errs, validateConversion(specPath.Child("conversion"), spec.Conversion)...)
}

func validateGroup(p *field.Path, group string) field.ErrorList {
	wrong := validation.IsDNS1123Subdomain(group)
	switch {
	case group == "":
		return field.ErrorList{field.Required(p, "")}
	case len(wrong) > 0:
		return field.ErrorList{field.Invalid(p, group, strings.Join(wrong, ","))}
	case !strings.Contains(group, "."):
		return field.ErrorList{field.Invalid(p, group, "should be a domain with at least one dot")}
	}
	return nil
}

func validateVersions(p *field.Path, versions []apiextensionsv1.CustomResourceDefinitionVersion) field.ErrorList {
	var errs field.ErrorList
	for i := range versions {
		if versions[i].Schema == nil || versions[i].Schema.OpenAPIV3Schema == nil {
			errs = append(errs, field.Required(p.Index(i).Child("schema", "openAPIV3Schema"), ""))
		}
	}
	stored, seen, unique := 0, map[string]bool{}, true
	for i := range versions {
		v := &versions[i]
		if v.Storage {
			stored++
		}
		unique = unique && !seen[v.Name]
		seen[v.Name] = true
		if wrong := validation.IsDNS1035Label(v.Name); len(wrong) > 0 {
			errs = append(errs, field.Invalid(p.Index(i).Child("name"), v.Name, strings.Join(wrong, ",")))
		}
		if !v.Deprecated && v.DeprecationWarning != nil {
			errs = append(errs, field.Invalid(p.Index(i).Child("deprecationWarning"), *v.DeprecationWarning, "can only be set for deprecated versions"))
		}
	}
	if !unique {
		errs = append(errs, field.Invalid(p, field.OmitValueType{}, "must contain unique version names"))
	}
	if stored != 1 {
		errs = append(errs, field.Invalid(p, field.OmitValueType{}, "must have exactly one version marked as storage version"))
	}
	// Upstream's internal type names the first version once more.
	if len(versions) > 0 {
		if wrong := validation.IsDNS1035Label(versions[0].Name); len(wrong) > 0 {
			errs = append(errs, field.Invalid(specPath.Child("version"), versions[0].Name, strings.Join(wrong, ",")))
		}
	}
	return errs
}

func validateNames(p *field.Path, names *apiextensionsv1.CustomResourceDefinitionNames) field.ErrorList {
	var errs field.ErrorList
	label := func(p *field.Path, value string, mixedCase bool) {
		checked, prefix := value, ""
		if mixedCase {
			checked, prefix = strings.ToLower(value), "may have mixed case, but should otherwise match: "
		}
		if wrong := validation.IsDNS1035Label(checked); value != "" && len(wrong) > 0 {
			errs = append(errs, field.Invalid(p, value, prefix+strings.Join(wrong, ",")))
		}
	}
	label(p.Child("plural"), names.Plural, false)
	label(p.Child("singular"), names.Singular, false)
	label(p.Child("kind"), names.Kind, true)
	label(p.Child("listKind"), names.ListKind, true)
	for i, name := range names.ShortNames {
		label(p.Child("shortNames").Index(i), name, false)
	}
	if names.Kind != "" && names.Kind == names.ListKind {
		errs = append(errs, field.Invalid(p.Child("listKind"), names.ListKind, "kind and listKind may not be the same"))
	}
	for i, name := range names.Categories {
		label(p.Child("categories").Index(i), name, false)
	}
	return errs
}

func validateConversion(p *field.Path, conversion *apiextensionsv1.CustomResourceConversion) field.ErrorList {
	if conversion == nil {
		return nil
	}
	errs := check.RequiredOneOf(p.Child("strategy"), conversion.Strategy, apiextensionsv1.NoneConverter, apiextensionsv1.WebhookConverter)
	at, hook := p.Child("webhookClientConfig"), conversion.Webhook
	if conversion.Strategy != apiextensionsv1.WebhookConverter {
		if hook != nil && hook.ClientConfig != nil {
			errs = append(errs, field.Forbidden(at, "should not be set when strategy is not set to Webhook"))
		}
		return errs
	}
	if hook == nil || hook.ClientConfig == nil {
		return append(errs, field.Required(at, "required when strategy is set to Webhook"))
	}
	switch client := hook.ClientConfig; {
	case (client.URL == nil) == (client.Service == nil):
		errs = append(errs, field.Required(at, "exactly one of url or service is required"))
	case client.URL != nil:
		errs = append(errs, check.WebhookURL(at.Child("url"), *client.URL)...)
	default:
		s := client.Service
		errs = append(errs, check.WebhookService(at.Child("service"), s.Name, s.Namespace, s.Path, ptr.Deref(s.Port, 0))...)
	}
	return errs
}

// validateKept keeps what the stored objects are found by, and once the
// resource is served also what they say of themselves.
func validateKept(d, old definition) field.ErrorList {
	var errs field.ErrorList
	if established(old) {
		errs = append(errs, check.Unchanged(specPath.Child("scope"), d.Spec.Scope, old.Spec.Scope)...)
		errs = append(errs, check.Unchanged(specPath.Child("names", "kind"), d.Spec.Names.Kind, old.Spec.Names.Kind)...)
	}
	errs = append(errs, check.Unchanged(specPath.Child("group"), d.Spec.Group, old.Spec.Group)...)
	return append(errs, check.Unchanged(specPath.Child("names", "plural"), d.Spec.Names.Plural, old.Spec.Names.Plural)...)
}

func validateStored(p *field.Path, stored []string, versions []apiextensionsv1.CustomResourceDefinitionVersion) field.ErrorList {
	if len(stored) == 0 {
		return field.ErrorList{field.Invalid(p, stored, "must have at least one stored version")}
	}
	var errs field.ErrorList
	for i := range versions {
		if versions[i].Storage && !slices.Contains(stored, versions[i].Name) {
			errs = append(errs, field.Invalid(p, stored, "must have the storage version "+versions[i].Name))
		}
	}
	for i, name := range stored {
		named := func(v apiextensionsv1.CustomResourceDefinitionVersion) bool { return v.Name == name }
		if !slices.ContainsFunc(versions, named) {
			errs = append(errs, field.Invalid(p.Index(i), name, fmt.Sprintf("missing from spec.versions; %[1]s was previously a storage version, "+
				"and must remain in spec.versions until a storage migration ensures no data remains persisted in %[1]s and removes %[1]s from status.storedVersions", name)))
		}
	}
	return errs
}

// validateApproval guards the groups of the project. Its state may stay what
// it was on an update.
func validateApproval(d, old definition) field.ErrorList {
	group := d.Spec.Group
	if group != "k8s.io" && group != "kubernetes.io" && !strings.HasSuffix(group, ".k8s.io") && !strings.HasSuffix(group, ".kubernetes.io") {
		return nil
	}
	key := apiextensionsv1.KubeAPIApprovedAnnotation
	at, value := field.NewPath("metadata", "annotations").Key(key), d.Annotations[key]
	state := approval(value)
	if old != nil && approval(old.Annotations[key]) == state {
		return nil
	}
	switch state {
	case approvalMissing:
		return field.ErrorList{field.Required(at, fmt.Sprintf(approvalNeeded, key))}
	case approvalInvalid:
		return field.ErrorList{field.Invalid(at, value, fmt.Sprintf("protected groups must have approval annotation %q with either a URL or a reason "+
			"starting with \"unapproved\", see https://github.com/kubernetes/enhancements/pull/1111", key))}
	}
	return nil
}

// States of the approval of a definition in a protected group.
const (
	approvalMissing = iota
	approvalInvalid
	approvalBypassed
	approved
)

func approval(annotation string) int {
	address, err := url.ParseRequestURI(annotation)
	switch {
	case annotation == "":
		return approvalMissing
	case strings.HasPrefix(annotation, "unapproved"):
		return approvalBypassed
	case err == nil && address.Host != "" && address.Scheme != "":
		return approved
	}
	return approvalInvalid
}
