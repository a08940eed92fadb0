package authorization

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/libs/kinds"
	"coracle.local/tests/fixture"
)

const robot = "/api/v1/namespaces/amber/serviceaccounts/robot/token"

// tokenRequests ask for tokens, well and badly.
var tokenRequests = []struct{ name, path, body string }{
	{"nothing said", robot, `{}`},
	{"audiences and time", robot, `{"spec":{"audiences":["a","b"],"expirationSeconds":700}}`},
	{"too short", robot, `{"spec":{"expirationSeconds":599}}`},
	{"too long", robot, `{"spec":{"expirationSeconds":4294967297}}`},
	{"longer than is given", robot, `{"spec":{"expirationSeconds":864000}}`},
	{"an empty audience", robot, `{"spec":{"audiences":[""]}}`},
	{"named", robot, `{"metadata":{"name":"robot","namespace":"amber"}}`},
	{"named otherwise", robot, `{"metadata":{"name":"other"}}`},
	{"elsewhere", robot, `{"metadata":{"namespace":"other"}}`},
	{"another UID", robot, `{"metadata":{"uid":"nobody"}}`},
	{"no such account", "/api/v1/namespaces/amber/serviceaccounts/absent/token", `{}`},
	{"bound to a pod", robot, `{"spec":{"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":"p"}}}`},
	{"bound to a pod, as admission asks", robot, `{"spec":{"expirationSeconds":3607,"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":"p"}}}`},
	{"bound to a pod, as admission asks, for others", robot, `{"spec":{"audiences":["x"],"expirationSeconds":3607,"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":"p"}}}`},
	{"bound to another UID", robot, `{"spec":{"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":"p","uid":"nobody"}}}`},
	{"bound to a pod of another account", robot, `{"spec":{"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":"other"}}}`},
	{"bound to a pod that is not there", robot, `{"spec":{"boundObjectRef":{"apiVersion":"v1","kind":"Pod","name":"absent"}}}`},
	{"bound to a secret", robot, `{"spec":{"boundObjectRef":{"apiVersion":"v1","kind":"Secret","name":"s"}}}`},
	{"bound to a node", robot, `{"spec":{"boundObjectRef":{"apiVersion":"v1","kind":"Node","name":"n1"}}}`},
	{"bound to a node that is not there", robot, `{"spec":{"boundObjectRef":{"apiVersion":"v1","kind":"Node","name":"absent"}}}`},
	{"bound to what cannot be", robot, `{"spec":{"boundObjectRef":{"apiVersion":"v1","kind":"ConfigMap","name":"m"}}}`},
	{"bound to a webhook", robot, `{"spec":{"boundObjectRef":{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingWebhookConfiguration","name":"w"}}}`},
	{"bound to a webhook, for two", robot, `{"spec":{"audiences":["a","b"],"boundObjectRef":{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingWebhookConfiguration","name":"w"}}}`},
	{"bound to a webhook, attested", robot, `{"spec":{"audiences":["a"],"attestations":{"admissionReviewAPIGroups":["apps"]},"boundObjectRef":{"apiVersion":"admissionregistration.k8s.io/v1","kind":"ValidatingWebhookConfiguration","name":"w"}}}`},
	{"attested for nothing", robot, `{"spec":{"attestations":{"admissionReviewAPIGroups":["apps"]}}}`},
	{"bound to nothing", robot, `{"spec":{"boundObjectRef":{}}}`},
	{"a status of one's own", robot, `{"status":{"token":"mine"}}`},
	{"dry run", robot + "?dryRun=All", `{}`},
	{"another kind", robot, `{"apiVersion":"v1","kind":"Pod"}`},
}

// TestTokensEqualUpstreams asks both servers for tokens and compares what is in
// them, and how others are told to verify them.
func TestTokensEqualUpstreams(t *testing.T) {
	c := fixture.Start(t, cluster.Config{Controllers: []string{"-*"}})
	theirs := startUpstream(t, c)
	in := func(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: "amber", Name: name} }
	podOf := func(name, account string) *corev1.Pod {
		no := false
		return &corev1.Pod{ObjectMeta: in(name), Spec: corev1.PodSpec{
			NodeName: "n1", ServiceAccountName: account, AutomountServiceAccountToken: &no, Containers: []corev1.Container{{Name: "c", Image: "x"}},
		}}
	}
	create(t, c, []kinds.Object{
		namespaceNamed("amber"), &corev1.ServiceAccount{ObjectMeta: in("robot")}, &corev1.ServiceAccount{ObjectMeta: in("other")},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n1"}}, podOf("p", "robot"), podOf("other", "other"), &corev1.Secret{ObjectMeta: in("s")},
	})
	for _, q := range tokenRequests {
		t.Run(q.name, func(t *testing.T) {
			want, got := readable(post(t, theirs, q.path, q.body)), readable(post(t, c.Config, q.path, q.body))
			if want != got {
				t.Errorf("%s\nupstream %s\nwe       %s", q.body, want, got)
			}
		})
	}
	t.Run("the keys", func(t *testing.T) {
		if want, got := read(t, theirs, "/openid/v1/jwks"), read(t, c.Config, "/openid/v1/jwks"); want != got {
			t.Errorf("upstream %s\nwe       %s", want, got)
		}
	})
	t.Run("where the keys are", func(t *testing.T) {
		hide := func(s string) string {
			before, after, _ := strings.Cut(s, `"jwks_uri":"https://`)
			_, after, ok := strings.Cut(after, `/openid/v1/jwks"`)
			return fmt.Sprint(ok, before, after)
		}
		if want, got := hide(read(t, theirs, "/.well-known/openid-configuration")), hide(read(t, c.Config, "/.well-known/openid-configuration")); want != got {
			t.Errorf("upstream %s\nwe       %s", want, got)
		}
	})
}

func read(t *testing.T, cfg *rest.Config, path string) string {
	t.Helper()
	r, err := web(t, cfg).Get(cfg.Host + path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Body.Close() }()
	b, err := io.ReadAll(r.Body)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprint(r.StatusCode, " ", r.Header.Get("Content-Type"), " ", r.Header.Get("Cache-Control"), " ", string(b))
}

// readable shows what is in a token, in place of the token; times count from
// when it was issued.
func readable(answer string) string {
	before, rest, ok := strings.Cut(answer, `"token": "`)
	if !ok {
		return answer
	}
	token, after, _ := strings.Cut(rest, `"`)
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		return answer
	}
	out := before
	for _, part := range parts[:2] {
		b, err := base64.RawURLEncoding.DecodeString(part)
		var v map[string]any
		if err != nil || json.Unmarshal(b, &v) != nil {
			return answer
		}
		since := func(claims map[string]any, name string) {
			if at, ok := claims[name].(float64); ok {
				claims[name] = at - v["iat"].(float64)
			}
		}
		since(v, "exp")
		since(v, "nbf")
		if k, ok := v["kubernetes.io"].(map[string]any); ok {
			since(k, "warnafter")
		}
		delete(v, "iat")
		if id, ok := v["jti"].(string); ok {
			v["jti"] = len(id)
		}
		b, err = json.Marshal(v)
		if err != nil {
			return answer
		}
		out += string(b)
	}
	return out + after
}
