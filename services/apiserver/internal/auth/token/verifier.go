package token

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4/jwt"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	"k8s.io/utils/clock"

	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/auth/authn"
	"coracle.local/services/apiserver/internal/auth/recent"
)

const (
	legacyIssuer = "kubernetes/serviceaccount"
	// rememberSignatures is how many tokens' signatures need not be verified
	// again. What a token is bound to is looked at each time.
	rememberSignatures = 4096
	signatureTTL       = time.Hour
)

// Verifier recognizes service account tokens.
type Verifier struct {
	// Issuers are those whose tokens are accepted, the URLs of
	// --service-account-issuer.
	Issuers []string
	Keys    *Keys
	// Audiences are this server's: tokens in secrets are for them alone.
	Audiences []string
	// Reader shows the objects that tokens are bound to.
	Reader auth.Reader
	Clock  clock.PassiveClock
	// LegacyUsed is told of the use of a token that is kept in a secret and
	// was not used today; optional.
	LegacyUsed func(ctx context.Context, namespace, secret string)

	signed *recent.Cache[[sha256.Size]byte, *Claims]
}

var _ authn.Token = (*Verifier)(nil)

// NewVerifier returns a verifier.
func NewVerifier(issuers []string, keys *Keys, audiences []string, reader auth.Reader, c clock.PassiveClock) *Verifier {
	return &Verifier{
		Issuers: issuers, Keys: keys, Audiences: audiences, Reader: reader, Clock: c,
		signed: recent.New[[sha256.Size]byte, *Claims](rememberSignatures),
	}
}

// AuthenticateToken returns the service account a token is for. Tokens of
// other issuers are left to others.
func (v *Verifier) AuthenticateToken(ctx context.Context, token string, audiences []string) (*authn.Response, bool, error) {
	if !v.ours(token) {
		return nil, false, nil
	}
	claims, err := v.verifySignature(token)
	if claims == nil || err != nil {
		return nil, false, err
	}
	if !v.accepts(claims.Issuer) {
		return nil, false, fmt.Errorf("token issuer %q is invalid", claims.Issuer)
	}
	holds, err := v.audiences(claims, audiences)
	if err != nil {
		return nil, false, err
	}
	check := v.checkBound
	if claims.Issuer == legacyIssuer {
		check = v.checkLegacy
	}
	info, err := check(ctx, token, claims)
	if err != nil {
		return nil, false, err
	}
	return &authn.Response{User: info.UserInfo(), Audiences: holds}, true, nil
}

func (v *Verifier) accepts(issuer string) bool {
	return issuer == legacyIssuer || slices.Contains(v.Issuers, issuer)
}

// ours looks at the issuer before anything is verified, so that a token of
// somebody else's is not reported as a forgery.
func (v *Verifier) ours(token string) bool {
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return false
	}
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		return false
	}
	var unverified struct {
		Issuer string `json:"iss"`
	}
	return json.Unmarshal(payload, &unverified) == nil && v.accepts(unverified.Issuer)
}

// verifySignature returns the claims of a token; nil for what is no token.
func (v *Verifier) verifySignature(token string) (*Claims, error) {
	key := sha256.Sum256([]byte(token))
	now := v.Clock.Now()
	if claims, ok := v.signed.Get(key, now); ok {
		return claims, nil
	}
	parsed, err := jwt.ParseSigned(token, algorithms)
	if err != nil {
		return nil, nil // not a token of ours: upstream has no opinion about it either
	}
	kid := ""
	for _, header := range parsed.Headers {
		if header.KeyID != "" {
			kid = header.KeyID
			break
		}
	}
	candidates := v.Keys.find(kid)
	if len(candidates) == 0 {
		return nil, errors.New("invalid signature, no keys found")
	}
	var errs []error
	for _, candidate := range candidates {
		claims := &Claims{}
		if err := parsed.Claims(candidate.Key, claims); err != nil {
			errs = append(errs, err)
			continue
		}
		v.signed.Put(key, claims, now.Add(signatureTTL))
		return claims, nil
	}
	return nil, utilerrors.NewAggregate(errs)
}

// audiences returns those of the wanted ones that the token is for.
func (v *Verifier) audiences(claims *Claims, wanted []string) ([]string, error) {
	own := []string(claims.Audience)
	if len(own) == 0 {
		own = v.Audiences
	}
	if len(wanted) == 0 {
		wanted = v.Audiences
	}
	holds := authn.Audiences(own, wanted)
	if len(holds) == 0 && len(v.Audiences) != 0 {
		return nil, fmt.Errorf("token audiences %q is invalid for the target audiences %q", own, wanted)
	}
	return holds, nil
}
