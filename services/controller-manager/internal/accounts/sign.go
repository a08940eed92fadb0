package accounts

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	_ "crypto/sha512" // the digests of ES384 and ES512
	"crypto/x509"
	"encoding/asn1"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
)

// legacyIssuer is who signs the tokens of Secrets, whatever the issuer of the
// API server's own.
const legacyIssuer = "kubernetes/serviceaccount"

// claims is what the token of a Secret says.
type claims struct {
	Issuer    string `json:"iss"`
	Namespace string `json:"kubernetes.io/serviceaccount/namespace"`
	Secret    string `json:"kubernetes.io/serviceaccount/secret.name"`
	Account   string `json:"kubernetes.io/serviceaccount/service-account.name"`
	UID       string `json:"kubernetes.io/serviceaccount/service-account.uid"`
	Subject   string `json:"sub"`
}

// Signer signs tokens with a key. Algorithm and key ID are upstream's, so that
// every API server with the public key takes them.
type Signer struct {
	key    crypto.Signer
	header string
	hash   crypto.Hash
	size   int // of each half of an ECDSA signature
}

// NewSigner returns a signer with an RSA or ECDSA key.
func NewSigner(key crypto.Signer) (*Signer, error) {
	s := &Signer{key: key, hash: crypto.SHA256}
	algorithm := "RS256"
	switch k := key.(type) {
	case *rsa.PrivateKey:
	case *ecdsa.PrivateKey:
		bits := k.Curve.Params().BitSize
		s.size = (bits + 7) / 8
		switch bits {
		case 256:
			algorithm = "ES256"
		case 384:
			algorithm, s.hash = "ES384", crypto.SHA384
		case 521:
			algorithm, s.hash = "ES512", crypto.SHA512
		default:
			return nil, errors.New("unknown private key curve, must be 256, 384, or 521")
		}
	default:
		return nil, fmt.Errorf("unknown private key type %T, must be *rsa.PrivateKey, *ecdsa.PrivateKey, or jose.OpaqueSigner", key)
	}
	der, err := x509.MarshalPKIXPublicKey(key.Public())
	if err != nil {
		return nil, fmt.Errorf("error serializing public key to DER format: %w", err)
	}
	id := sha256.Sum256(der)
	s.header = part(map[string]string{"alg": algorithm, "kid": base64.RawURLEncoding.EncodeToString(id[:])})
	return s, nil
}

func part(v any) string {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err) // strings always marshal
	}
	return base64.RawURLEncoding.EncodeToString(data)
}

// token is the token of an account that is kept in a Secret.
func (s *Signer) token(account *corev1.ServiceAccount, secret *corev1.Secret) (string, error) {
	text := s.header + "." + part(claims{
		Issuer: legacyIssuer, Namespace: account.Namespace, Secret: secret.Name, Account: account.Name, UID: string(account.UID),
		Subject: serviceaccount.MakeUsername(account.Namespace, account.Name),
	})
	h := s.hash.New()
	h.Write([]byte(text))
	signature, err := s.key.Sign(rand.Reader, h.Sum(nil), s.hash)
	if err != nil {
		return "", err
	}
	if s.size > 0 {
		var halves struct{ R, S *big.Int }
		if _, err := asn1.Unmarshal(signature, &halves); err != nil {
			return "", err
		}
		signature = append(halves.R.FillBytes(make([]byte, s.size)), halves.S.FillBytes(make([]byte, s.size))...)
	}
	return text + "." + base64.RawURLEncoding.EncodeToString(signature), nil
}
