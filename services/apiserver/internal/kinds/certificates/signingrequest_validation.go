package certificates

import (
	"bytes"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"slices"

	certificatesv1 "k8s.io/api/certificates/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/kinds/core"
)

const (
	legacySigner   = "kubernetes.io/legacy-unknown"
	minExpiration  = 600
	approvedMember = `conditions[{"type": "Approved"}]`
	deniedMember   = `conditions[{"type": "Denied"}]`
)

var (
	specPath       = field.NewPath("spec")
	conditionsPath = field.NewPath("status", "conditions")
	certPath       = field.NewPath("status", "certificate")
)

// usages are all that a certificate can be for, in the order upstream prints
// them in.
var usages = sets.List(sets.New(
	certificatesv1.UsageSigning, certificatesv1.UsageDigitalSignature, certificatesv1.UsageContentCommitment,
	certificatesv1.UsageKeyEncipherment, certificatesv1.UsageKeyAgreement, certificatesv1.UsageDataEncipherment,
	certificatesv1.UsageCertSign, certificatesv1.UsageCRLSign, certificatesv1.UsageEncipherOnly, certificatesv1.UsageDecipherOnly,
	certificatesv1.UsageAny, certificatesv1.UsageServerAuth, certificatesv1.UsageClientAuth, certificatesv1.UsageCodeSigning,
	certificatesv1.UsageEmailProtection, certificatesv1.UsageSMIME, certificatesv1.UsageIPsecEndSystem,
	certificatesv1.UsageIPsecTunnel, certificatesv1.UsageIPsecUser, certificatesv1.UsageTimestamping,
	certificatesv1.UsageOCSPSigning, certificatesv1.UsageMicrosoftSGC, certificatesv1.UsageNetscapeSGC,
))

// mayChange says what a write may change besides the rest of the status.
type mayChange struct{ approval, certificate bool }

// validateRequest checks a request; old is nil on create. What is wrong with
// the old one already is forgiven.
func validateRequest(r, old request) field.ErrorList {
	errs := validateSigningRequest(r, old)
	conditions, exclusive := validateConditions(r, old)
	errs = append(errs, conditions...)
	kept := old != nil && (bytes.Equal(r.Status.Certificate, old.Status.Certificate) || validateCertificate(old.Status.Certificate) != nil)
	if err := validateCertificate(r.Status.Certificate); err != nil && !kept {
		errs = append(errs, field.Invalid(certPath, "<certificate data>", err.Error()))
	}
	return append(errs, exclusive...)
}

func validateSigningRequest(r, old request) field.ErrorList {
	var errs field.ErrorList
	if err := parseRequest(r.Spec.Request); err != nil {
		errs = append(errs, field.Invalid(specPath.Child("request"), r.Spec.Request, err.Error()))
	}
	at := specPath.Child("usages")
	if len(r.Spec.Usages) == 0 {
		errs = append(errs, field.Required(at, ""))
	}
	known := func(usage certificatesv1.KeyUsage) bool { return slices.Contains(usages, usage) }
	if old == nil || !slices.ContainsFunc(old.Spec.Usages, func(u certificatesv1.KeyUsage) bool { return !known(u) }) {
		for i, usage := range r.Spec.Usages {
			errs = append(errs, check.OneOf(at.Index(i), usage, usages...)...)
		}
	}
	if old == nil || sets.New(old.Spec.Usages...).Len() == len(old.Spec.Usages) {
		for i, usage := range r.Spec.Usages {
			if slices.Contains(r.Spec.Usages[:i], usage) {
				errs = append(errs, field.Duplicate(at.Index(i), usage))
			}
		}
	}
	signer := specPath.Child("signerName")
	if r.Spec.SignerName == legacySigner && (old == nil || old.Spec.SignerName != legacySigner) {
		errs = append(errs, field.Invalid(signer, r.Spec.SignerName, "the legacy signerName is not allowed via this API version"))
	} else {
		errs = append(errs, core.ValidateSignerName(signer, r.Spec.SignerName)...)
	}
	if seconds := r.Spec.ExpirationSeconds; seconds != nil && *seconds < minExpiration {
		errs = append(errs, field.Invalid(specPath.Child("expirationSeconds"), *seconds, "may not specify a duration less than 600 seconds (10 minutes)"))
	}
	return errs
}

func parseRequest(data []byte) error {
	block, _ := pem.Decode(data)
	if block == nil || block.Type != "CERTIFICATE REQUEST" {
		return errors.New("PEM block type must be CERTIFICATE REQUEST")
	}
	parsed, err := x509.ParseCertificateRequest(block.Bytes)
	if err != nil {
		return err
	}
	return parsed.CheckSignature()
}

