package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
)

// Bounds of a pod certificate's lifetime, in seconds.
const (
	minCertificateSeconds           = 60 * 60
	maxCertificateSeconds           = 91 * 24 * 60 * 60
	maxKubernetesCertificateSeconds = 24 * 60 * 60
)

func validateItems(p *field.Path, items []corev1.KeyToPath) field.ErrorList {
	var errs field.ErrorList
	for i := range items {
		errs = append(errs, validateItem(p.Child("items").Index(i), &items[i])...)
	}
	return errs
}

func validateItem(p *field.Path, item *corev1.KeyToPath) field.ErrorList {
	errs := check.Set(p, "key", item.Key, "path", item.Path)
	errs = append(errs, check.NotReserved(p.Child("path"), item.Path)...)
	errs = append(errs, check.FileMode(p.Child("mode"), item.Mode)...)
	return append(errs, check.FileUser(p.Child("user"), item.User)...)
}

func validateDownwardAPIVolume(p *field.Path, source *corev1.DownwardAPIVolumeSource) field.ErrorList {
	errs := check.FileMode(p.Child("defaultMode"), source.DefaultMode)
	errs = append(errs, check.FileUser(p.Child("defaultUser"), source.DefaultUser)...)
	for i := range source.Items {
		errs = append(errs, validateDownwardAPIFile(p, &source.Items[i])...)
	}
	return errs
}

func validateDownwardAPIFile(p *field.Path, file *corev1.DownwardAPIVolumeFile) field.ErrorList {
	errs := check.Set(p, "path", file.Path)
	errs = append(errs, check.NotReserved(p.Child("path"), file.Path)...)
	switch {
	case file.FieldRef != nil:
		errs = append(errs, validateFieldRef(p.Child("fieldRef"), file.FieldRef, volumeFieldPaths)...)
		if file.ResourceFieldRef != nil {
			errs = append(errs, field.Invalid(p, "resource", "fieldRef and resourceFieldRef can not be specified simultaneously"))
		}
	case file.ResourceFieldRef != nil:
		errs = append(errs, validateResourceFieldRef(p.Child("resourceFieldRef"), file.ResourceFieldRef, true)...)
	default:
		errs = append(errs, field.Required(p, "one of fieldRef and resourceFieldRef is required"))
	}
	errs = append(errs, check.FileMode(p.Child("mode"), file.Mode)...)
	return append(errs, check.FileUser(p.Child("user"), file.User)...)
}

// projection checks the sources of one projected volume, which share a
// directory: no two may write the same path.
type projection struct {
	path  *field.Path
	allow Allowances
	taken sets.Set[string]
	errs  field.ErrorList
}

func validateProjected(p *field.Path, source *corev1.ProjectedVolumeSource, allow Allowances) field.ErrorList {
	v := &projection{path: p, allow: allow, taken: sets.Set[string]{}, errs: check.FileMode(p.Child("defaultMode"), source.DefaultMode)}
	v.errs = append(v.errs, check.FileUser(p.Child("defaultUser"), source.DefaultUser)...)
	for i := range source.Sources {
		v.source(p.Child("sources").Index(i), &source.Sources[i])
	}
	return v.errs
}

// take claims a path; owner is what the error shows if somebody else has it.
func (v *projection) take(path, owner string) {
	if v.taken.Has(path) {
		v.errs = append(v.errs, field.Invalid(v.path, owner, "conflicting duplicate paths"))
	}
	v.taken.Insert(path)
}

func (v *projection) source(p *field.Path, source *corev1.VolumeProjection) {
	count := 0
	if s := source.Secret; s != nil {
		count++
		v.keys(p.Child("secret"), s.Name, s.Items)
	}
	if s := source.ConfigMap; s != nil {
		count++
		v.keys(p.Child("configMap"), s.Name, s.Items)
	}
	if s := source.DownwardAPI; s != nil {
		count++
		for i := range s.Items {
			v.errs = append(v.errs, validateDownwardAPIFile(p.Child("downwardAPI"), &s.Items[i])...)
			if path := s.Items[i].Path; path != "" {
				v.take(path, path)
			}
		}
	}
	if s := source.ServiceAccountToken; s != nil {
		count++
		v.token(p.Child("serviceAccountToken"), s)
	}
	if s := source.ClusterTrustBundle; s != nil {
		count++
		v.trustBundle(p.Child("clusterTrustBundle"), s)
	}
	if s := source.PodCertificate; s != nil {
		count++
		v.certificate(p.Child("podCertificate"), s)
	}
	if count > 1 {
		v.errs = append(v.errs, field.Forbidden(p, "may not specify more than 1 volume type per source"))
	}
}

func (v *projection) keys(p *field.Path, name string, items []corev1.KeyToPath) {
	v.errs = append(v.errs, check.Set(p, "name", name)...)
	for i := range items {
		v.errs = append(v.errs, validateItem(p.Child("items").Index(i), &items[i])...)
		if path := items[i].Path; path != "" {
			v.take(path, name)
		}
	}
}

