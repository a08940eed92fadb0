package networking

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/validate/content"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"coracle.local/services/apiserver/internal/kinds/check"
)

const notAnIP = "must be a DNS name, not an IP address"

// ingressAllowances are what an update is forgiven because the stored object
// has it.
type ingressAllowances struct{ secretName, wildcardRule bool }

func ingressAllowancesOf(old *networkingv1.IngressSpec) ingressAllowances {
	var allow ingressAllowances
	for i := range old.TLS {
		allow.secretName = allow.secretName || len(secretNameErrors(old.TLS[i].SecretName)) > 0
	}
	for i := range old.Rules {
		if strings.Contains(old.Rules[i].Host, "*") && len(validateHTTP(nil, old.Rules[i].HTTP)) > 0 {
			allow.wildcardRule = true
		}
	}
	return allow
}

func validateIngressCreate(i *networkingv1.Ingress) field.ErrorList {
	errs := validateIngress(&i.Spec, ingressAllowances{})
	class, annotated := i.Annotations[classAnnotation]
	if annotated && i.Spec.IngressClassName != nil && class != *i.Spec.IngressClassName {
		errs = append(errs, field.Invalid(field.NewPath("annotations", classAnnotation), class, "must match `ingressClassName` when both are specified"))
	}
	return errs
}

func validateIngress(spec *networkingv1.IngressSpec, allow ingressAllowances) field.ErrorList {
	var errs field.ErrorList
	if len(spec.Rules) == 0 && spec.DefaultBackend == nil {
		errs = append(errs, field.Invalid(specPath, check.Internal(spec.Rules), "either `defaultBackend` or `rules` must be specified"))
	}
	if spec.DefaultBackend != nil {
		errs = append(errs, validateBackend(specPath.Child("defaultBackend"), spec.DefaultBackend)...)
	}
	for i := range spec.Rules {
		p, rule := specPath.Child("rules").Index(i), &spec.Rules[i]
		wildcard := strings.Contains(rule.Host, "*")
		if rule.Host != "" {
			if netutils.ParseIPSloppy(rule.Host) != nil {
				errs = append(errs, field.Invalid(p.Child("host"), rule.Host, notAnIP))
			}
			errs = append(errs, validateHost(p.Child("host"), rule.Host)...)
		}
		if !wildcard || !allow.wildcardRule {
			errs = append(errs, validateHTTP(p.Child("http"), rule.HTTP)...)
		}
	}
	for i := range spec.TLS {
		p, tls := specPath.Child("tls").Index(i), &spec.TLS[i]
		for k, host := range tls.Hosts {
			errs = append(errs, validateHost(p.Child("hosts").Index(k), host)...)
		}
		if !allow.secretName {
			errs = append(errs, check.All(p.Child("secretName"), tls.SecretName, secretNameErrors(tls.SecretName))...)
		}
	}
	if spec.IngressClassName != nil {
		errs = append(errs, check.Name(specPath.Child("ingressClassName"), *spec.IngressClassName, apivalidation.NameIsDNSSubdomain)...)
	}
	return errs
}

func secretNameErrors(name string) []string {
	if name == "" {
		return nil
	}
	return apivalidation.NameIsDNSSubdomain(name, false)
}

func validateHost(p *field.Path, host string) field.ErrorList {
	if strings.Contains(host, "*") {
		return check.All(p, host, validation.IsWildcardDNS1123Subdomain(host))
	}
	return check.DNSSubdomain(p, host)
}

func validateHTTP(p *field.Path, http *networkingv1.HTTPIngressRuleValue) field.ErrorList {
	if http == nil {
		return nil
	}
	if len(http.Paths) == 0 {
		return field.ErrorList{field.Required(p.Child("paths"), "")}
	}
	var errs field.ErrorList
	for i := range http.Paths {
		errs = append(errs, validateHTTPPath(p.Child("paths").Index(i), &http.Paths[i])...)
	}
	return errs
}

