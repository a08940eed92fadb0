package certificates

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net/mail"
	"slices"
	"strings"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
)

type podRequest = *certificatesv1.PodCertificateRequest

// Limits of pod certificate requests.
const (
	longestUID            = 128
	shortestLifetime      = 3600
	longestLifetime       = 91 * 86400
	longestKubernetesLife = 86400
	largestRequest        = 10 * 1024
	largestChain          = 100 * 1024
)

var (
	requestPath = specPath.Child("stubPKCS10Request")
	chainPath   = field.NewPath("status", "certificateChain")
)

func validatePodRequest(r podRequest) field.ErrorList {
	spec := &r.Spec
	errs := core.ValidateSignerName(specPath.Child("signerName"), spec.SignerName)
	errs = append(errs, core.ValidateUserAnnotations(specPath.Child("unverifiedUserAnnotations"), spec.UnverifiedUserAnnotations)...)
	errs = append(errs, check.Name(specPath.Child("podName"), spec.PodName, apivalidation.NameIsDNSSubdomain)...)
	errs = append(errs, validateUID(specPath.Child("podUID"), string(spec.PodUID))...)
	errs = append(errs, check.Name(specPath.Child("serviceAccountName"), spec.ServiceAccountName, apivalidation.ValidateServiceAccountName)...)
	errs = append(errs, validateUID(specPath.Child("serviceAccountUID"), string(spec.ServiceAccountUID))...)
	errs = append(errs, check.Name(specPath.Child("nodeName"), string(spec.NodeName), apivalidation.NameIsDNSSubdomain)...)
	errs = append(errs, validateUID(specPath.Child("nodeUID"), string(spec.NodeUID))...)
	at := specPath.Child("maxExpirationSeconds")
	if spec.MaxExpirationSeconds == nil {
		return append(errs, field.Required(at, "must be set"))
	}
	most := int32(longestLifetime)
	if core.IsKubernetesSigner(spec.SignerName) {
		most = longestKubernetesLife
	}
	if s := *spec.MaxExpirationSeconds; s < shortestLifetime || s > most {
		errs = append(errs, field.Invalid(at, s, fmt.Sprintf("must be in the range [%d, %d]", shortestLifetime, most)))
	}
	return append(errs, validateKey(spec)...)
}

func validateUID(path *field.Path, uid string) field.ErrorList {
	switch {
	case uid == "":
		return field.ErrorList{field.Invalid(path, uid, "must not be empty")}
	case len(uid) > longestUID:
		return field.ErrorList{field.TooLong(path, uid, longestUID)}
	}
	return nil
}

// validateKey checks the request that carries the key. Elsewhere than in v1 there
// is another way to give it.
func validateKey(spec *certificatesv1.PodCertificateRequestSpec) field.ErrorList {
	if len(spec.StubPKCS10Request) == 0 {
		return field.ErrorList{field.Invalid(specPath, field.OmitValueType{}, "exactly one of (stubPKCS10Request) or (pkixPublicKey, proofOfPossession) must be set")}
	}
	return validateStub(spec.StubPKCS10Request)
}

func validateStub(request []byte) field.ErrorList {
	refuse := func(value any, message string) field.ErrorList {
		return field.ErrorList{field.Invalid(requestPath, value, message)}
	}
	if len(request) > largestRequest {
		return field.ErrorList{field.TooLong(requestPath, request, largestRequest)}
	}
	parsed, err := x509.ParseCertificateRequest(request)
	if err != nil {
		return refuse(field.OmitValueType{}, "must be a valid PKCS#10 CSR")
	}
	if value, message := keyFault(parsed.PublicKey); message != "" {
		return refuse(value, message)
	}
	if err := parsed.CheckSignature(); err != nil {
		return refuse(field.OmitValueType{}, "invalid signature")
	}
	return nil
}

