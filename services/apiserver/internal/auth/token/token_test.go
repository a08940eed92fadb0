package token_test

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"errors"
	"net/http/httptest"
	"reflect"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apiserver/pkg/authentication/user"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/libs/pki"
	"coracle.local/services/apiserver/internal/auth/authtest"
	"coracle.local/services/apiserver/internal/auth/token"
)

const issuerURL = "https://kubernetes.default.svc.cluster.local"

var start = time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)

// world is a cluster with an account, a pod, a node and a secret, an issuer,
// and a verifier that trusts it.
type world struct {
	cluster  *authtest.Cluster
	clock    *clocktesting.FakeClock
	issuer   *token.Issuer
	keys     *token.Keys
	requests *token.Requests
	verifier *token.Verifier
}

func meta(namespace, name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Namespace: namespace, Name: name, UID: types.UID(name + "-uid")}
}

func newWorld(t testing.TB, key crypto.Signer) *world {
	t.Helper()
	w := &world{clock: clocktesting.NewFakeClock(start)}
	w.cluster = authtest.New(
		&corev1.ServiceAccount{ObjectMeta: meta("orange", "robot")},
		&corev1.Pod{ObjectMeta: meta("orange", "p"), Spec: corev1.PodSpec{ServiceAccountName: "robot", NodeName: "n"}},
		&corev1.Pod{ObjectMeta: meta("orange", "other"), Spec: corev1.PodSpec{ServiceAccountName: "other"}},
		&corev1.Node{ObjectMeta: meta("", "n")},
		&corev1.Secret{ObjectMeta: meta("orange", "s")},
	)
	var err error
	if w.issuer, err = token.NewIssuer(issuerURL, key); err != nil {
		t.Fatal(err)
	}
	if w.keys, err = token.NewKeys(key.Public()); err != nil {
		t.Fatal(err)
	}
	w.requests = &token.Requests{
		Issuer: w.issuer, Audiences: []string{issuerURL}, Extend: true, Clock: w.clock,
		Get: func(_ context.Context, k *kinds.Kind, namespace, name string) (kinds.Object, error) {
			if o, ok := w.cluster.Get(k, namespace, name); ok {
				return o, nil
			}
			return nil, apierrors.NewNotFound(k.GroupResource(), name)
		},
	}
	w.verifier = token.NewVerifier([]string{issuerURL}, w.keys, []string{issuerURL}, w.cluster, w.clock)
	return w
}

func ecKey(t testing.TB) crypto.Signer {
	t.Helper()
	key, err := pki.NewSigningKey()
	if err != nil {
		t.Fatal(err)
	}
	return key
}

func (w *world) create(t testing.TB, request authenticationv1.TokenRequestSpec) *authenticationv1.TokenRequest {
	t.Helper()
	out, err := w.requests.Create(context.Background(), "orange", "robot", &authenticationv1.TokenRequest{Spec: request}, nil)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func bound(kind, name string) *authenticationv1.BoundObjectReference {
	return &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: kind, Name: name}
}

func payload(t testing.TB, jwt string) map[string]any {
	t.Helper()
	data, err := base64.RawURLEncoding.DecodeString(strings.Split(jwt, ".")[1])
	if err != nil {
		t.Fatal(err)
	}
	var out map[string]any
	if err := json.Unmarshal(data, &out); err != nil {
		t.Fatal(err)
	}
	return out
}

func TestClaims(t *testing.T) {
	w := newWorld(t, ecKey(t))
	out := w.create(t, authenticationv1.TokenRequestSpec{BoundObjectRef: bound("Pod", "p"), ExpirationSeconds: ptr.To[int64](600)})
	claims := payload(t, out.Status.Token)
	if id, _ := claims["jti"].(string); len(id) != 36 {
		t.Errorf("jti %v", claims["jti"])
	}
	delete(claims, "jti")
	now := float64(start.Unix())
	want := map[string]any{
		"iss": issuerURL, "aud": []any{issuerURL}, "sub": "system:serviceaccount:orange:robot",
		"iat": now, "nbf": now, "exp": now + 600,
		"kubernetes.io": map[string]any{
			"namespace":      "orange",
			"serviceaccount": map[string]any{"name": "robot", "uid": "robot-uid"},
			"pod":            map[string]any{"name": "p", "uid": "p-uid"},
			"node":           map[string]any{"name": "n", "uid": "n-uid"},
		},
	}
	if !reflect.DeepEqual(claims, want) {
		t.Errorf("got  %v\nwant %v", claims, want)
	}
	if !out.Status.ExpirationTimestamp.Equal(&metav1.Time{Time: start.Add(10 * time.Minute)}) || out.Name != "robot" || out.Namespace != "orange" || out.UID != "robot-uid" {
		t.Errorf("answer %+v", out)
	}
}

