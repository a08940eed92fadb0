package authn

import (
	"context"
	"crypto/subtle"
	"fmt"
	"strings"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/utils/clock"

	"coracle.local/services/apiserver/internal/auth"
)

// BootstrapTokens recognizes the tokens by which a machine asks for its first
// certificate: each is a Secret of kube-system and holds while that does.
type BootstrapTokens struct {
	Reader auth.Reader
	// Audiences are this server's, for which the tokens are good.
	Audiences []string
	Log       *zap.Logger
	Clock     clock.PassiveClock
}

var _ Token = (*BootstrapTokens)(nil)

const (
	bootstrapType   = corev1.SecretType("bootstrap.kubernetes.io/token")
	bootstrapSecret = "bootstrap-token-"
	bootstrapUser   = "system:bootstrap:"
	bootstrapGroup  = "system:bootstrappers"
	groupsMatch     = `\Asystem:bootstrappers:[a-z0-9:-]{0,255}[a-z0-9]\z`
)

// AuthenticateToken looks for the token's Secret. One that does not fit is no
// error for the caller: it is logged, and the token is nobody's.
func (b *BootstrapTokens) AuthenticateToken(_ context.Context, token string, audiences []string) (*Response, bool, error) {
	id, word, ok := strings.Cut(token, ".")
	if !ok || len(id) != 6 || len(word) != 16 || !consists(id, "") || !consists(word, "") {
		return nil, false, nil
	}
	secret, ok := auth.Get[*corev1.Secret](b.Reader, metav1.NamespaceSystem, bootstrapSecret+id)
	if !ok {
		return nil, false, nil
	}
	groups, err := b.check(secret, id, word)
	if err != nil {
		b.Log.Debug("bootstrap token is not accepted", zap.String("secret", secret.Name), zap.Error(err))
		return nil, false, nil
	}
	return audienceAgnostic(&user.DefaultInfo{Name: bootstrapUser + id, Groups: groups}, b.Audiences, audiences)
}

func (b *BootstrapTokens) check(s *corev1.Secret, id, secret string) (groups []string, err error) {
	switch {
	case s.DeletionTimestamp != nil:
		return nil, fmt.Errorf("is deleted and awaiting removal")
	case s.Type != bootstrapType:
		return nil, fmt.Errorf("has invalid type, expected %s", bootstrapType)
	case subtle.ConstantTimeCompare(s.Data["token-secret"], []byte(secret)) != 1:
		return nil, fmt.Errorf("has invalid value for key token-secret")
	case string(s.Data["token-id"]) != id:
		return nil, fmt.Errorf("has invalid value for key token-id")
	case string(s.Data["usage-bootstrap-authentication"]) != "true":
		return nil, fmt.Errorf("not marked usage-bootstrap-authentication=true")
	}
	if expiration := string(s.Data["expiration"]); expiration != "" {
		// What cannot be read counts as over.
		until, err := time.Parse(time.RFC3339, expiration)
		if err != nil {
			return nil, fmt.Errorf("has invalid value for key expiration: %w", err)
		}
		if !until.After(b.Clock.Now()) {
			return nil, fmt.Errorf("expired at %s", expiration)
		}
	}
	return bootstrapExtraGroups(string(s.Data["auth-extra-groups"]))
}

func bootstrapExtraGroups(list string) ([]string, error) {
	groups := sets.New(bootstrapGroup)
	if list != "" {
		for group := range strings.SplitSeq(list, ",") {
			name, ok := strings.CutPrefix(group, bootstrapGroup+":")
			if !ok || name == "" || len(name) > 256 || !consists(name, ":-") || strings.ContainsAny(name[len(name)-1:], ":-") {
				return nil, fmt.Errorf("has invalid value for key auth-extra-groups: bootstrap group %q is invalid (must match %s)", group, groupsMatch)
			}
			groups.Insert(group)
		}
	}
	return sets.List(groups), nil
}

// consists tells whether s has nothing but small letters, digits and those more.
func consists(s, more string) bool {
	return strings.IndexFunc(s, func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && !strings.ContainsRune(more, r)
	}) < 0
}