// keyFault tells why a key is of no use; value is what to show.
func keyFault(key any) (value any, message string) {
	switch key := key.(type) {
	case ed25519.PublicKey:
	case *ecdsa.PublicKey:
		if !slices.Contains([]elliptic.Curve{elliptic.P256(), elliptic.P384(), elliptic.P521()}, key.Curve) {
			return "curve " + key.Params().Name, "elliptic public keys must use curve P256, P384, or P521"
		}
	case *rsa.PublicKey:
		if bits := key.Size() * 8; bits != 3072 && bits != 4096 {
			return fmt.Sprintf("%d-bit modulus", bits), "RSA keys must have modulus size 3072 or 4096"
		}
	default:
		return field.OmitValueType{}, "unknown public key type; supported types are Ed25519, ECDSA, and RSA"
	}
	return nil, ""
}

// validatePodAnswer checks what a signer writes: one decision, made once.
func validatePodAnswer(r, old podRequest) field.ErrorList {
	at := field.NewPath("status", "conditions")
	known := []string{
		certificatesv1.PodCertificateRequestConditionTypeIssued, certificatesv1.PodCertificateRequestConditionTypeDenied,
		certificatesv1.PodCertificateRequestConditionTypeFailed,
	}
	var errs field.ErrorList
	decisions := 0
	for i, c := range r.Status.Conditions {
		// Upstream writes the path so.
		p := field.NewPath("status", "conditions", fmt.Sprintf("[%d]", i))
		if !slices.Contains(known, c.Type) {
			errs = append(errs, field.NotSupported(p.Child("type"), c.Type, known))
			continue
		}
		if decisions++; decisions > 1 {
			errs = append(errs, field.Invalid(p.Child("type"), c.Type, `There may be at most one condition with type "Issued", "Denied", or "Failed"`))
		}
		if c.Status != metav1.ConditionTrue {
			errs = append(errs, field.NotSupported(p.Child("status"), c.Status, []metav1.ConditionStatus{metav1.ConditionTrue}))
		}
	}
	errs = append(errs, metavalidation.ValidateConditions(r.Status.Conditions, at)...)
	if len(errs) > 0 {
		return errs
	}
	fixed := func(want certificatesv1.PodCertificateRequestStatus, message string) field.ErrorList {
		if equality.Semantic.DeepEqual(r.Status, want) {
			return nil
		}
		return field.ErrorList{field.Invalid(field.NewPath("status"), field.OmitValueType{}, message)}
	}
	switch {
	case decision(old) != "":
		return fixed(old.Status, "immutable after PodCertificateRequest is issued, denied, or failed")
	case decision(r) == "":
		return fixed(old.Status, `status is immutable unless transitioning to "Issued", "Denied", or "Failed"`)
	case decision(r) == certificatesv1.PodCertificateRequestConditionTypeIssued:
		return validateIssued(r)
	}
	return fixed(certificatesv1.PodCertificateRequestStatus{Conditions: r.Status.Conditions},
		"non-condition status fields must be empty when denying or failing the PodCertificateRequest")
}

// decision is the type of the condition that holds, if any.
func decision(r podRequest) string {
	for _, c := range r.Status.Conditions {
		if c.Status == metav1.ConditionTrue {
			return c.Type
		}
	}
	return ""
}

func validateIssued(r podRequest) field.ErrorList {
	chain := r.Status.CertificateChain
	refuse := func(message string) field.ErrorList {
		return field.ErrorList{field.Invalid(chainPath, chain, message)}
	}
	if len(chain) > largestChain {
		return field.ErrorList{field.TooLong(chainPath, chain, largestChain)}
	}
	block, rest := pem.Decode([]byte(chain))
	switch {
	case block == nil:
		return refuse("issued certificate chain must contain at least one certificate")
	case block.Type != "CERTIFICATE":
		return refuse("issued certificate chain must consist entirely of CERTIFICATE PEM blocks")
	}
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		return refuse("leaf certificate does not parse as valid X.509")
	}
	errs := validateLeafNames(leaf)
	request, err := x509.ParseCertificateRequest(r.Spec.StubPKCS10Request)
	if err != nil {
		return append(errs, field.Invalid(requestPath, field.OmitValueType{}, "must be a valid PKCS#10 CSR"))
	}
	if equal, ok := request.PublicKey.(interface{ Equal(crypto.PublicKey) bool }); ok && !equal.Equal(leaf.PublicKey) {
		return append(errs, refuse("leaf certificate was not issued to the requested public key")...)
	}
	if errs = append(errs, validateTimes(r, leaf)...); len(errs) > 0 {
		return errs
	}
	for {
		if block, rest = pem.Decode(rest); block == nil {
			return nil
		}
		if block.Type != "CERTIFICATE" {
			return refuse("issued certificate chain must consist entirely of CERTFICATE PEM blocks") // upstream's spelling
		}
		if _, err := x509.ParseCertificate(block.Bytes); err != nil {
			return refuse("intermediate certificate does not parse as valid X.509")
		}
	}
}

