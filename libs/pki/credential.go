package pki

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"net"
	"time"
)

// DefaultValidity is how long a certificate holds if the request does not say.
const DefaultValidity = 365 * 24 * time.Hour

// Request says what a certificate is for.
type Request struct {
	// CommonName is the user name of a client, or names a server.
	CommonName string
	// Groups are the user's groups; they become the subject's organizations.
	Groups []string
	// Hosts are the DNS names and IP addresses a server answers to.
	Hosts []string
	// Client and Server are the uses of the certificate; at least one is set.
	Client, Server bool
	// Now is the time of issue, the present if zero.
	Now time.Time
	// Validity counts from Now, DefaultValidity if zero. A certificate never
	// outlives its authority.
	Validity time.Duration
}

// Credential is a certificate with its private key.
type Credential struct {
	Certificate *x509.Certificate
	Key         *ecdsa.PrivateKey
	CertPEM     []byte
	KeyPEM      []byte
}

// Issue makes a new key (ECDSA P-256) and signs a certificate for it.
func (a *Authority) Issue(r Request) (*Credential, error) {
	if r.CommonName == "" || (!r.Client && !r.Server) {
		return nil, fmt.Errorf("certificate for %q: a common name and a use are required", r.CommonName)
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("generate key for %s: %w", r.CommonName, err)
	}
	template, err := a.template(r)
	if err != nil {
		return nil, err
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.Certificate, key.Public(), a.Key)
	if err != nil {
		return nil, fmt.Errorf("sign certificate for %s: %w", r.CommonName, err)
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("parse certificate for %s: %w", r.CommonName, err)
	}
	keyPEM, err := EncodeKey(key)
	if err != nil {
		return nil, err
	}
	return &Credential{Certificate: certificate, Key: key, CertPEM: encodeCertificates(der), KeyPEM: keyPEM}, nil
}

func (a *Authority) template(r Request) (*x509.Certificate, error) {
	serial, err := newSerial()
	if err != nil {
		return nil, err
	}
	now, validity := r.Now, r.Validity
	if now.IsZero() {
		now = time.Now()
	}
	if validity == 0 {
		validity = DefaultValidity
	}
	template := &x509.Certificate{
		SerialNumber:          serial,
		Subject:               pkix.Name{CommonName: r.CommonName, Organization: r.Groups},
		NotBefore:             now.Add(-clockSkew).UTC(),
		NotAfter:              now.Add(validity).UTC(),
		KeyUsage:              x509.KeyUsageKeyEncipherment | x509.KeyUsageDigitalSignature,
		BasicConstraintsValid: true,
	}
	if template.NotAfter.After(a.Certificate.NotAfter) {
		template.NotAfter = a.Certificate.NotAfter
	}
	if r.Client {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageClientAuth)
	}
	if r.Server {
		template.ExtKeyUsage = append(template.ExtKeyUsage, x509.ExtKeyUsageServerAuth)
	}
	for _, host := range r.Hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return template, nil
}

// TLS returns the credential in the form crypto/tls takes.
func (c *Credential) TLS() tls.Certificate {
	return tls.Certificate{Certificate: [][]byte{c.Certificate.Raw}, PrivateKey: c.Key, Leaf: c.Certificate}
}

// ParseCredential reads a credential from PEM, as Issue made it.
func ParseCredential(certPEM, keyPEM []byte) (*Credential, error) {
	certificates, err := ParseCertificates(certPEM)
	if err != nil {
		return nil, err
	}
	signer, err := ParseKey(keyPEM)
	if err != nil {
		return nil, err
	}
	key, ok := signer.(*ecdsa.PrivateKey)
	if !ok {
		return nil, fmt.Errorf("key of %q is not an ECDSA key", certificates[0].Subject.CommonName)
	}
	if !samePublicKey(certificates[0].PublicKey, key.Public()) {
		return nil, fmt.Errorf("key does not belong to the certificate of %q", certificates[0].Subject.CommonName)
	}
	return &Credential{Certificate: certificates[0], Key: key, CertPEM: certPEM, KeyPEM: keyPEM}, nil
}

// Covers tells whether a server with this certificate may be called by every
// one of the hosts.
func (c *Credential) Covers(hosts []string) bool {
	for _, host := range hosts {
		if c.Certificate.VerifyHostname(host) != nil {
			return false
		}
	}
	return true
}