func (v *projection) token(p *field.Path, source *corev1.ServiceAccountTokenProjection) {
	at := p.Child("expirationSeconds")
	switch seconds := source.ExpirationSeconds; {
	case seconds == nil:
		v.errs = append(v.errs, field.Required(at, ""))
	case *seconds < 10*60:
		v.errs = append(v.errs, field.Invalid(at, *seconds, "may not specify a duration less than 10 minutes"))
	case *seconds > 1<<32:
		v.errs = append(v.errs, field.Invalid(at, *seconds, "may not specify a duration larger than 2^32 seconds"))
	}
	switch {
	case source.Path == "":
		v.errs = append(v.errs, field.Required(v.path.Child("path"), ""))
	case !v.allow.NonLocalTokenPath:
		v.errs = append(v.errs, check.NotReserved(v.path.Child("path"), source.Path)...)
	}
	v.errs = append(v.errs, check.FileUser(p.Child("user"), source.User)...)
}

func (v *projection) trustBundle(p *field.Path, source *corev1.ClusterTrustBundleProjection) {
	switch {
	case source.Name != nil && source.SignerName != nil:
		v.errs = append(v.errs, field.Invalid(p, check.Internal(source), "only one of name and signerName may be used"))
	case source.Name != nil:
		if *source.Name == "" {
			v.errs = append(v.errs, field.Required(p.Child("name"), "must be a valid object name"))
		}
		signer, _ := TrustBundleSigner(*source.Name)
		for _, message := range TrustBundleName(signer)(*source.Name, false) {
			v.errs = append(v.errs, field.Invalid(p.Child("name"), *source.Name, fmt.Sprintf("not a valid clustertrustbundlename: %v", message)))
		}
		if source.LabelSelector != nil {
			v.errs = append(v.errs, field.Invalid(p.Child("labelSelector"), source.LabelSelector, "labelSelector must be unset if name is specified"))
		}
	case source.SignerName != nil:
		if *source.SignerName == "" {
			v.errs = append(v.errs, field.Required(p.Child("signerName"), "must be a valid signer name"))
		}
		v.errs = append(v.errs, ValidateSignerName(p.Child("signerName"), *source.SignerName)...)
		v.errs = append(v.errs, check.Selector(p.Child("labelSelector"), source.LabelSelector, false)...)
	default:
		v.errs = append(v.errs, field.Required(p, "either name or signerName must be specified"))
	}
	v.errs = append(v.errs, check.Set(p, "path", source.Path)...)
	v.errs = append(v.errs, check.FileUser(p.Child("user"), source.User)...)
	v.errs = append(v.errs, check.NotReserved(p.Child("path"), source.Path)...)
	v.take(source.Path, source.Path)
}

func (v *projection) certificate(p *field.Path, source *corev1.PodCertificateProjection) {
	v.errs = append(v.errs, ValidateSignerName(p.Child("signerName"), source.SignerName)...)
	if source.UserAnnotations != nil {
		v.errs = append(v.errs, validateUserAnnotations(p.Child("userAnnotations"), source.UserAnnotations)...)
	}
	v.errs = append(v.errs, check.FileUser(p.Child("user"), source.User)...)
	v.errs = append(v.errs, check.OneOf(p.Child("keyType"), source.KeyType,
		"RSA3072", "RSA4096", "ECDSAP256", "ECDSAP384", "ECDSAP521", "ED25519")...)
	if seconds := source.MaxExpirationSeconds; seconds != nil {
		most := int32(maxCertificateSeconds)
		if IsKubernetesSigner(source.SignerName) {
			most = maxKubernetesCertificateSeconds
		}
		at := p.Child("maxExpirationSeconds")
		if *seconds < minCertificateSeconds {
			v.errs = append(v.errs, field.Invalid(at, *seconds, fmt.Sprintf("if provided, maxExpirationSeconds must be >= %d", minCertificateSeconds)))
		}
		if *seconds > most {
			v.errs = append(v.errs, field.Invalid(at, *seconds, fmt.Sprintf("if provided, maxExpirationSeconds must be <= %d", most)))
		}
	}
	paths := 0
	for _, file := range []struct{ child, path string }{
		{"credentialBundlePath", source.CredentialBundlePath},
		{"keyPath", source.KeyPath},
		{"certificateChainPath", source.CertificateChainPath},
	} {
		if file.path == "" {
			continue
		}
		paths++
		v.errs = append(v.errs, check.NotReserved(p.Child(file.child), file.path)...)
		v.take(file.path, file.path)
	}
	if paths == 0 {
		v.errs = append(v.errs, field.Required(p, "specify at least one of credentialBundlePath, keyPath, and certificateChainPath"))
	}
}

func validateUserAnnotations(p *field.Path, annotations map[string]string) field.ErrorList {
	var errs field.ErrorList
	for _, key := range sortedKeys(annotations) {
		errs = append(errs, validation.IsDomainPrefixedKey(p, strings.ToLower(key))...)
	}
	if apivalidation.ValidateAnnotationsSize(annotations) != nil {
		errs = append(errs, field.TooLong(p, "", apivalidation.TotalAnnotationSizeLimitB))
	}
	return errs
}

// ValidateUserAnnotations checks what a pod asks a signer to look at.
func ValidateUserAnnotations(p *field.Path, annotations map[string]string) field.ErrorList {
	return validateUserAnnotations(p, annotations)
}
