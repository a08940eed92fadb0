package token_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"

	"coracle.local/services/kubelet/internal/token"
)

func TestTokensAreRenewedInTime(t *testing.T) {
	c := testclock.NewFakeClock(time.Unix(1000, 0))
	count, down := 0, false
	tokens := &token.Tokens{Clock: c, Request: func(_ context.Context, _, _ string, r *authenticationv1.TokenRequest) (*authenticationv1.TokenRequest, error) {
		if down {
			return nil, errors.New("down")
		}
		count++
		r.Status.Token = fmt.Sprint(count)
		r.Status.ExpirationTimestamp = metav1.NewTime(c.Now().Add(time.Duration(*r.Spec.ExpirationSeconds) * time.Second))
		return r, nil
	}}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{UID: "u"}}
	get := func(want string) token.Token {
		t.Helper()
		got, err := tokens.For(t.Context(), pod, "", 1000)
		if err != nil || got.Value != want {
			t.Fatalf("got %v, %v, want %s", got, err, want)
		}
		return got
	}
	first := get("1")
	if !first.Renew.Equal(c.Now().Add(800 * time.Second)) {
		t.Errorf("renewed at %v", first.Renew)
	}
	c.Step(799 * time.Second)
	get("1")
	down = true
	c.Step(time.Second)
	get("1") // still good
	down = false
	c.Step(time.Minute)
	get("2")
	down = true
	c.Step(2000 * time.Second)
	if _, err := tokens.For(t.Context(), pod, "", 1000); err == nil {
		t.Error("an expired token was handed out")
	}
	down = false
	get("3")
	tokens.Forget("u")
	get("4")
}
