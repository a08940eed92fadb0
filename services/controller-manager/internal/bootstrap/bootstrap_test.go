package bootstrap

import (
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/workbench"
)

func token(id string, data ...string) *corev1.Secret {
	s := &corev1.Secret{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: "bootstrap-token-" + id}, Type: tokenType,
		Data: map[string][]byte{"token-id": []byte(id), "token-secret": []byte("0123456789abcdef"), "usage-bootstrap-signing": []byte("true")},
	}
	for i := 0; i < len(data); i += 2 {
		s.Data[data[i]] = []byte(data[i+1])
	}
	return s
}

func info() *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Namespace: "kube-public", Name: "cluster-info"},
		Data:       map[string]string{"kubeconfig": "content", "jws-kubeconfig-gone00": "x"},
	}
}

func TestSigns(t *testing.T) {
	at := func(d time.Duration) string { return workbench.Epoch.Add(d).Format(time.RFC3339) }
	for name, c := range map[string]struct {
		secret *corev1.Secret
		signs  bool
	}{
		"a token":             {token("abcdef"), true},
		"one with time":       {token("abcdef", "expiration", at(time.Hour)), true},
		"one past its time":   {token("abcdef", "expiration", at(-time.Hour)), false},
		"one not for signing": {token("abcdef", "usage-bootstrap-signing", ""), false},
		"another ID":          {token("abcdef", "token-id", "fedcba"), false},
		"no secret":           {token("abcdef", "token-secret", ""), false},
	} {
		b := workbench.New(t, []kinds.Object{info(), c.secret}...)
		b.Add(Signer(b.Deps()))
		b.Settle()
		data := workbench.Get[*corev1.ConfigMap](b, "kube-public", "cluster-info").Data
		got, ok := data["jws-kubeconfig-abcdef"]
		if ok != c.signs || data["jws-kubeconfig-gone00"] != "" {
			t.Errorf("%s: data %v", name, data)
		}
		// Computed apart, by the definition of JWS.
		if ok && got != "eyJhbGciOiJIUzI1NiIsImtpZCI6ImFiY2RlZiJ9.."+want {
			t.Errorf("%s: signature %s", name, got)
		}
	}
}

const want = "psz1NayrXM3IaFzKZGsb5n_mBl7MjtlsZ1xE8MRmF_4"

func TestClearsTokens(t *testing.T) {
	b := workbench.New(t, token("abcdef", "expiration", workbench.Epoch.Add(time.Hour).Format(time.RFC3339)), token("fedcba"), token("broken", "expiration", "x"))
	b.Add(Cleaner(b.Deps()))
	b.Advance(59 * time.Minute)
	if n := len(workbench.All[*corev1.Secret](b, "")); n != 2 {
		t.Fatalf("%d tokens", n)
	}
	b.Advance(2 * time.Minute)
	if n := len(workbench.All[*corev1.Secret](b, "")); n != 1 {
		t.Fatalf("%d tokens", n)
	}
}