func validateLeafNames(leaf *x509.Certificate) field.ErrorList {
	var errs field.ErrorList
	for _, name := range leaf.DNSNames {
		if name == "" {
			errs = append(errs, field.Invalid(chainPath, name, "leaf certificate should not contain empty DNSName"))
		}
		if strings.Contains(name, "..") {
			errs = append(errs, field.Invalid(chainPath, name, "leaf certificate's DNSName should not contain '..'"))
		}
		if strings.HasPrefix(name, ".") || strings.HasSuffix(name, ".") {
			errs = append(errs, field.Invalid(chainPath, name, "leaf certificate's DNSName should not start or end with '.'"))
		}
	}
	for _, address := range leaf.EmailAddresses {
		if _, err := mail.ParseAddress(address); err != nil {
			errs = append(errs, field.Invalid(chainPath, address, "leaf certificate should not contain invalid EmailAddress"))
		}
	}
	return errs
}

// validateTimes holds the status's times to those of the certificate.
func validateTimes(r podRequest, leaf *x509.Certificate) field.ErrorList {
	path, status := field.NewPath("status"), &r.Status
	var errs field.ErrorList
	for _, t := range []struct {
		child, wanted string
		time          *metav1.Time
	}{
		{"notBefore", "must be present and consistent with the issued certificate", status.NotBefore},
		{"notAfter", "must be present and consistent with the issued certificate", status.NotAfter},
		{"beginRefreshAt", "must be present and in the range [notbefore+10min, notafter-10min]", status.BeginRefreshAt},
	} {
		if t.time == nil {
			errs = append(errs, field.Required(path.Child(t.child), t.wanted))
		}
	}
	if len(errs) > 0 {
		return errs
	}
	refuse := func(child string, t *metav1.Time, message string) field.ErrorList {
		return field.ErrorList{field.Invalid(path.Child(child), t.Time, message)}
	}
	lifetime := leaf.NotAfter.Sub(leaf.NotBefore)
	switch {
	case !status.NotBefore.Time.Equal(leaf.NotBefore):
		return refuse("notBefore", status.NotBefore, "must be set to the NotBefore time encoded in the leaf certificate")
	case time.Since(status.NotBefore.Time).Abs() >= 5*time.Minute:
		return refuse("notBefore", status.NotBefore, "must be set to within 5 minutes of kube-apiserver's current time")
	case !status.NotAfter.Time.Equal(leaf.NotAfter):
		return refuse("notAfter", status.NotAfter, "must be set to the NotAfter time encoded in the leaf certificate")
	case lifetime < time.Hour:
		return field.ErrorList{field.Invalid(chainPath, lifetime, "leaf certificate lifetime must be >= 1 hour")}
	case lifetime > time.Duration(*r.Spec.MaxExpirationSeconds)*time.Second:
		return field.ErrorList{field.Invalid(chainPath, lifetime, fmt.Sprintf("leaf certificate lifetime must be <= spec.maxExpirationSeconds (%v)", *r.Spec.MaxExpirationSeconds))}
	case status.BeginRefreshAt.Time.Before(status.NotBefore.Add(10 * time.Minute)):
		return refuse("beginRefreshAt", status.BeginRefreshAt, "must be at least 10 minutes after status.notBefore")
	case status.BeginRefreshAt.After(status.NotAfter.Add(-10 * time.Minute)):
		return refuse("beginRefreshAt", status.BeginRefreshAt, "must be at least 10 minutes before status.notAfter")
	}
	return nil
}
