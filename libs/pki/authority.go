// Package pki makes, keeps and reads the certificates, keys and kubeconfig
// files by which the parts of a cluster know each other.
package pki

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"time"
)

const (
	authorityValidity = 10 * 365 * 24 * time.Hour
	// clockSkew is how far a new certificate's validity reaches back, so that
	// a peer whose clock is late does not refuse it.
	clockSkew = 5 * time.Minute
)

// Authority is a certificate authority with its private key.
type Authority struct {
	Certificate *x509.Certificate
	Key         crypto.Signer
	CertPEM     []byte
	KeyPEM      []byte
}

// NewAuthority makes a self-signed authority (ECDSA P-256, ten years). A zero
// now means the present time.
func NewAuthority(commonName string, now time.Time) (*Authority, error) {
	if now.IsZero() {
		now = time.Now()
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key of authority %s: %w", commonName, err)
	}
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: commonName},
		NotBefore:             now.Add(-clockSkew).UTC(),
		NotAfter:              now.Add(authorityValidity).UTC(),
		KeyUsage:              x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("sign authority %s: %w", commonName, err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse authority %s: %w", commonName, err)
	}
	keyPEM, err := EncodeKey(key)
	if err != nil {
		return nil, err
	}
	return &Authority{Certificate: certificate, Key: key, CertPEM: encodeCertificates(der), KeyPEM: keyPEM}, nil
}

// ParseAuthority reads an authority from PEM. The certificate must be one of
// an authority and belong to the key.
func ParseAuthority(certPEM, keyPEM []byte) (*Authority, error) {
	certificates, err := ParseCertificates(certPEM)
	if err != nil {
		return nil, err
	}
	key, err := ParseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	certificate := certificates[0]
	if !certificate.IsCA {
		return nil, fmt.Errorf("certificate of %q is not a certificate authority", certificate.Subject.CommonName)
	}
	if !samePublicKey(certificate.PublicKey, key.Public()) {
		return nil, fmt.Errorf("key does not belong to the certificate of %q", certificate.Subject.CommonName)
	}
	return &Authority{Certificate: certificate, Key: key, CertPEM: certPEM, KeyPEM: keyPEM}, nil
}

// Pool returns a new pool that trusts this authority alone.
func (a *Authority) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(a.Certificate)
	return pool
}

func newSerial() (*big.Int, error) {
	serial, err := rand.Int(rand.Reader, new(big.Int).Lsh(big.NewInt(1), 127))
	if err != nil {
		return nil, fmt.Errorf("draw serial number: %w", err)
	}
	// Zero is not a valid serial number.
	return serial.Add(serial, big.NewInt(1)), nil
}

func samePublicKey(a, b crypto.PublicKey) bool {
	key, ok := a.(interface{ Equal(crypto.PublicKey) bool })
	return ok && key.Equal(b)
}

var errNoCertificate = errors.New("data does not contain any certificates")
