package authn

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/apis/asn1"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/services/apiserver/internal/auth/recent"
)

// certificates verifies clients against one authority, and remembers whom it
// has verified: a client sends the same certificate with each request of a
// connection, and a signature costs more than many a request.
type certificates struct {
	roots *x509.CertPool
	known *recent.Cache[[sha256.Size]byte, user.Info]
}

func newCertificates(roots *x509.CertPool) *certificates {
	return &certificates{roots: roots, known: recent.New[[sha256.Size]byte, user.Info](rememberCerts)}
}

// verify returns the user that a certificate names. Both results are nil for
// a valid certificate that names nobody.
func (c *certificates) verify(certs []*x509.Certificate, now time.Time) (user.Info, error) {
	key := chainKey(certs)
	if u, ok := c.known.Get(key, now); ok && !now.Before(certs[0].NotBefore) {
		return u, nil
	}
	chain, err := c.verifyChain(certs, now)
	if err != nil {
		return nil, err
	}
	u, err := certificateUser(certs[0])
	if u == nil || err != nil {
		return nil, err
	}
	u = authenticated(u)
	until := chain[0].NotAfter
	for _, certificate := range chain {
		if certificate.NotAfter.Before(until) {
			until = certificate.NotAfter
		}
	}
	c.known.Put(key, u, until)
	return u, nil
}

func (c *certificates) verifyChain(certs []*x509.Certificate, now time.Time) ([]*x509.Certificate, error) {
	options := x509.VerifyOptions{
		Roots: c.roots, CurrentTime: now, KeyUsages: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	if len(certs) > 1 {
		options.Intermediates = x509.NewCertPool()
		for _, intermediate := range certs[1:] {
			options.Intermediates.AddCert(intermediate)
		}
	}
	chains, err := certs[0].Verify(options)
	if err != nil {
		return nil, fmt.Errorf("verifying certificate %s failed: %w", certificateID(certs[0]), err)
	}
	return chains[0], nil
}

func chainKey(certs []*x509.Certificate) [sha256.Size]byte {
	if len(certs) == 1 {
		return sha256.Sum256(certs[0].Raw)
	}
	h := sha256.New()
	for _, certificate := range certs {
		_, _ = h.Write(certificate.Raw)
	}
	var out [sha256.Size]byte
	h.Sum(out[:0])
	return out
}

// certificateUser reads the user out of a subject: the common name is the
// name, the organizations are the groups.
func certificateUser(c *x509.Certificate) (user.Info, error) {
	if c.Subject.CommonName == "" {
		return nil, nil
	}
	uid, err := certificateUID(c)
	if err != nil {
		return nil, err
	}
	fingerprint := sha256.Sum256(c.Raw)
	return &user.DefaultInfo{
		Name: c.Subject.CommonName, UID: uid, Groups: c.Subject.Organization,
		Extra: map[string][]string{user.CredentialIDKey: {"X509SHA256=" + hex.EncodeToString(fingerprint[:])}},
	}, nil
}

func certificateUID(c *x509.Certificate) (string, error) {
	uid, found := "", false
	for _, name := range c.Subject.Names {
		if !name.Type.Equal(asn1.X509UID()) {
			continue
		}
		value, ok := name.Value.(string)
		switch {
		case !ok:
			return "", errors.New("unable to parse UID into a string")
		case found:
			return "", fmt.Errorf("expected 1 UID, but found multiple: %v", []string{uid, value})
		case value == "":
			return "", errors.New("UID cannot be an empty string")
		}
		uid, found = value, true
	}
	return uid, nil
}

func certificateID(c *x509.Certificate) string {
	return fmt.Sprintf("SN=%d, SKID=%s, AKID=%s", c.SerialNumber, colonHex(c.SubjectKeyId), colonHex(c.AuthorityKeyId))
}

func colonHex(b []byte) string {
	parts := make([]string, len(b))
	for i, x := range b {
		parts[i] = fmt.Sprintf("%02X", x)
	}
	return strings.Join(parts, ":")
}
