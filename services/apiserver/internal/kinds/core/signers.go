package core

import (
	"fmt"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

// The longest signer name: a domain, "/", a namespace, "." and an object name.
const maxSignerNameLength = validation.DNS1123SubdomainMaxLength + 1 + validation.DNS1123LabelMaxLength + 1 + validation.DNS1123SubdomainMaxLength

// IsKubernetesSigner reports whether the signer belongs to Kubernetes itself.
func IsKubernetesSigner(signer string) bool {
	host, _, _ := strings.Cut(signer, "/")
	return host == "kubernetes.io" || strings.HasSuffix(host, ".kubernetes.io")
}

// ValidateSignerName checks a name of the form example.com/signer-name.
func ValidateSignerName(p *field.Path, signer string) field.ErrorList {
	if signer == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	domain, path, ok := strings.Cut(signer, "/")
	if !ok || strings.Contains(path, "/") {
		return field.ErrorList{field.Invalid(p, signer, "must be a fully qualified domain and path of the form 'example.com/signer-name'")}
	}
	var errs field.ErrorList
	if len(domain) > validation.DNS1123SubdomainMaxLength {
		errs = append(errs, field.TooLong(p, "", validation.DNS1123SubdomainMaxLength))
	}
	errs = append(errs, validateLabels(p, domain, validation.IsDNS1123Label)...)
	if !strings.Contains(domain, ".") {
		errs = append(errs, field.Invalid(p, domain, "should be a domain with at least two segments separated by dots"))
	}
	errs = append(errs, validateLabels(p, path, validation.IsDNS1123Subdomain)...)
	if len(signer) > maxSignerNameLength {
		errs = append(errs, field.TooLong(p, "", maxSignerNameLength))
	}
	return errs
}

// validateLabels stops at the first label that is wrong: the errors of
// several could not be told apart.
func validateLabels(p *field.Path, dotted string, rule func(string) []string) field.ErrorList {
	for label := range strings.SplitSeq(dotted, ".") {
		var errs field.ErrorList
		for _, message := range rule(label) {
			errs = append(errs, field.Invalid(p, dotted, fmt.Sprintf("validating label %q: %s", label, message)))
		}
		if len(errs) > 0 {
			return errs
		}
	}
	return nil
}

// TrustBundleName is the name rule of a ClusterTrustBundle: the bundle of a
// signer begins with the signer's name, another one's name has no colon.
func TrustBundleName(signer string) func(name string, prefix bool) []string {
	return func(name string, prefix bool) []string {
		if signer == "" {
			if strings.Contains(name, ":") {
				return []string{`ClusterTrustBundle without signer name must not have ":" in its name`}
			}
			return apivalidation.NameIsDNSSubdomain(name, prefix)
		}
		required := strings.ReplaceAll(signer, "/", ":") + ":"
		rest, ok := strings.CutPrefix(name, required)
		if !ok {
			return []string{fmt.Sprintf("ClusterTrustBundle for signerName %s must be named with prefix %s", signer, required)}
		}
		return apivalidation.NameIsDNSSubdomain(rest, prefix)
	}
}

// TrustBundleSigner is the signer that a bundle's name points to, if any.
func TrustBundleSigner(name string) (string, bool) {
	end := strings.LastIndex(name, ":")
	if end < 0 {
		return "", false
	}
	return strings.ReplaceAll(name[:end], ":", "/"), true
}
