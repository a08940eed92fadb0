// Package token issues and verifies the tokens of service accounts, and
// publishes the keys they can be verified with.
package token

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"

	"github.com/go-jose/go-jose/v4"
)

// PublicKey verifies tokens.
type PublicKey struct {
	// ID is what the kid header of a token names: a digest of the key.
	ID        string
	Key       crypto.PublicKey
	Algorithm jose.SignatureAlgorithm
}

// Keys are the keys whose tokens are accepted.
type Keys struct {
	all  []PublicKey
	byID map[string][]PublicKey
}

// NewKeys returns the set of the keys; a key that comes twice counts once.
func NewKeys(keys ...crypto.PublicKey) (*Keys, error) {
	out := &Keys{byID: map[string][]PublicKey{}}
	for _, key := range keys {
		public, err := newPublicKey(key)
		if err != nil {
			return nil, err
		}
		if len(out.byID[public.ID]) > 0 {
			continue
		}
		out.all = append(out.all, public)
		out.byID[public.ID] = append(out.byID[public.ID], public)
	}
	if len(out.all) == 0 {
		return nil, errors.New("no service account keys are given")
	}
	return out, nil
}

// find returns the keys a token with such a kid may be signed with; all for a
// token without one.
func (k *Keys) find(id string) []PublicKey {
	if id == "" {
		return k.all
	}
	return k.byID[id]
}

func newPublicKey(key crypto.PublicKey) (PublicKey, error) {
	algorithm, err := algorithmOf(key)
	if err != nil {
		return PublicKey{}, err
	}
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		return PublicKey{}, fmt.Errorf("failed to serialize public key to DER format: %w", err)
	}
	digest := sha256.Sum256(der)
	return PublicKey{ID: base64.RawURLEncoding.EncodeToString(digest[:]), Key: key, Algorithm: algorithm}, nil
}

func algorithmOf(key crypto.PublicKey) (jose.SignatureAlgorithm, error) {
	switch key := key.(type) {
	case *rsa.PublicKey:
		return jose.RS256, nil
	case *ecdsa.PublicKey:
		switch key.Curve {
		case elliptic.P256():
			return jose.ES256, nil
		case elliptic.P384():
			return jose.ES384, nil
		case elliptic.P521():
			return jose.ES512, nil
		}
		return "", errors.New("unknown private key curve, must be 256, 384, or 521")
	}
	return "", fmt.Errorf("unknown key type %T, must be RSA or ECDSA", key)
}

// algorithms are the signatures that are accepted at all.
var algorithms = []jose.SignatureAlgorithm{jose.RS256, jose.ES256, jose.ES384, jose.ES512}