func TestAdmissionSeesWhatWasAsked(t *testing.T) {
	w := newWorld(t, ecKey(t))
	refused := errors.New("refused")
	var seen *authenticationv1.TokenRequest
	_, err := w.requests.Create(context.Background(), "orange", "robot", &authenticationv1.TokenRequest{}, func(_ context.Context, r *authenticationv1.TokenRequest) error {
		seen = r
		return refused
	})
	if !errors.Is(err, refused) {
		t.Error(err)
	}
	if seen == nil || len(seen.Spec.Audiences) != 0 || *seen.Spec.ExpirationSeconds != 3600 || seen.Name != "robot" {
		t.Errorf("admission saw %+v", seen)
	}
}

func TestProjectedTokenIsExtended(t *testing.T) {
	w := newWorld(t, ecKey(t))
	seconds := ptr.To[int64](token.ProjectedSeconds)
	claims := payload(t, w.create(t, authenticationv1.TokenRequestSpec{BoundObjectRef: bound("Pod", "p"), ExpirationSeconds: seconds}).Status.Token)
	if got := claims["exp"].(float64) - claims["iat"].(float64); got != 365*24*3600 {
		t.Errorf("valid for %v seconds", got)
	}
	if got := claims["kubernetes.io"].(map[string]any)["warnafter"].(float64) - claims["iat"].(float64); got != token.ProjectedSeconds {
		t.Errorf("warns after %v seconds", got)
	}
	for name, spec := range map[string]authenticationv1.TokenRequestSpec{
		"not of a pod":     {ExpirationSeconds: seconds},
		"for others":       {BoundObjectRef: bound("Pod", "p"), ExpirationSeconds: seconds, Audiences: []string{"vault"}},
		"another validity": {BoundObjectRef: bound("Pod", "p"), ExpirationSeconds: ptr.To[int64](3600)},
	} {
		claims := payload(t, w.create(t, spec).Status.Token)
		if got := claims["exp"].(float64) - claims["iat"].(float64); got != float64(*spec.ExpirationSeconds) {
			t.Errorf("%s: valid for %v seconds", name, got)
		}
	}
}

func TestCreateRefuses(t *testing.T) {
	w := newWorld(t, ecKey(t))
	tests := []struct {
		name    string
		account string
		request authenticationv1.TokenRequest
		refusal string
	}{
		{name: "no such account", account: "none", refusal: `serviceaccounts "none" not found`},
		{name: "another name", request: authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{Name: "x"}}, refusal: `TokenRequest.authentication.k8s.io "robot" is invalid: metadata.name: Invalid value: "x": must match the service account name if specified`},
		{name: "another UID", request: authenticationv1.TokenRequest{ObjectMeta: metav1.ObjectMeta{UID: "x"}}, refusal: "the UID in the token request (x) does not match the UID of the service account (robot-uid)"},
		{name: "too short", request: authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](599)}}, refusal: "spec.expirationSeconds: Invalid value: 599: may not specify a duration less than 10 minutes"},
		{name: "another account's pod", request: authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bound("Pod", "other")}}, refusal: `cannot bind token for serviceaccount "robot" to pod running with different serviceaccount name.`},
		{name: "no such pod", request: authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bound("Pod", "none")}}, refusal: `pods "none" not found`},
		{name: "another kind", request: authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: bound("ConfigMap", "c")}}, refusal: "cannot bind token to object of type /v1, Kind=ConfigMap"},
		{
			name:    "a pod made again",
			request: authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{BoundObjectRef: &authenticationv1.BoundObjectReference{APIVersion: "v1", Kind: "Pod", Name: "p", UID: "old"}}},
			refusal: "the UID in the bound object reference (old) does not match the UID in record",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			account := test.account
			if account == "" {
				account = "robot"
			}
			_, err := w.requests.Create(context.Background(), "orange", account, &test.request, nil)
			if err == nil || !strings.Contains(err.Error(), test.refusal) {
				t.Errorf("got  %v\nwant %s", err, test.refusal)
			}
		})
	}
}