// validateConditions returns apart what upstream says after all the rest.
func validateConditions(r, old request) (errs, exclusive field.ErrorList) {
	was := map[certificatesv1.RequestConditionType]int{}
	if old != nil {
		for _, c := range old.Status.Conditions {
			was[c.Type]++
		}
	}
	twice := slices.ContainsFunc(sets.List(sets.KeySet(was)), func(t certificatesv1.RequestConditionType) bool { return was[t] > 1 })
	both := was[certificatesv1.CertificateApproved] > 0 && was[certificatesv1.CertificateDenied] > 0
	seen := map[certificatesv1.RequestConditionType]bool{}
	for i, c := range r.Status.Conditions {
		p := conditionsPath.Index(i)
		if c.Type == "" && was[""] == 0 {
			errs = append(errs, field.Required(p.Child("type"), ""))
		}
		statuses := []corev1.ConditionStatus{corev1.ConditionFalse, corev1.ConditionTrue, corev1.ConditionUnknown}
		switch c.Type {
		case certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed:
			statuses = []corev1.ConditionStatus{corev1.ConditionTrue}
		}
		errs = append(errs, check.RequiredOneOf(p.Child("status"), c.Status, statuses...)...)
		if !twice && seen[c.Type] {
			errs = append(errs, field.Duplicate(p.Child("type"), c.Type))
		}
		seen[c.Type] = true
	}
	if !both && seen[certificatesv1.CertificateApproved] && seen[certificatesv1.CertificateDenied] {
		exclusive = append(exclusive, field.Invalid(conditionsPath, fmt.Sprintf("{%s, %s}", approvedMember, deniedMember),
			fmt.Sprintf("must specify at most one of: `%s`, `%s`", approvedMember, deniedMember)))
	}
	return errs, exclusive
}

func validateCertificate(data []byte) error {
	if len(data) == 0 {
		return nil
	}
	blocks := 0
	for {
		block, rest := pem.Decode(data)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return fmt.Errorf("only CERTIFICATE PEM blocks are allowed, found %q", block.Type)
		}
		if len(block.Headers) != 0 {
			return errors.New("no PEM block headers are permitted")
		}
		blocks++
		certs, err := x509.ParseCertificates(block.Bytes)
		if err != nil {
			return err
		}
		if len(certs) == 0 {
			return errors.New("found CERTIFICATE PEM block containing 0 certificates")
		}
		data = rest
	}
	if blocks == 0 {
		return errors.New("must contain at least one CERTIFICATE PEM block")
	}
	return nil
}

func validateRequestUpdate(r, old request, may mayChange) field.ErrorList {
	errs := validateRequest(r, old)
	for _, of := range []certificatesv1.RequestConditionType{
		certificatesv1.CertificateApproved, certificatesv1.CertificateDenied, certificatesv1.CertificateFailed,
	} {
		if len(indexesOf(r, of)) < len(indexesOf(old, of)) {
			errs = append(errs, field.Forbidden(conditionsPath, fmt.Sprintf("updates may not remove a condition of type %q", of)))
		}
	}
	if !may.approval {
		errs = append(errs, validateApprovalKept(r, old, certificatesv1.CertificateApproved)...)
		errs = append(errs, validateApprovalKept(r, old, certificatesv1.CertificateDenied)...)
	}
	if !bytes.Equal(r.Status.Certificate, old.Status.Certificate) {
		switch {
		case !may.certificate:
			errs = append(errs, field.Forbidden(certPath, "updates may not set certificate content"))
		case len(old.Status.Certificate) > 0:
			errs = append(errs, field.Forbidden(certPath, "updates may not modify existing certificate content"))
		}
	}
	return errs
}

func validateApprovalKept(r, old request, of certificatesv1.RequestConditionType) field.ErrorList {
	is, was := conditionsOf(r, of), conditionsOf(old, of)
	switch {
	case len(is) > len(was):
		return field.ErrorList{field.Forbidden(conditionsPath, fmt.Sprintf("updates may not add a condition of type %q", of))}
	case len(is) == len(was) && !equality.Semantic.DeepEqual(is, was):
		return field.ErrorList{field.Forbidden(conditionsPath, fmt.Sprintf("updates may not modify a condition of type %q\n%v", of, check.Diff(was, is)))}
	}
	return nil
}

func conditionsOf(r request, of certificatesv1.RequestConditionType) []certificatesv1.CertificateSigningRequestCondition {
	var found []certificatesv1.CertificateSigningRequestCondition
	for _, i := range indexesOf(r, of) {
		found = append(found, r.Status.Conditions[i])
	}
	return found
}
