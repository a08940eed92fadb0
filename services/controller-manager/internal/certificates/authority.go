package certificates

import (
	"crypto"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"math/big"
	"os"
	"slices"
	"time"

	certificatesv1 "k8s.io/api/certificates/v1"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// Authority is what a signer signs with: texts in PEM, or files, which are read
// each time so that new ones take effect.
type Authority struct {
	Cert, Key         []byte
	CertFile, KeyFile string
}

// Check tells whether the authority can sign.
func (a Authority) Check() error {
	_, _, err := a.load()
	return err
}

func (a Authority) load() (*x509.Certificate, crypto.Signer, error) {
	certPEM, keyPEM := a.Cert, a.Key
	var err error
	if a.CertFile != "" {
		if certPEM, err = os.ReadFile(a.CertFile); err == nil {
			keyPEM, err = os.ReadFile(a.KeyFile)
		}
		if err != nil {
			return nil, nil, fmt.Errorf("error reading CA cert file %q: %w", a.CertFile, err)
		}
	}
	certs, err := cert.ParseCertsPEM(certPEM)
	if err != nil {
		return nil, nil, fmt.Errorf("error reading CA cert file %q: %w", a.CertFile, err)
	}
	if len(certs) != 1 {
		return nil, nil, fmt.Errorf("error reading CA cert file %q: expected 1 certificate, found %d", a.CertFile, len(certs))
	}
	key, err := keyutil.ParsePrivateKeyPEM(keyPEM)
	if err != nil {
		return nil, nil, fmt.Errorf("error reading CA key file %q: %w", a.KeyFile, err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, nil, fmt.Errorf("error reading CA key file %q: key did not implement crypto.Signer", a.KeyFile)
	}
	return certs[0], signer, nil
}

const (
	// backdate is for clocks that are behind.
	backdate = 5 * time.Minute
	// short is a life whose end is not backdated.
	short = 8 * time.Hour
)

var serials = new(big.Int).Lsh(big.NewInt(1), 128)

// sign makes the certificate that a request asks for, in DER.
func (a Authority) sign(r *certificatesv1.CertificateSigningRequest, lifetime time.Duration, now time.Time) ([]byte, error) {
	ca, key, err := a.load()
	if err != nil {
		return nil, err
	}
	x, err := parse(r.Spec.Request)
	if err != nil {
		return nil, fmt.Errorf("unable to parse certificate request: %w", err)
	}
	if err := x.CheckSignature(); err != nil {
		return nil, fmt.Errorf("unable to verify certificate request signature: %w", err)
	}
	serial, err := rand.Int(rand.Reader, serials)
	if err != nil {
		return nil, fmt.Errorf("unable to generate a serial number for %s: %w", x.Subject.CommonName, err)
	}
	c := &x509.Certificate{
		SerialNumber: serial, Subject: x.Subject,
		DNSNames: x.DNSNames, IPAddresses: x.IPAddresses, EmailAddresses: x.EmailAddresses, URIs: x.URIs,
		PublicKeyAlgorithm: x.PublicKeyAlgorithm, PublicKey: x.PublicKey,
		BasicConstraintsValid: true,
	}
	if c.KeyUsage, c.ExtKeyUsage, err = keyUsages(r.Spec.Usages); err != nil {
		return nil, err
	}
	if err := limit(c, lifetime, ca.NotAfter, now); err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, c, ca, x.PublicKey, key)
	if err != nil {
		return nil, fmt.Errorf("failed to sign certificate: %w", err)
	}
	return der, nil
}

// limit sets when a certificate is valid: never longer than its signer's.
func limit(c *x509.Certificate, lifetime time.Duration, end, now time.Time) error {
	c.NotBefore, c.NotAfter = now.Add(-backdate), now.Add(lifetime)
	if lifetime >= short {
		c.NotAfter = c.NotAfter.Add(-backdate)
	}
	if !c.NotAfter.Before(end) {
		c.NotAfter = end
	}
	switch {
	case !c.NotBefore.Before(end):
		return fmt.Errorf("the signer has expired: NotAfter=%v", end)
	case !now.Before(end):
		return fmt.Errorf("refusing to sign a certificate that expired in the past: NotAfter=%v", end)
	}
	return nil
}

var plainUsages = map[certificatesv1.KeyUsage]x509.KeyUsage{
	certificatesv1.UsageSigning:           x509.KeyUsageDigitalSignature,
	certificatesv1.UsageDigitalSignature:  x509.KeyUsageDigitalSignature,
	certificatesv1.UsageContentCommitment: x509.KeyUsageContentCommitment,
	certificatesv1.UsageKeyEncipherment:   x509.KeyUsageKeyEncipherment,
	certificatesv1.UsageKeyAgreement:      x509.KeyUsageKeyAgreement,
	certificatesv1.UsageDataEncipherment:  x509.KeyUsageDataEncipherment,
	certificatesv1.UsageCertSign:          x509.KeyUsageCertSign,
	certificatesv1.UsageCRLSign:           x509.KeyUsageCRLSign,
	certificatesv1.UsageEncipherOnly:      x509.KeyUsageEncipherOnly,
	certificatesv1.UsageDecipherOnly:      x509.KeyUsageDecipherOnly,
}

var extendedUsages = map[certificatesv1.KeyUsage]x509.ExtKeyUsage{
	certificatesv1.UsageAny:             x509.ExtKeyUsageAny,
	certificatesv1.UsageServerAuth:      x509.ExtKeyUsageServerAuth,
	certificatesv1.UsageClientAuth:      x509.ExtKeyUsageClientAuth,
	certificatesv1.UsageCodeSigning:     x509.ExtKeyUsageCodeSigning,
	certificatesv1.UsageEmailProtection: x509.ExtKeyUsageEmailProtection,
	certificatesv1.UsageSMIME:           x509.ExtKeyUsageEmailProtection,
	certificatesv1.UsageIPsecEndSystem:  x509.ExtKeyUsageIPSECEndSystem,
	certificatesv1.UsageIPsecTunnel:     x509.ExtKeyUsageIPSECTunnel,
	certificatesv1.UsageIPsecUser:       x509.ExtKeyUsageIPSECUser,
	certificatesv1.UsageTimestamping:    x509.ExtKeyUsageTimeStamping,
	certificatesv1.UsageOCSPSigning:     x509.ExtKeyUsageOCSPSigning,
	certificatesv1.UsageMicrosoftSGC:    x509.ExtKeyUsageMicrosoftServerGatedCrypto,
	certificatesv1.UsageNetscapeSGC:     x509.ExtKeyUsageNetscapeServerGatedCrypto,
}

func keyUsages(usages []certificatesv1.KeyUsage) (x509.KeyUsage, []x509.ExtKeyUsage, error) {
	var plain x509.KeyUsage
	var extended []x509.ExtKeyUsage
	var unknown []certificatesv1.KeyUsage
	for _, u := range usages {
		p, isPlain := plainUsages[u]
		e, isExtended := extendedUsages[u]
		switch {
		case isPlain:
			plain |= p
		case isExtended:
			extended = append(extended, e)
		default:
			unknown = append(unknown, u)
		}
	}
	if len(unknown) > 0 {
		return 0, nil, fmt.Errorf("unrecognized usage values: %q", unknown)
	}
	slices.Sort(extended)
	return plain, slices.Compact(extended), nil
}
