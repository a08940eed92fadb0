package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"
	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/libs/client"
	"coracle.local/libs/pki"
	apiserver "coracle.local/services/apiserver/app"
	"coracle.local/tests/fixture"
)

// configured is a cluster without controllers whose API server is set up so.
func configured(t *testing.T, set func(*apiserver.Config)) *fixture.Cluster {
	t.Helper()
	return fixture.Start(t, cluster.Config{Controllers: []string{"-*"}, APIServer: set})
}

// who answers how the bearer of a token is known.
func who(t *testing.T, cfg *rest.Config) (authenticationv1.UserInfo, int) {
	t.Helper()
	a := newWeb(t, cfg).post("/apis/authentication.k8s.io/v1/selfsubjectreviews", `{}`)
	if a.code != http.StatusCreated {
		return authenticationv1.UserInfo{}, a.code
	}
	return as[authenticationv1.SelfSubjectReview](a).Status.UserInfo, a.code
}

// TestAlwaysAllowAllowsNobodyUnknown: where everything is allowed, those who do
// not say who they are are refused, though a flag would let them in.
func TestAlwaysAllowAllowsNobodyUnknown(t *testing.T) {
	for _, modes := range [][]string{{"AlwaysAllow"}, {"RBAC", "AlwaysAllow"}} {
		t.Run(strings.Join(modes, ","), func(t *testing.T) {
			c := configured(t, func(cfg *apiserver.Config) { cfg.AuthorizationModes = modes })
			nobody := newWeb(t, rest.AnonymousClientConfig(c.Config))
			for _, path := range []string{mapsPath, "/healthz", "/version", "/api/v1/secrets"} {
				nobody.get(path, asJSON).refuses(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized")
			}
			newWeb(t, certified(t, c, "joe")).get("/api/v1/secrets", asJSON).is(http.StatusOK)
			conn := dial(t, c, rest.AnonymousClientConfig(c.Config))
			if _, _, err := client.For[*corev1.Secret](conn).List(context.Background(), client.ListOptions{}); err == nil {
				t.Error("over gRPC, nobody lists secrets")
			}
		})
	}
}

func TestAnonymousOfSomePaths(t *testing.T) {
	config := file(t, "authentication.yaml", `
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
anonymous:
  enabled: true
  conditions:
  - path: /livez
  - path: /readyz
`)
	c := configured(t, func(cfg *apiserver.Config) { cfg.Authentication.ConfigFile = config })
	nobody := newWeb(t, rest.AnonymousClientConfig(c.Config))
	nobody.get("/livez", asJSON).is(http.StatusOK)
	nobody.get("/readyz?verbose", asJSON).is(http.StatusOK)
	for _, path := range []string{"/healthz", "/version", "/livez/ping", mapsPath} {
		nobody.get(path, asJSON).refuses(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized")
	}
	conn := dial(t, c, rest.AnonymousClientConfig(c.Config))
	if _, err := client.For[*corev1.ConfigMap](conn).Get(context.Background(), "default", "x"); err == nil || !strings.Contains(err.Error(), "Unauthorized") {
		t.Errorf("over gRPC: %v", err)
	}
}

func TestOpenIDByFlags(t *testing.T) {
	p := newProvider(t)
	c := configured(t, func(cfg *apiserver.Config) {
		cfg.Authentication.OIDC = apiserver.OIDC{
			IssuerURL: p.url, ClientID: "cluster", CAFile: p.caFile, UsernameClaim: "sub", GroupsClaim: "roles", GroupsPrefix: "idp:",
			SigningAlgs: []string{"ES256"}, RequiredClaims: map[string]string{"org": "crew"},
		}
	})
	good := p.token(map[string]any{"org": "crew", "roles": []string{"a", "b"}})
	fixture.Eventually(t, 30*time.Second, "ready: the provider", func() bool { _, code := who(t, bearer(c, good)); return code == http.StatusCreated })
	u, _ := who(t, bearer(c, good))
	if u.Username != p.url+"#s-1" || !slices.Equal(u.Groups, []string{"idp:a", "idp:b", "system:authenticated"}) {
		t.Errorf("user %+v", u)
	}
	for name, claims := range map[string]map[string]any{
		"another audience":      {"org": "crew", "aud": "else"},
		"expired":               {"org": "crew", "exp": time.Now().Add(-time.Hour).Unix()},
		"without what it needs": {},
	} {
		if _, code := who(t, bearer(c, p.token(claims))); code != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, code)
		}
	}
	if _, code := who(t, bearer(c, newProvider(t).token(map[string]any{"org": "crew", "iss": p.url}))); code != http.StatusUnauthorized {
		t.Errorf("signed by somebody else: %d", code)
	}
}

