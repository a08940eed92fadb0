package encryption

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	key1 = "c2VjcmV0IGlzIHNlY3VyZQ=="                     // 16 bytes
	key2 = "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE=" // 32 bytes
	at   = "/registry/secrets/default/s"
)

func resource(key string) schema.GroupResource {
	first, _, _ := strings.Cut(strings.TrimPrefix(key, "/registry/"), "/")
	return schema.ParseGroupResource(first)
}

func write(t *testing.T, path, rules string) {
	t.Helper()
	text := "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n" + rules
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func rule(resources string, providers ...string) string {
	return fmt.Sprintf("- resources: [%s]\n  providers: [%s]\n", resources, strings.Join(providers, ", "))
}

func keyedBy(provider string, names ...string) string {
	keys := map[string]string{"key1": key1, "key2": key2}
	var list []string
	for _, n := range names {
		list = append(list, fmt.Sprintf("{name: %s, secret: %q}", n, keys[n]))
	}
	return fmt.Sprintf("%s: {keys: [%s]}", provider, strings.Join(list, ", "))
}

func provider(text string) string { return "{" + text + "}" }

func load(t *testing.T, rules string) *Values {
	t.Helper()
	path := filepath.Join(t.TempDir(), "encryption.yaml")
	write(t, path, rules)
	v, err := Load(t.Context(), Config{Log: zap.NewNop(), Path: path, ResourceOf: resource})
	if err != nil {
		t.Fatal(err)
	}
	return v
}

func TestProvidersSealAsUpstreamNamesThem(t *testing.T) {
	plain := []byte("k8s\x00the object")
	tests := []struct{ name, provider, prefix string }{
		{"aesgcm", provider(keyedBy("aesgcm", "key1")), "k8s:enc:aesgcm:v1:key1:"},
		{"aescbc", provider(keyedBy("aescbc", "key2")), "k8s:enc:aescbc:v1:key2:"},
		{"secretbox", provider(keyedBy("secretbox", "key2")), "k8s:enc:secretbox:v1:key2:"},
		{"identity", "{identity: {}}", "k8s\x00the object"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := load(t, rule("secrets", tt.provider))
			sealed, err := v.Seal(t.Context(), at, plain)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.HasPrefix(sealed, []byte(tt.prefix)) {
				t.Errorf("sealed as %q", sealed)
			}
			got, stale, err := v.Open(t.Context(), at, sealed)
			if err != nil || stale || !bytes.Equal(got, plain) {
				t.Errorf("opened %q, stale %t, %v", got, stale, err)
			}
			if left, _ := v.Seal(t.Context(), "/registry/configmaps/default/c", plain); !bytes.Equal(left, plain) {
				t.Errorf("a resource of no rule is sealed: %q", left)
			}
		})
	}
}

