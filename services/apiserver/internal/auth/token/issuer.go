package token

import (
	"crypto"
	"fmt"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
)

// Issuer signs tokens. It is safe for concurrent use.
type Issuer struct {
	url    string
	signer jose.Signer
}

// NewIssuer returns an issuer of the given URL that signs with the key: RS256
// with an RSA key; ES256, ES384 or ES512 with an ECDSA key, by its curve.
func NewIssuer(url string, key crypto.Signer) (*Issuer, error) {
	public, err := newPublicKey(key.Public())
	if err != nil {
		return nil, err
	}
	signer, err := jose.NewSigner(jose.SigningKey{
		Algorithm: public.Algorithm,
		Key:       &jose.JSONWebKey{Algorithm: string(public.Algorithm), Key: key, KeyID: public.ID, Use: "sig"},
	}, nil)
	if err != nil {
		return nil, fmt.Errorf("failed to create signer: %w", err)
	}
	return &Issuer{url: url, signer: signer}, nil
}

// URL is the iss claim of the issuer's tokens.
func (i *Issuer) URL() string { return i.url }

func (i *Issuer) sign(c *Claims) (string, error) {
	c.Issuer = i.url
	out, err := jwt.Signed(i.signer).Claims(c).Serialize()
	if err != nil {
		return "", fmt.Errorf("failed to generate token: %w", err)
	}
	return out, nil
}

// Legacy signs the token that is kept in a secret of type
// kubernetes.io/service-account-token; it does not end.
func (i *Issuer) Legacy(namespace, name, uid, secret string) (string, error) {
	c := &Claims{legacyClaims: legacyClaims{Namespace: namespace, ServiceAccountName: name, ServiceAccountUID: uid, SecretName: secret}}
	c.Subject = "system:serviceaccount:" + namespace + ":" + name
	legacy := Issuer{url: legacyIssuer, signer: i.signer}
	return legacy.sign(c)
}