const providerConfig = `
apiVersion: apiserver.config.k8s.io/v1
kind: AuthenticationConfiguration
jwt:
- issuer:
    url: %s
    audiences: [cluster, other]
    audienceMatchPolicy: MatchAny
    certificateAuthority: |
%s
  claimValidationRules:
  - expression: "claims.exp - claims.iat <= 7200"
    message: too long a life
  claimMappings:
    username: {expression: "'%s:' + claims.sub"}
    groups: {expression: "claims.roles"}
    uid: {expression: "claims.sub"}
    extra: [{key: "example.com/tenant", valueExpression: "claims.tenant"}]
  userValidationRules:
  - expression: "!user.username.endsWith(':root')"
    message: not root
`

func TestOpenIDByConfiguration(t *testing.T) {
	p := newProvider(t)
	text := func(prefix string) string {
		return fmt.Sprintf(providerConfig, p.url, indented(p.ca, "      "), prefix)
	}
	path := file(t, "authentication.yaml", text("first"))
	c := configured(t, func(cfg *apiserver.Config) { cfg.Authentication.ConfigFile = path })
	token := func(claims map[string]any) string {
		all := map[string]any{"roles": []string{"a", "b"}, "tenant": "t-7"}
		for k, v := range claims {
			all[k] = v
		}
		return p.token(all)
	}
	fixture.Eventually(t, 30*time.Second, "ready: the provider", func() bool { _, code := who(t, bearer(c, token(nil))); return code == http.StatusCreated })
	u, _ := who(t, bearer(c, token(map[string]any{"aud": "other"})))
	if u.Username != "first:s-1" || u.UID != "s-1" || !slices.Equal(u.Groups, []string{"a", "b", "system:authenticated"}) || u.Extra["example.com/tenant"][0] != "t-7" {
		t.Errorf("user %+v", u)
	}
	for name, claims := range map[string]map[string]any{
		"a claim's rule":  {"exp": time.Now().Add(9 * time.Hour).Unix()},
		"the user's rule": {"sub": "root"},
	} {
		if _, code := who(t, bearer(c, token(claims))); code != http.StatusUnauthorized {
			t.Errorf("%s: %d", name, code)
		}
	}
	review := as[authenticationv1.TokenReview](newWeb(t, c.Config).post("/apis/authentication.k8s.io/v1/tokenreviews", `{"spec":{"token":"`+token(map[string]any{"sub": "root"})+`"}}`))
	if !strings.Contains(review.Status.Error, "oidc: error evaluating user info validation rule: validation expression '!user.username.endsWith(':root')' failed: not root") {
		t.Errorf("reviewed %+v", review.Status)
	}
	// A mistake changes nothing; a good version is taken over.
	replace(t, path, strings.Replace(text("second"), "jwt:", "jwts:", 1))
	if u, _ := who(t, bearer(c, token(map[string]any{"jti": "a"}))); u.Username != "first:s-1" {
		t.Errorf("after a mistake: %+v", u)
	}
	replace(t, path, text("second"))
	n := 0
	fixture.Eventually(t, 30*time.Second, "taken over: the new version", func() bool {
		n++ // A token that was seen is believed for a moment.
		u, _ := who(t, bearer(c, token(map[string]any{"jti": fmt.Sprint(n)})))
		return u.Username == "second:s-1"
	})
}

