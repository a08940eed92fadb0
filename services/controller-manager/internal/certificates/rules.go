package certificates

import (
	"crypto/x509"
	"errors"
	"fmt"
	"slices"
	"strings"

	certificatesv1 "k8s.io/api/certificates/v1"
)

// legacyUnknown is the signer that promises nothing.
const legacyUnknown = "kubernetes.io/legacy-unknown"

// rules is what each signer asks of a request, in upstream's words.
var rules = map[string]func(*x509.CertificateRequest, []certificatesv1.KeyUsage) error{
	certificatesv1.KubeletServingSignerName:             kubeletServing,
	certificatesv1.KubeAPIServerClientKubeletSignerName: kubeletClient,
	certificatesv1.KubeAPIServerClientSignerName:        apiserverClient,
	legacyUnknown: func(*x509.CertificateRequest, []certificatesv1.KeyUsage) error { return nil },
}

func kubeletServing(x *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch {
	case !slices.Equal(x.Subject.Organization, []string{"system:nodes"}):
		return errors.New("subject organization is not system:nodes")
	case len(x.DNSNames) == 0 && len(x.IPAddresses) == 0:
		return errors.New("DNS or IP subjectAltName is required")
	case len(x.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed")
	case len(x.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	}
	if err := sameUsages(usages, certificatesv1.UsageServerAuth); err != nil {
		return err
	}
	return nodeName(x)
}

func kubeletClient(x *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	switch {
	case !slices.Equal(x.Subject.Organization, []string{"system:nodes"}):
		return errors.New("subject organization is not system:nodes")
	case len(x.DNSNames) > 0:
		return errors.New("DNS subjectAltNames are not allowed")
	case len(x.EmailAddresses) > 0:
		return errors.New("Email subjectAltNames are not allowed")
	case len(x.IPAddresses) > 0:
		return errors.New("IP subjectAltNames are not allowed")
	case len(x.URIs) > 0:
		return errors.New("URI subjectAltNames are not allowed")
	}
	if err := nodeName(x); err != nil {
		return err
	}
	return sameUsages(usages, certificatesv1.UsageClientAuth)
}

func nodeName(x *x509.CertificateRequest) error {
	if !strings.HasPrefix(x.Subject.CommonName, "system:node:") {
		return errors.New("subject common name does not begin with system:node:")
	}
	return nil
}

// sameUsages wants a digital signature, what it is for, and for RSA keys, which
// nobody checks, key encipherment.
func sameUsages(have []certificatesv1.KeyUsage, purpose certificatesv1.KeyUsage) error {
	want := []certificatesv1.KeyUsage{purpose, certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment}
	slices.Sort(want)
	got := slices.Compact(slices.Sorted(slices.Values(have)))
	if slices.Equal(got, want) || slices.Equal(got, slices.DeleteFunc(slices.Clone(want), func(u certificatesv1.KeyUsage) bool {
		return u == certificatesv1.UsageKeyEncipherment
	})) {
		return nil
	}
	return fmt.Errorf("usages did not match %v", want)
}

func apiserverClient(_ *x509.CertificateRequest, usages []certificatesv1.KeyUsage) error {
	found := false
	for _, u := range usages {
		switch u {
		case certificatesv1.UsageDigitalSignature, certificatesv1.UsageKeyEncipherment:
		case certificatesv1.UsageClientAuth:
			found = true
		default:
			return fmt.Errorf("invalid usage for client certificate: %s", u)
		}
	}
	if !found {
		return fmt.Errorf("missing required usage for client certificate: %s", certificatesv1.UsageClientAuth)
	}
	return nil
}
