package flowcontrol

import (
	"fmt"
	"slices"
	"strings"

	flowcontrolv1 "k8s.io/api/flowcontrol/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/apis/flowcontrol/bootstrap"

	"coracle.local/services/apiserver/internal/kinds/check"
)

// verbs are those that a rule may name, in upstream's order.
var verbs = []string{"create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"}

func validateSchema(s *flowcontrolv1.FlowSchema) field.ErrorList {
	errs := validateSchemaSpec(&s.Spec, s.Name)
	for _, mandatory := range bootstrap.MandatoryFlowSchemas {
		if mandatory.Name == s.Name && !equality.Semantic.DeepEqual(s.Spec, mandatory.Spec) {
			errs = append(errs, field.Invalid(specPath, check.Internal(s.Spec), fmt.Sprintf("spec of '%s' must equal the fixed value", s.Name)))
		}
	}
	return append(errs, validateSchemaStatus(&s.Status)...)
}

func validateSchemaStatus(status *flowcontrolv1.FlowSchemaStatus) field.ErrorList {
	types := make([]string, 0, len(status.Conditions))
	for _, c := range status.Conditions {
		types = append(types, string(c.Type))
	}
	return validateConditions(types)
}

func validateSchemaSpec(spec *flowcontrolv1.FlowSchemaSpec, name string) field.ErrorList {
	var errs field.ErrorList
	path := specPath.Child("matchingPrecedence")
	if spec.MatchingPrecedence <= 0 {
		errs = append(errs, field.Invalid(path, spec.MatchingPrecedence, "must be a positive value"))
	}
	if spec.MatchingPrecedence > flowcontrolv1.FlowSchemaMaxMatchingPrecedence {
		errs = append(errs, field.Invalid(path, spec.MatchingPrecedence, fmt.Sprintf("must not be greater than %v", flowcontrolv1.FlowSchemaMaxMatchingPrecedence)))
	}
	if spec.MatchingPrecedence == 1 && name != flowcontrolv1.FlowSchemaNameExempt {
		errs = append(errs, field.Invalid(path, spec.MatchingPrecedence, "only the schema named 'exempt' may have matchingPrecedence 1"))
	}
	if spec.DistinguisherMethod != nil {
		supported := []flowcontrolv1.FlowDistinguisherMethodType{
			flowcontrolv1.FlowDistinguisherMethodByNamespaceType, flowcontrolv1.FlowDistinguisherMethodByUserType,
		}
		if !slices.Contains(supported, spec.DistinguisherMethod.Type) {
			errs = append(errs, field.NotSupported(specPath.Child("distinguisherMethod", "type"), check.Internal(spec.DistinguisherMethod), supported))
		}
	}
	path = specPath.Child("priorityLevelConfiguration", "name")
	if level := spec.PriorityLevelConfiguration.Name; level == "" {
		errs = append(errs, field.Required(path, "must reference a priority level"))
	} else {
		errs = append(errs, check.Name(path, level, apivalidation.NameIsDNSSubdomain)...)
	}
	for i := range spec.Rules {
		errs = append(errs, validateRule(specPath.Child("rules").Index(i), &spec.Rules[i])...)
	}
	return errs
}

func validateRule(path *field.Path, rule *flowcontrolv1.PolicyRulesWithSubjects) field.ErrorList {
	var errs field.ErrorList
	if len(rule.Subjects) == 0 {
		errs = append(errs, field.Required(path.Child("subjects"), "subjects must contain at least one value"))
	}
	for i := range rule.Subjects {
		errs = append(errs, validateSubject(path.Child("subjects").Index(i), &rule.Subjects[i])...)
	}
	if len(rule.ResourceRules) == 0 && len(rule.NonResourceRules) == 0 {
		errs = append(errs, field.Required(path, "at least one of resourceRules and nonResourceRules has to be non-empty"))
	}
	for i := range rule.ResourceRules {
		errs = append(errs, validateResourceRule(path.Child("resourceRules").Index(i), &rule.ResourceRules[i])...)
	}
	for i := range rule.NonResourceRules {
		errs = append(errs, validateNonResourceRule(path.Child("nonResourceRules").Index(i), &rule.NonResourceRules[i])...)
	}
	return errs
}

func validateSubject(path *field.Path, subject *flowcontrolv1.Subject) field.ErrorList {
	account := member{"serviceAccount", flowcontrolv1.SubjectKindServiceAccount, subject.ServiceAccount != nil}
	user := member{"user", flowcontrolv1.SubjectKindUser, subject.User != nil}
	group := member{"group", flowcontrolv1.SubjectKindGroup, subject.Group != nil}
	switch subject.Kind {
	case flowcontrolv1.SubjectKindServiceAccount:
		return append(account.check(path, func(path *field.Path) field.ErrorList {
			return validateAccount(path, subject.ServiceAccount)
		}), refused(path, user, group)...)
	case flowcontrolv1.SubjectKindUser:
		return append(user.check(path, func(path *field.Path) field.ErrorList {
			return check.Set(path, "name", subject.User.Name)
		}), refused(path, account, group)...)
	case flowcontrolv1.SubjectKindGroup:
		return append(group.check(path, func(path *field.Path) field.ErrorList {
			return check.Set(path, "name", subject.Group.Name)
		}), refused(path, account, user)...)
	}
	return field.ErrorList{field.NotSupported(path.Child("kind"), subject.Kind,
		[]flowcontrolv1.SubjectKind{flowcontrolv1.SubjectKindGroup, flowcontrolv1.SubjectKindServiceAccount, flowcontrolv1.SubjectKindUser})}
}