// replace writes a file as a whole: nobody reads half of it.
func replace(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func TestTokensThatAWebhookReviews(t *testing.T) {
	asked := make(chan authenticationv1.TokenReview, 100)
	service := remote(t, func(w http.ResponseWriter, r *http.Request) {
		var review authenticationv1.TokenReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil || r.Header.Get("Authorization") != "Bearer api-server" {
			http.Error(w, "no", http.StatusBadRequest)
			return
		}
		asked <- review
		review.Status = authenticationv1.TokenReviewStatus{Error: "never heard of it"}
		if review.Spec.Token == "known" {
			review.Status = authenticationv1.TokenReviewStatus{Authenticated: true, User: authenticationv1.UserInfo{
				Username: "remote", UID: "7", Groups: []string{"far"}, Extra: map[string]authenticationv1.ExtraValue{"k": {"v"}},
			}}
		}
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(review)
	})
	c := configured(t, func(cfg *apiserver.Config) {
		cfg.Authentication.Webhook = apiserver.TokenWebhook{File: service, Version: "v1", CacheTTL: time.Minute}
	})
	u, _ := who(t, bearer(c, "known"))
	if u.Username != "remote" || u.UID != "7" || !slices.Equal(u.Groups, []string{"far", "system:authenticated"}) || u.Extra["k"][0] != "v" {
		t.Errorf("user %+v", u)
	}
	if first := <-asked; !slices.Equal(first.Spec.Audiences, []string{apiserver.DefaultIssuer}) || first.APIVersion != "authentication.k8s.io/v1" {
		t.Errorf("asked %+v", first)
	}
	if _, code := who(t, bearer(c, "unknown")); code != http.StatusUnauthorized {
		t.Errorf("unknown: %d", code)
	}
	before := len(asked)
	who(t, bearer(c, "known"))
	if len(asked) != before {
		t.Errorf("asked %d times again", len(asked)-before)
	}
}

func TestBootstrapTokens(t *testing.T) {
	c := configured(t, func(cfg *apiserver.Config) { cfg.Authentication.BootstrapTokens = true })
	w := newWeb(t, c.Config)
	const path = "/api/v1/namespaces/kube-system/secrets"
	w.post(path, `{"metadata":{"name":"bootstrap-token-abcdef"},"type":"bootstrap.kubernetes.io/token","stringData":{"token-id":"abcdef","token-secret":"0123456789abcdef",
		"usage-bootstrap-authentication":"true","auth-extra-groups":"system:bootstrappers:workers"}}`).is(http.StatusCreated)
	u, _ := who(t, bearer(c, "abcdef.0123456789abcdef"))
	if u.Username != "system:bootstrap:abcdef" || !slices.Equal(u.Groups, []string{"system:bootstrappers", "system:bootstrappers:workers", "system:authenticated"}) {
		t.Errorf("user %+v", u)
	}
	if _, code := who(t, bearer(c, "abcdef.0123456789abcdee")); code != http.StatusUnauthorized {
		t.Errorf("another secret: %d", code)
	}
}

// TestTokensOfSecrets uses a token that is kept in a Secret, which is noted
// there, until the Secret is gone.
func TestTokensOfSecrets(t *testing.T) {
	c, _, w := withMaps(t)
	account(t, c)
	sa := as[corev1.ServiceAccount](w.get("/api/v1/namespaces/default/serviceaccounts/default", asJSON))
	pem, err := os.ReadFile(filepath.Join(c.Keys, "sa.key"))
	if err != nil {
		t.Fatal(err)
	}
	key, err := pki.ParseKey(pem)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: key}, nil)
	if err != nil {
		t.Fatal(err)
	}
	legacy := func(secret string) string {
		token, err := jwt.Signed(signer).Claims(map[string]any{
			"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:default:default", "kubernetes.io/serviceaccount/namespace": "default",
			"kubernetes.io/serviceaccount/secret.name": secret, "kubernetes.io/serviceaccount/service-account.name": "default",
			"kubernetes.io/serviceaccount/service-account.uid": string(sa.UID),
		}).Serialize()
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	const path = "/api/v1/namespaces/default/secrets"
	keep := func(name, token string) {
		w.post(path, `{"metadata":{"name":"`+name+`","annotations":{"kubernetes.io/service-account.name":"default"}},"type":"kubernetes.io/service-account-token","stringData":{"token":"`+token+`"}}`).is(http.StatusCreated)
	}
	token := legacy("s")
	keep("s", token)
	if u, _ := who(t, bearer(c, token)); u.Username != "system:serviceaccount:default:default" || u.UID != string(sa.UID) {
		t.Errorf("user %+v", u)
	}
	used := as[corev1.Secret](w.get(path+"/s", asJSON)).Labels["kubernetes.io/legacy-token-last-used"]
	if used != time.Now().UTC().Format(time.DateOnly) {
		t.Errorf("last used %q", used)
	}
	token = legacy("gone")
	keep("gone", token)
	w.send(http.MethodDelete, path+"/gone", "", nil).is(http.StatusOK)
	if _, code := who(t, bearer(c, token)); code != http.StatusUnauthorized {
		t.Errorf("after its Secret: %d", code)
	}
}
