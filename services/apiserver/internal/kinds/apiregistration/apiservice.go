// Package apiregistration holds the behaviour of the kinds of the
// apiregistration.k8s.io API group.
package apiregistration

import (
	"fmt"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

const (
	defaultPort        = 443
	maxGroupPriority   = 20000
	maxVersionPriority = 1000
)

var specPath = field.NewPath("spec")

// APIService is the behaviour of apiregistration.k8s.io/v1 APIService.
func APIService() strategy.Kind[*apiregistrationv1.APIService] {
	return strategy.Kind[*apiregistrationv1.APIService]{
		Default: func(s *apiregistrationv1.APIService) {
			if s.Spec.Service != nil && s.Spec.Service.Port == nil {
				s.Spec.Service.Port = ptr.To[int32](defaultPort)
			}
		},
		PrepareCreate: func(s *apiregistrationv1.APIService) {
			s.Status = apiregistrationv1.APIServiceStatus{}
			if s.Spec.Service == nil {
				s.Status.Conditions = []apiregistrationv1.APIServiceCondition{localAvailable()}
			}
		},
		PrepareUpdate:  func(s, old *apiregistrationv1.APIService) { s.Status = old.Status },
		ValidateCreate: validateService,
		ValidateUpdate: func(s, old *apiregistrationv1.APIService) field.ErrorList {
			return append(validateMetaUpdate(s, old), validateService(s)...)
		},
		MetadataLast: true,
		Status: &strategy.Sub[*apiregistrationv1.APIService]{
			PrepareUpdate: func(s, old *apiregistrationv1.APIService) {
				s.Spec = old.Spec
				s.Labels, s.Annotations = old.Labels, old.Annotations
				s.Finalizers, s.OwnerReferences = old.Finalizers, old.OwnerReferences
			},
			ValidateUpdate: func(s, old *apiregistrationv1.APIService) field.ErrorList {
				errs := validateMetaUpdate(s, old)
				for i, c := range s.Status.Conditions {
					errs = append(errs, check.OneOf(field.NewPath("status", "conditions").Index(i).Child("status"), c.Status,
						apiregistrationv1.ConditionTrue, apiregistrationv1.ConditionFalse, apiregistrationv1.ConditionUnknown)...)
				}
				return errs
			},
		},
		ResetFields: map[string][]string{"": {"status"}, "status": {"metadata", "spec"}},
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Service", "The reference to the service that hosts this API endpoint."),
			cells.Text("Available", "Whether this service is available."),
			cells.Age(),
		),
		Cells: func(s *apiregistrationv1.APIService) []any {
			service := "Local"
			if s.Spec.Service != nil {
				service = s.Spec.Service.Namespace + "/" + s.Spec.Service.Name
			}
			return []any{s.Name, service, available(s), cells.AgeOf(s)}
		},
	}
}

// localAvailable marks a version that this server serves itself.
func localAvailable() apiregistrationv1.APIServiceCondition {
	return apiregistrationv1.APIServiceCondition{
		Type: apiregistrationv1.Available, Status: apiregistrationv1.ConditionTrue, LastTransitionTime: metav1.Now(),
		Reason: "Local", Message: "Local APIServices are always available",
	}
}

func available(s *apiregistrationv1.APIService) string {
	for _, c := range s.Status.Conditions {
		if c.Type != apiregistrationv1.Available {
			continue
		}
		if c.Status != apiregistrationv1.ConditionTrue && c.Reason != "" {
			return fmt.Sprintf("%s (%s)", c.Status, c.Reason)
		}
		return string(c.Status)
	}
	return string(apiregistrationv1.ConditionUnknown)
}

// validateMetaUpdate says again what all updates are held to: upstream's clients
// see it twice.
func validateMetaUpdate(s, old *apiregistrationv1.APIService) field.ErrorList {
	return apivalidation.ValidateObjectMetaAccessorUpdate(s, old, field.NewPath("metadata"))
}

// validateMeta wants a name that follows from what is served.
func validateMeta(s *apiregistrationv1.APIService) field.ErrorList {
	wanted := s.Spec.Version + "." + s.Spec.Group
	return apivalidation.ValidateObjectMetaAccessor(s, false, func(name string, _ bool) []string {
		if wrong := check.PathSegment(name, false); len(wrong) > 0 {
			return wrong
		}
		if name != wanted {
			return []string{fmt.Sprintf("must be `spec.version+\".\"+spec.group`: %q", wanted)}
		}
		return nil
	}, field.NewPath("metadata"))
}

func validateService(s *apiregistrationv1.APIService) field.ErrorList {
	spec := &s.Spec
	errs := validateMeta(s)
	if spec.Group == "" && spec.Version != "v1" {
		errs = append(errs, field.Required(specPath.Child("group"), "only v1 may have an empty group and it better be legacy kube"))
	}
	if spec.Group != "" {
		errs = append(errs, check.DNSSubdomain(specPath.Child("group"), spec.Group)...)
	}
	errs = append(errs, check.All(specPath.Child("version"), spec.Version, validation.IsDNS1035Label(spec.Version))...)
	if spec.GroupPriorityMinimum <= 0 || spec.GroupPriorityMinimum > maxGroupPriority {
		errs = append(errs, field.Invalid(specPath.Child("groupPriorityMinimum"), spec.GroupPriorityMinimum, "must be positive and less than 20000"))
	}
	if spec.VersionPriority <= 0 || spec.VersionPriority > maxVersionPriority {
		errs = append(errs, field.Invalid(specPath.Child("versionPriority"), spec.VersionPriority, "must be positive and less than 1000"))
	}
	return append(errs, validateEndpoint(spec)...)
}

func validateEndpoint(spec *apiregistrationv1.APIServiceSpec) field.ErrorList {
	var errs field.ErrorList
	insecure := specPath.Child("insecureSkipTLSVerify")
	if spec.Service == nil {
		if len(spec.CABundle) > 0 {
			errs = append(errs, field.Invalid(specPath.Child("caBundle"), fmt.Sprintf("%d bytes", len(spec.CABundle)), "local APIServices may not have a caBundle"))
		}
		if spec.InsecureSkipTLSVerify {
			errs = append(errs, field.Invalid(insecure, true, "local APIServices may not have insecureSkipTLSVerify"))
		}
		return errs
	}
	service := specPath.Child("service")
	errs = append(errs, check.Set(service, "namespace", spec.Service.Namespace, "name", spec.Service.Name)...)
	port := ptr.Deref(spec.Service.Port, 0)
	if wrong := validation.IsValidPortNum(int(port)); wrong != nil {
		errs = append(errs, field.Invalid(service.Child("port"), port, "port is not valid: "+strings.Join(wrong, ", ")))
	}
	if spec.InsecureSkipTLSVerify && len(spec.CABundle) > 0 {
		errs = append(errs, field.Invalid(insecure, true, "may not be true if caBundle is present"))
	}
	return errs
}