func validateHTTPPath(p *field.Path, path *networkingv1.HTTPIngressPath) field.ErrorList {
	if path.PathType == nil {
		return field.ErrorList{field.Required(p.Child("pathType"), "pathType must be specified")}
	}
	var errs field.ErrorList
	at := p.Child("path")
	relative := field.Invalid(at, path.Path, "must be an absolute path")
	switch *path.PathType {
	case networkingv1.PathTypeExact, networkingv1.PathTypePrefix:
		if !strings.HasPrefix(path.Path, "/") {
			errs = append(errs, relative)
		}
		for _, sequence := range []string{"//", "/./", "/../", "%2f", "%2F"} {
			if strings.Contains(path.Path, sequence) {
				errs = append(errs, field.Invalid(at, path.Path, fmt.Sprintf("must not contain '%s'", sequence)))
			}
		}
		for _, suffix := range []string{"/..", "/."} {
			if strings.HasSuffix(path.Path, suffix) {
				errs = append(errs, field.Invalid(at, path.Path, fmt.Sprintf("cannot end with '%s'", suffix)))
			}
		}
	case networkingv1.PathTypeImplementationSpecific:
		if path.Path != "" && !strings.HasPrefix(path.Path, "/") {
			errs = append(errs, relative)
		}
	default:
		errs = append(errs, field.NotSupported(p.Child("pathType"), *path.PathType, []networkingv1.PathType{
			networkingv1.PathTypeExact, networkingv1.PathTypeImplementationSpecific, networkingv1.PathTypePrefix,
		}))
	}
	return append(errs, validateBackend(p.Child("backend"), &path.Backend)...)
}

func validateBackend(p *field.Path, backend *networkingv1.IngressBackend) field.ErrorList {
	switch {
	case backend.Resource != nil && backend.Service != nil:
		return field.ErrorList{field.Invalid(p, "", "cannot set both resource and service backends")}
	case backend.Resource != nil:
		return validateResource(p.Child("resource"), backend.Resource)
	case backend.Service != nil:
		return validateService(p, backend.Service)
	}
	return field.ErrorList{field.Invalid(p, "", "resource or service backend is required")}
}

func validateResource(p *field.Path, ref *corev1.TypedLocalObjectReference) field.ErrorList {
	var errs field.ErrorList
	if ref.APIGroup != nil {
		errs = append(errs, check.DNSSubdomain(p.Child("apiGroup"), *ref.APIGroup)...)
	}
	errs = append(errs, requiredSegment(p.Child("kind"), ref.Kind)...)
	return append(errs, requiredSegment(p.Child("name"), ref.Name)...)
}

func requiredSegment(p *field.Path, value string) field.ErrorList {
	if value == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	return check.All(p, value, content.IsPathSegmentName(value))
}

func validateService(p *field.Path, service *networkingv1.IngressServiceBackend) field.ErrorList {
	var errs field.ErrorList
	if service.Name == "" {
		errs = append(errs, field.Required(p.Child("service", "name"), ""))
	} else {
		errs = append(errs, check.Name(p.Child("service", "name"), service.Name, apivalidation.NameIsDNSLabel)...)
	}
	name, number := service.Port.Name, service.Port.Number
	switch {
	case name != "" && number != 0:
		errs = append(errs, field.Invalid(p, "", "cannot set both port name & port number"))
	case name != "":
		errs = append(errs, check.All(p.Child("service", "port", "name"), name, validation.IsValidPortName(name))...)
	case number != 0:
		errs = append(errs, check.All(p.Child("service", "port", "number"), number, validation.IsValidPortNum(int(number)))...)
	default:
		errs = append(errs, field.Required(p, "port name or number is required"))
	}
	return errs
}

func validateIngressStatus(i, old *networkingv1.Ingress) field.ErrorList {
	var former []string
	for _, ingress := range old.Status.LoadBalancer.Ingress {
		if ingress.IP != "" {
			former = append(former, ingress.IP)
		}
	}
	var errs field.ErrorList
	for k, ingress := range i.Status.LoadBalancer.Ingress {
		p := field.NewPath("status", "loadBalancer", "ingress").Index(k)
		if ingress.IP != "" {
			errs = append(errs, check.IP(p.Child("ip"), ingress.IP, former...)...)
		}
		if ingress.Hostname != "" {
			errs = append(errs, check.DNSSubdomain(p.Child("hostname"), ingress.Hostname)...)
			if netutils.ParseIPSloppy(ingress.Hostname) != nil {
				errs = append(errs, field.Invalid(p.Child("hostname"), ingress.Hostname, notAnIP))
			}
		}
	}
	return errs
}