func TestVerify(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 1024) // small keys make a fast test
	if err != nil {
		t.Fatal(err)
	}
	for name, key := range map[string]crypto.Signer{"ES256": ecKey(t), "RS256": rsaKey} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, key)
			jwt := w.create(t, authenticationv1.TokenRequestSpec{BoundObjectRef: bound("Pod", "p")}).Status.Token
			r, ok, err := w.verifier.AuthenticateToken(context.Background(), jwt, nil)
			if err != nil || !ok {
				t.Fatal(ok, err)
			}
			if r.User.GetName() != "system:serviceaccount:orange:robot" || r.User.GetUID() != "robot-uid" ||
				!reflect.DeepEqual(r.User.GetGroups(), []string{"system:serviceaccounts", "system:serviceaccounts:orange"}) {
				t.Errorf("user %+v", r.User)
			}
			extra := r.User.GetExtra()
			for key, want := range map[string]string{
				"authentication.kubernetes.io/pod-name": "p", "authentication.kubernetes.io/pod-uid": "p-uid",
				"authentication.kubernetes.io/node-name": "n", "authentication.kubernetes.io/node-uid": "n-uid",
				user.CredentialIDKey: "JTI=" + payload(t, jwt)["jti"].(string),
			} {
				if !reflect.DeepEqual(extra[key], []string{want}) {
					t.Errorf("%s is %q, want %q", key, extra[key], want)
				}
			}
		})
	}
}

func TestTokenEndsWithWhatItIsBoundTo(t *testing.T) {
	gone := metav1.NewTime(start.Add(-2 * time.Minute))
	tests := []struct {
		name    string
		ref     *authenticationv1.BoundObjectReference
		change  func(*world)
		refusal string
	}{
		{name: "nothing changes", ref: bound("Pod", "p"), change: func(*world) {}},
		{name: "it expires", change: func(w *world) { w.clock.Step(time.Hour + 2*time.Minute) }, refusal: "service account token has expired"},
		{name: "it is from the future", change: func(w *world) { w.clock.Step(-2 * time.Minute) }, refusal: "service account token is not valid yet"},
		{name: "the account goes", change: func(w *world) { w.cluster.Remove(&corev1.ServiceAccount{ObjectMeta: meta("orange", "robot")}) }, refusal: `serviceaccounts "robot" not found`},
		{
			name: "the account is made again",
			change: func(w *world) {
				w.cluster.Put(&corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: "orange", Name: "robot", UID: "new"}})
			},
			refusal: "service account UID (new) does not match claim (robot-uid)",
		},
		{
			name: "the account is being deleted",
			change: func(w *world) {
				m := meta("orange", "robot")
				m.DeletionTimestamp = &gone
				w.cluster.Put(&corev1.ServiceAccount{ObjectMeta: m})
			},
			refusal: "service account orange/robot has been deleted",
		},
		{name: "the pod goes", ref: bound("Pod", "p"), change: func(w *world) { w.cluster.Remove(&corev1.Pod{ObjectMeta: meta("orange", "p")}) }, refusal: "service account token has been invalidated"},
		{
			name: "the pod is made again", ref: bound("Pod", "p"),
			change: func(w *world) {
				w.cluster.Put(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "orange", Name: "p", UID: "new"}})
			},
			refusal: "pod UID (new) does not match service account pod ref claim (p-uid)",
		},
		{name: "the pod's node goes", ref: bound("Pod", "p"), change: func(w *world) { w.cluster.Remove(&corev1.Node{ObjectMeta: meta("", "n")}) }},
		{name: "the node goes", ref: bound("Node", "n"), change: func(w *world) { w.cluster.Remove(&corev1.Node{ObjectMeta: meta("", "n")}) }, refusal: "service account token has been invalidated"},
		{name: "the secret goes", ref: bound("Secret", "s"), change: func(w *world) { w.cluster.Remove(&corev1.Secret{ObjectMeta: meta("orange", "s")}) }, refusal: "service account token has been invalidated"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			w := newWorld(t, ecKey(t))
			jwt := w.create(t, authenticationv1.TokenRequestSpec{BoundObjectRef: test.ref}).Status.Token
			if _, ok, err := w.verifier.AuthenticateToken(context.Background(), jwt, nil); !ok {
				t.Fatal(err)
			}
			test.change(w)
			_, ok, err := w.verifier.AuthenticateToken(context.Background(), jwt, nil)
			if test.refusal == "" {
				if !ok {
					t.Error(err)
				}
				return
			}
			if ok || err == nil || err.Error() != test.refusal {
				t.Errorf("got %v %v, want %s", ok, err, test.refusal)
			}
		})
	}
}

