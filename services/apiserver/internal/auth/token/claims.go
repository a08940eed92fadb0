package token

import (
	"encoding/json"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	"k8s.io/apiserver/pkg/authentication/serviceaccount"
)

// Reference names an object a token is bound to.
type Reference struct {
	Name string `json:"name,omitempty"`
	UID  string `json:"uid,omitempty"`
}

// Audience is whom a token is for. It is written as a list, as upstream does,
// and read from a list or a single string, as the standard allows.
type Audience []string

// UnmarshalJSON reads a list or a string.
func (a *Audience) UnmarshalJSON(data []byte) error {
	var one string
	if json.Unmarshal(data, &one) == nil {
		*a = Audience{one}
		return nil
	}
	return json.Unmarshal(data, (*[]string)(a))
}

// Claims is the content of a token. The fields stand in the order of their
// names, as upstream's tokens have them.
type Claims struct {
	Audience   Audience         `json:"aud,omitempty"`
	Expiry     *jwt.NumericDate `json:"exp,omitempty"`
	IssuedAt   *jwt.NumericDate `json:"iat,omitempty"`
	Issuer     string           `json:"iss,omitempty"`
	ID         string           `json:"jti,omitempty"`
	Kubernetes *Bound           `json:"kubernetes.io,omitempty"`
	NotBefore  *jwt.NumericDate `json:"nbf,omitempty"`
	Subject    string           `json:"sub,omitempty"`

	legacyClaims
}

// Bound says which service account a token is for, and what it is bound to.
type Bound struct {
	Namespace      string           `json:"namespace,omitempty"`
	Node           *Reference       `json:"node,omitempty"`
	Pod            *Reference       `json:"pod,omitempty"`
	Secret         *Reference       `json:"secret,omitempty"`
	ServiceAccount Reference        `json:"serviceaccount"`
	WarnAfter      *jwt.NumericDate `json:"warnafter,omitempty"`
}

// legacyClaims are those of the tokens kept in secrets.
type legacyClaims struct {
	Namespace          string `json:"kubernetes.io/serviceaccount/namespace,omitempty"`
	SecretName         string `json:"kubernetes.io/serviceaccount/secret.name,omitempty"`
	ServiceAccountName string `json:"kubernetes.io/serviceaccount/service-account.name,omitempty"`
	ServiceAccountUID  string `json:"kubernetes.io/serviceaccount/service-account.uid,omitempty"`
}

// newClaims returns the claims of a token that holds from now on; warnAfter
// is when its holder should have renewed it, zero for never.
func newClaims(b Bound, id string, audiences []string, now time.Time, validity, warnAfter time.Duration) *Claims {
	if warnAfter != 0 {
		b.WarnAfter = jwt.NewNumericDate(now.Add(warnAfter))
	}
	return &Claims{
		Audience: audiences, ID: id, Kubernetes: &b,
		Subject:  serviceaccount.MakeUsername(b.Namespace, b.ServiceAccount.Name),
		IssuedAt: jwt.NewNumericDate(now), NotBefore: jwt.NewNumericDate(now),
		Expiry: jwt.NewNumericDate(now.Add(validity)),
	}
}