func TestTheKeyOfEtcdIsAuthenticated(t *testing.T) {
	v := load(t, rule("secrets", provider(keyedBy("aesgcm", "key1"))))
	sealed, err := v.Seal(t.Context(), at, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.Open(t.Context(), "/registry/secrets/default/other", sealed); err == nil || v.Passing(err) {
		t.Errorf("a value copied to another key is opened: %v", err)
	}
	sealed[len(sealed)-1]++
	if _, _, err := v.Open(t.Context(), at, sealed); err == nil {
		t.Error("a value that was tampered with is opened")
	}
}

func TestTheFirstProviderWritesAndEachReads(t *testing.T) {
	old := load(t, rule("secrets", provider(keyedBy("aescbc", "key1"))))
	sealed, err := old.Seal(t.Context(), at, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	now := load(t, rule("secrets", provider(keyedBy("aescbc", "key2", "key1")), "{identity: {}}"))
	for name, value := range map[string][]byte{"older key": sealed, "never sealed": []byte("x")} {
		got, stale, err := now.Open(t.Context(), at, value)
		if string(got) != "x" || !stale || err != nil {
			t.Errorf("%s: %q, stale %t, %v", name, got, stale, err)
		}
	}
	again, err := now.Seal(t.Context(), at, []byte("x"))
	if err != nil || !bytes.HasPrefix(again, []byte("k8s:enc:aescbc:v1:key2:")) {
		t.Errorf("%q, %v", again, err)
	}
	if _, _, err := old.Open(t.Context(), at, again); err == nil || !strings.Contains(err.Error(), "no matching key was found for the provided AES transformer") {
		t.Errorf("with the new key only: %v", err)
	}
	if _, _, err := load(t, rule("configmaps", "{identity: {}}")).Open(t.Context(), at, again); err == nil {
		t.Error("what is sealed is given out by the identity")
	}
}

func TestWildcards(t *testing.T) {
	v := load(t, rule("events", "{identity: {}}")+
		rule(`"*.apps"`, provider(keyedBy("aesgcm", "key1")))+
		rule(`"*."`, provider(keyedBy("aescbc", "key1")))+
		rule(`"*.*"`, provider(keyedBy("secretbox", "key2"))))
	for folder, prefix := range map[string]string{
		"events": "x", "deployments.apps": "k8s:enc:aesgcm", "secrets": "k8s:enc:aescbc", "widgets.example.com": "k8s:enc:secretbox",
	} {
		sealed, err := v.Seal(t.Context(), "/registry/"+folder+"/default/n", []byte("x"))
		if err != nil || !bytes.HasPrefix(sealed, []byte(prefix)) {
			t.Errorf("%s: %q, %v", folder, sealed, err)
		}
	}
}

func TestBadConfigurations(t *testing.T) {
	good := provider(keyedBy("aesgcm", "key1"))
	tests := []struct{ name, rules, want string }{
		{"nothing", "", "resources: Required value: at least one resources is required"},
		{"no provider", rule("secrets"), "resources[0].providers: Required value: at least one resources[0].providers is required"},
		{"an unknown one", rule("secrets", "{}"), noProvider},
		{"short key", rule("secrets", `{aesgcm: {keys: [{name: a, secret: "YQ=="}]}}`), "resources[0].providers[0].aesgcm.keys[0].secret: Invalid value: \"REDACTED\": secret is not of the expected length, got 1, expected one of [16 24 32]"},
		{"no base64", rule("secrets", `{secretbox: {keys: [{name: a, secret: "!"}]}}`), "secrets must be base64 encoded"},
		{"capital", rule("Secrets", good), "resource name should not contain capital letters"},
		{"star", rule(`"*"`, good), "use '*.' to encrypt all the resources from core API group or *.* to encrypt all resources"},
		{"overlap", rule(`secrets, "*."`, good), "using overlapping resources such as 'secrets' and '*.' in the same resource list is not allowed as they will be masked"},
		{"twice", rule("secrets, secrets", good), "the same resource cannot be specified multiple times"},
		{"events", rule("events.events.k8s.io", good), "Use 'events' instead in the config file"},
		{"masked", rule(`"*.*"`, good) + rule("secrets", good), `error while building transformers: resource "secrets" is masked by earlier rule "*.*"`},
		{"KMS v1", rule("secrets", "{kms: {name: a, endpoint: 'unix:///x'}}"), kmsV1Refused},
		{"KMS over TCP", rule("secrets", "{kms: {apiVersion: v2, name: a, endpoint: 'tcp://x'}}"), `unsupported scheme "tcp" for KMS provider, only unix is supported`},
		{"unknown field", rule("secrets", "{identity: {}, nope: 1}"), "strict decoding error"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "encryption.yaml")
			write(t, path, tt.rules)
			_, err := Load(t.Context(), Config{Log: zap.NewNop(), Path: path, ResourceOf: resource})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v\nwant %s", err, tt.want)
			}
		})
	}
}

func TestTheFileIsFollowed(t *testing.T) {
	path := filepath.Join(t.TempDir(), "encryption.yaml")
	write(t, path, rule("secrets", "{identity: {}}"))
	v, err := Load(t.Context(), Config{Log: zap.NewNop(), Path: path, Reload: true, ResourceOf: resource, Every: time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	reread := make(chan struct{}, 1)
	v.OnReadable(func() { reread <- struct{}{} })
	later := load(t, rule("secrets", provider(keyedBy("aesgcm", "key1"))))
	sealed, err := later.Seal(t.Context(), at, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.Open(t.Context(), at, sealed); err == nil {
		t.Fatal("the key is known already")
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- v.Run(ctx) }()
	write(t, path, rule("secrets", provider(keyedBy("aesgcm", "key1"))))
	<-reread
	if got, _, err := v.Open(t.Context(), at, sealed); string(got) != "x" || err != nil {
		t.Errorf("%q, %v", got, err)
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