func TestForeignAndForgedTokens(t *testing.T) {
	w, stranger := newWorld(t, ecKey(t)), newWorld(t, ecKey(t))
	good := w.create(t, authenticationv1.TokenRequestSpec{}).Status.Token
	forged := stranger.create(t, authenticationv1.TokenRequestSpec{}).Status.Token
	parts, other := strings.Split(good, "."), strings.Split(forged, ".")
	foreign := base64.RawURLEncoding.EncodeToString([]byte(`{"iss":"https://elsewhere"}`))
	none := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`))
	tests := []struct {
		name, token string
		audiences   []string
		refusal     string
	}{
		{name: "no token at all", token: "abc"},
		{name: "another issuer", token: parts[0] + "." + foreign + "." + parts[2]},
		{name: "no signature", token: none + "." + parts[1] + "."},
		{name: "another key", token: forged, refusal: "invalid signature, no keys found"},
		{name: "another's claims under our key's name", token: parts[0] + "." + other[1] + "." + other[2], refusal: "go-jose/go-jose: error in cryptographic primitive"},
		{name: "for another audience", token: good, audiences: []string{"vault"}, refusal: `token audiences ["` + issuerURL + `"] is invalid for the target audiences ["vault"]`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			_, ok, err := w.verifier.AuthenticateToken(context.Background(), test.token, test.audiences)
			got := ""
			if err != nil {
				got = err.Error()
			}
			if ok || got != test.refusal {
				t.Errorf("got %v %q, want %q", ok, got, test.refusal)
			}
		})
	}
}

func TestLegacyToken(t *testing.T) {
	w := newWorld(t, ecKey(t))
	jwt, err := w.issuer.Legacy("orange", "robot", "robot-uid", "old")
	if err != nil {
		t.Fatal(err)
	}
	secret := &corev1.Secret{ObjectMeta: meta("orange", "old"), Data: map[string][]byte{"token": []byte(jwt)}}
	w.cluster.Put(secret)
	var used []string
	w.verifier.LegacyUsed = func(_ context.Context, namespace, name string) { used = append(used, namespace+"/"+name) }
	r, ok, err := w.verifier.AuthenticateToken(context.Background(), jwt, nil)
	if !ok || r.User.GetName() != "system:serviceaccount:orange:robot" {
		t.Fatal(ok, err)
	}
	secret.Labels = map[string]string{"kubernetes.io/legacy-token-last-used": "2030-01-02"}
	w.cluster.Put(secret)
	if _, ok, err := w.verifier.AuthenticateToken(context.Background(), jwt, nil); !ok {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(used, []string{"orange/old"}) {
		t.Errorf("uses %q", used)
	}
	secret.Data["token"] = []byte("changed")
	w.cluster.Put(secret)
	if _, ok, err := w.verifier.AuthenticateToken(context.Background(), jwt, nil); ok || err.Error() != "Token does not match server's copy" {
		t.Error(ok, err)
	}
}

func TestDiscovery(t *testing.T) {
	w := newWorld(t, ecKey(t))
	d, err := token.NewDiscovery(issuerURL, "", "192.0.2.1:6443", w.keys)
	if err != nil {
		t.Fatal(err)
	}
	get := func(path, contentType string) map[string]any {
		rec := httptest.NewRecorder()
		d.ServeHTTP(rec, httptest.NewRequest("GET", path, nil))
		if rec.Header().Get("Content-Type") != contentType || rec.Header().Get("Cache-Control") != "public, max-age=3600" {
			t.Errorf("headers of %s: %v", path, rec.Header())
		}
		var out map[string]any
		if err := json.Unmarshal(rec.Body.Bytes(), &out); err != nil {
			t.Fatal(err)
		}
		return out
	}
	if got, want := get(token.ConfigurationPath, "application/json"), map[string]any{
		"issuer": issuerURL, "jwks_uri": "https://192.0.2.1:6443/openid/v1/jwks",
		"response_types_supported": []any{"id_token"}, "subject_types_supported": []any{"public"},
		"id_token_signing_alg_values_supported": []any{"ES256"},
	}; !reflect.DeepEqual(got, want) {
		t.Errorf("got %v", got)
	}
	keys := get(token.KeysPath, "application/jwk-set+json")["keys"].([]any)
	jwt := w.create(t, authenticationv1.TokenRequestSpec{}).Status.Token
	header, err := base64.RawURLEncoding.DecodeString(strings.Split(jwt, ".")[0])
	if err != nil {
		t.Fatal(err)
	}
	key := keys[0].(map[string]any)
	if len(keys) != 1 || key["alg"] != "ES256" || key["use"] != "sig" || key["d"] != nil || !strings.Contains(string(header), key["kid"].(string)) {
		t.Errorf("keys %v, header %s", keys, header)
	}
	for _, issuer := range []string{"", "http://x", "https://x?y=z", "https://x#y"} {
		if _, err := token.NewDiscovery(issuer, "", "x", w.keys); err == nil {
			t.Errorf("issuer %q was taken", issuer)
		}
	}
}

func BenchmarkVerify(b *testing.B) {
	w := newWorld(b, ecKey(b))
	jwt := w.create(b, authenticationv1.TokenRequestSpec{BoundObjectRef: bound("Pod", "p")}).Status.Token
	b.ReportAllocs()
	for b.Loop() {
		if _, ok, err := w.verifier.AuthenticateToken(context.Background(), jwt, nil); !ok {
			b.Fatal(err)
		}
	}
}
