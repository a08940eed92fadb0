// Package token keeps service account tokens for pods, and renews each well
// before it expires.
package token

import (
	"context"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// Request asks the API server for a token.
type Request func(ctx context.Context, namespace, account string, r *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error)

// maxAge renews tokens of a long life once a day.
const maxAge = 24 * time.Hour

// Tokens are the tokens of a node's pods. It is safe for concurrent use.
type Tokens struct {
	Request Request
	Clock   clock.PassiveClock

	mu    sync.Mutex
	known map[key]Token
}

type key struct {
	uid      types.UID
	account  string
	audience string
	seconds  int64
}

// Token is a token and when it should be renewed.
type Token struct {
	Value   string
	Renew   time.Time
	Expires time.Time
}

// For returns a token of the pod's service account, bound to the pod. An empty
// audience is the API server's. When renewing fails, the old token is returned
// for as long as it is valid.
func (t *Tokens) For(ctx context.Context, pod *corev1.Pod, audience string, seconds int64) (Token, error) {
	k := key{pod.UID, pod.Spec.ServiceAccountName, audience, seconds}
	now := t.Clock.Now()
	old, ok := t.get(k)
	if ok && now.Before(old.Renew) {
		return old, nil
	}
	r := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{
		ExpirationSeconds: &seconds,
		BoundObjectRef:    &authenticationv1.BoundObjectReference{Kind: "Pod", APIVersion: "v1", Name: pod.Name, UID: pod.UID},
	}}
	if audience != "" {
		r.Spec.Audiences = []string{audience}
	}
	answer, err := t.Request(ctx, pod.Namespace, pod.Spec.ServiceAccountName, r)
	switch {
	case err != nil && ok && now.Before(old.Expires):
		// Try again soon, but not on every look at the volume.
		old.Renew = now.Add(time.Minute)
		t.set(k, old)
		return old, nil
	case err != nil:
		return Token{}, fmt.Errorf("failed to fetch token: %w", err)
	}
	fresh := Token{Value: answer.Status.Token, Expires: answer.Status.ExpirationTimestamp.Time}
	fresh.Renew = renewal(now, fresh.Expires)
	t.set(k, fresh)
	return fresh, nil
}

// renewal is after four fifths of a token's life, at most a day.
func renewal(now, expires time.Time) time.Time {
	life := expires.Sub(now)
	return now.Add(min(life*4/5, maxAge))
}

// Forget drops a pod's tokens.
func (t *Tokens) Forget(uid types.UID) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for k := range t.known {
		if k.uid == uid {
			delete(t.known, k)
		}
	}
}

func (t *Tokens) get(k key) (Token, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	v, ok := t.known[k]
	return v, ok
}

func (t *Tokens) set(k key, v Token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.known == nil {
		t.known = map[key]Token{}
	}
	t.known[k] = v
}
