package jwt

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/zap"
)

const head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n"

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func provider(username string) string {
	return "jwt:\n- issuer: {url: 'https://idp.example.com', audiences: [a]}\n  claimMappings: {username: " + username + "}\n"
}

func TestLoad(t *testing.T) {
	tests := []struct{ name, text, wrong string }{
		{"nothing", "", "empty config data"},
		{"anonymous alone", head + "anonymous: {enabled: true}\n", ""},
		{"a provider", head + provider("{claim: sub, prefix: ''}"), ""},
		{"an expression", head + provider("{expression: 'claims.sub'}"), ""},
		{"an expression that is none", head + provider("{expression: 'claims.'}"), "jwt[0].claimMappings.username.expression: Invalid value"},
		{"two ways at once", head + provider("{claim: sub, expression: 'claims.sub'}"), "jwt[0].claimMappings.username: Invalid value"},
		{"a field that there is not", head + "jwts: []\n", `unknown field "jwts"`},
		{"another kind", "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n", "EncryptionConfiguration"},
		{"our own issuer", head + strings.Replace(provider("{claim: sub, prefix: ''}"), "https://idp.example.com", "https://own.example.com", 1), "URL must not overlap with disallowed issuers"},
		{"paths of nobody", head + "anonymous: {enabled: false, conditions: [{path: /x}]}\n", "enabled should be set to true when conditions are defined"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "authentication.yaml")
			write(t, path, test.text)
			_, err := Load(path, []string{"https://own.example.com"})
			if (err == nil) != (test.wrong == "") || err != nil && !strings.Contains(err.Error(), test.wrong) {
				t.Errorf("%v, want %q", err, test.wrong)
			}
		})
	}
}

// TestReloadKeepsAnonymous changes what may not change while a server runs, and
// what may.
func TestReloadKeepsAnonymous(t *testing.T) {
	path := filepath.Join(t.TempDir(), "authentication.yaml")
	write(t, path, head+"anonymous: {enabled: true}\n")
	f, err := Load(path, nil)
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	a, err := New(ctx, Config{Log: zap.NewNop()}, f)
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		name, text string
		changed    bool
		wrong      string
	}{
		{"the same", head + "anonymous: {enabled: true}\n", false, ""},
		{"anonymous is off", head + "anonymous: {enabled: false}\n", false, "changed from initial configuration file"},
		{"in other words", head + "anonymous: {enabled: true} # as before\n", true, ""},
	} {
		write(t, path, step.text)
		changed, err := a.reload(ctx)
		if changed != step.changed || (err == nil) != (step.wrong == "") || err != nil && !strings.Contains(err.Error(), step.wrong) {
			t.Errorf("%s: changed %v, %v", step.name, changed, err)
		}
	}
	if _, ok, err := a.AuthenticateToken(ctx, "x.y.z", nil); ok || err != nil {
		t.Errorf("without a provider: %v %v", ok, err)
	}
}
