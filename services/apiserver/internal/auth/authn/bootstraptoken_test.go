package authn_test

import (
	"context"
	"slices"
	"testing"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	testclock "k8s.io/utils/clock/testing"

	"coracle.local/services/apiserver/internal/auth/authn"
	"coracle.local/services/apiserver/internal/auth/authtest"
)

func TestBootstrapTokens(t *testing.T) {
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	tests := []struct {
		name, token string
		change      func(*corev1.Secret)
		groups      []string // nil where the token is nobody's
	}{
		{name: "plain", groups: []string{"system:bootstrappers"}},
		{name: "with groups", change: func(s *corev1.Secret) {
			s.Data["auth-extra-groups"] = []byte("system:bootstrappers:b,system:bootstrappers:a")
		}, groups: []string{"system:bootstrappers", "system:bootstrappers:a", "system:bootstrappers:b"}},
		{name: "not yet expired", change: func(s *corev1.Secret) { s.Data["expiration"] = []byte("2030-01-02T03:04:06Z") }, groups: []string{"system:bootstrappers"}},
		{name: "expired", change: func(s *corev1.Secret) { s.Data["expiration"] = []byte("2030-01-02T03:04:05Z") }},
		{name: "expiring nobody knows when", change: func(s *corev1.Secret) { s.Data["expiration"] = []byte("soon") }},
		{name: "a group that raises", change: func(s *corev1.Secret) { s.Data["auth-extra-groups"] = []byte("system:masters") }},
		{name: "another secret", token: "abcdef.0000000000000000"},
		{name: "another form", token: "abcdef.0123456789ABCDEF"},
		{name: "unknown", token: "zzzzzz.0123456789abcdef"},
		{name: "another type", change: func(s *corev1.Secret) { s.Type = corev1.SecretTypeOpaque }},
		{name: "another id", change: func(s *corev1.Secret) { s.Data["token-id"] = []byte("aaaaaa") }},
		{name: "for something else", change: func(s *corev1.Secret) { delete(s.Data, "usage-bootstrap-authentication") }},
		{name: "being deleted", change: func(s *corev1.Secret) { s.DeletionTimestamp = &metav1.Time{Time: now} }},
		{name: "elsewhere", change: func(s *corev1.Secret) { s.Namespace = "default" }},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			secret := &corev1.Secret{
				ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-abcdef"}, Type: "bootstrap.kubernetes.io/token",
				Data: map[string][]byte{"token-id": []byte("abcdef"), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-authentication": []byte("true")},
			}
			if test.change != nil {
				test.change(secret)
			}
			if test.token == "" {
				test.token = "abcdef.0123456789abcdef"
			}
			b := &authn.BootstrapTokens{Reader: authtest.New(secret), Audiences: []string{"here"}, Log: zap.NewNop(), Clock: testclock.NewFakePassiveClock(now)}
			r, ok, err := b.AuthenticateToken(context.Background(), test.token, []string{"here"})
			if ok != (test.groups != nil) || err != nil {
				t.Fatalf("%v %v", ok, err)
			}
			if ok && (r.User.GetName() != "system:bootstrap:abcdef" || !slices.Equal(r.User.GetGroups(), test.groups)) {
				t.Errorf("user %+v", r.User)
			}
			if _, ok, _ := b.AuthenticateToken(context.Background(), test.token, []string{"elsewhere"}); ok {
				t.Error("accepted for another audience")
			}
		})
	}
}