// member is one of the fields of a subject, of which its kind wants one.
type member struct {
	name string
	kind flowcontrolv1.SubjectKind
	set  bool
}

func (m member) check(path *field.Path, rule func(*field.Path) field.ErrorList) field.ErrorList {
	if !m.set {
		return field.ErrorList{field.Required(path.Child(m.name), fmt.Sprintf("%s is required when subject kind is '%s'", m.name, m.kind))}
	}
	return rule(path.Child(m.name))
}

func refused(path *field.Path, members ...member) field.ErrorList {
	var errs field.ErrorList
	for _, m := range members {
		if m.set {
			errs = append(errs, field.Forbidden(path.Child(m.name), fmt.Sprintf("%s is forbidden when subject kind is not '%s'", m.name, m.kind)))
		}
	}
	return errs
}

func validateAccount(path *field.Path, account *flowcontrolv1.ServiceAccountSubject) field.ErrorList {
	errs := check.Set(path, "name", account.Name)
	if account.Name != "" && account.Name != flowcontrolv1.NameAll {
		errs = append(errs, check.Name(path.Child("name"), account.Name, apivalidation.ValidateServiceAccountName)...)
	}
	if account.Namespace == "" {
		return append(errs, field.Required(path.Child("namespace"), "must specify namespace for service account"))
	}
	return append(errs, check.Name(path.Child("namespace"), account.Namespace, apivalidation.ValidateNamespaceName)...)
}

func validateVerbs(path *field.Path, named []string) field.ErrorList {
	if errs := validateWild(path, named, "verbs must contain at least one value", "verbs"); errs != nil || slices.Contains(named, "*") {
		return errs
	}
	for _, verb := range named {
		if !slices.Contains(verbs, verb) {
			return field.ErrorList{field.NotSupported(path, named, verbs)}
		}
	}
	return nil
}

// validateWild checks a list whose one element may stand for all.
func validateWild(path *field.Path, named []string, missing, what string) field.ErrorList {
	if len(named) == 0 {
		return field.ErrorList{field.Required(path, missing)}
	}
	if len(named) > 1 && slices.Contains(named, "*") {
		return field.ErrorList{field.Invalid(path, named, "if '*' is present, must not specify other "+what)}
	}
	return nil
}

func validateResourceRule(path *field.Path, rule *flowcontrolv1.ResourcePolicyRule) field.ErrorList {
	errs := validateVerbs(path.Child("verbs"), rule.Verbs)
	errs = append(errs, validateWild(path.Child("apiGroups"), rule.APIGroups, "resource rules must supply at least one api group", "api groups")...)
	errs = append(errs, validateWild(path.Child("resources"), rule.Resources, "resource rules must supply at least one resource", "resources")...)
	at := path.Child("namespaces")
	switch {
	case len(rule.Namespaces) == 0 && !rule.ClusterScope:
		errs = append(errs, field.Required(at, "resource rules that are not cluster scoped must supply at least one namespace"))
	case slices.Contains(rule.Namespaces, "*"):
		errs = append(errs, validateWild(at, rule.Namespaces, "", "namespaces")...)
	default:
		for i, namespace := range rule.Namespaces {
			for _, message := range apivalidation.ValidateNamespaceName(namespace, false) {
				errs = append(errs, field.Invalid(at.Index(i), namespace, "each member of this list must be '*' or a DNS-1123 label; "+message))
			}
		}
	}
	return errs
}

func validateNonResourceRule(path *field.Path, rule *flowcontrolv1.NonResourcePolicyRule) field.ErrorList {
	errs := validateVerbs(path.Child("verbs"), rule.Verbs)
	at := path.Child("nonResourceURLs")
	errs = append(errs, validateWild(at, rule.NonResourceURLs, "nonResourceURLs must contain at least one value", "non-resource URLs")...)
	if slices.Contains(rule.NonResourceURLs, "*") {
		return errs
	}
	for i, url := range rule.NonResourceURLs {
		if message := urlFault(url); message != "" {
			errs = append(errs, field.Invalid(at.Index(i), url, message))
		}
	}
	return errs
}

func urlFault(url string) string {
	switch {
	case url == "":
		return "must not be empty"
	case url == "/":
		return ""
	case !strings.HasPrefix(url, "/"):
		return "must start with slash"
	case strings.Contains(url, " "):
		return "must not contain white-space"
	case strings.Contains(url, "//"):
		return "must not contain double slash"
	case strings.Count(url, "*") > 1, strings.Contains(url, "*") && !strings.HasSuffix(url, "/*"):
		return "wildcard can only do suffix matching"
	}
	return ""
}
