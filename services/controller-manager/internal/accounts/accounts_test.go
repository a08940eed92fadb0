package accounts

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/workbench"
)

func account() *corev1.ServiceAccount {
	a := &corev1.ServiceAccount{ObjectMeta: workbench.Meta("robot"), Secrets: []corev1.ObjectReference{{Name: "token"}, {Name: "other"}}}
	a.UID = "robot-uid"
	return a
}

func secret(uid types.UID) *corev1.Secret {
	s := &corev1.Secret{ObjectMeta: workbench.Meta("token"), Type: corev1.SecretTypeServiceAccountToken}
	s.Annotations = map[string]string{corev1.ServiceAccountNameKey: "robot"}
	if uid != "" {
		s.Annotations[corev1.ServiceAccountUIDKey] = string(uid)
	}
	return s
}

func ecKey(t *testing.T) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func bench(t *testing.T, key crypto.Signer, objects ...kinds.Object) *workbench.Bench {
	s, err := NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	b := workbench.New(t, objects...)
	return b.Add(Tokens(b.Deps(), s, []byte("PEM"))...)
}

func TestFillsSecrets(t *testing.T) {
	key := ecKey(t)
	b := bench(t, key, account(), secret(""))
	b.Settle()
	s := workbench.Get[*corev1.Secret](b, "default", "token")
	if string(s.Data["ca.crt"]) != "PEM" || string(s.Data["namespace"]) != "default" || s.Annotations[corev1.ServiceAccountUIDKey] != "robot-uid" {
		t.Fatalf("data %v, annotations %v", s.Data, s.Annotations)
	}
	parts := strings.Split(string(s.Data["token"]), ".")
	if len(parts) != 3 {
		t.Fatalf("token %s", s.Data["token"])
	}
	signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if len(signature) != 64 || !ecdsa.Verify(&key.PublicKey, sum[:], new(big.Int).SetBytes(signature[:32]), new(big.Int).SetBytes(signature[32:])) {
		t.Fatal("the signature is not the key's")
	}
	body, _ := base64.RawURLEncoding.DecodeString(parts[1])
	var says map[string]string
	if err := json.Unmarshal(body, &says); err != nil {
		t.Fatal(err)
	}
	for k, want := range map[string]string{
		"iss": "kubernetes/serviceaccount", "sub": "system:serviceaccount:default:robot", "kubernetes.io/serviceaccount/secret.name": "token",
		"kubernetes.io/serviceaccount/service-account.uid": "robot-uid",
	} {
		if says[k] != want {
			t.Errorf("claim %s is %q", k, says[k])
		}
	}
	workbench.Change(b, "default", "token", func(s *corev1.Secret) { s.Data["ca.crt"] = []byte("old") })
	b.Settle()
	again := workbench.Get[*corev1.Secret](b, "default", "token")
	if string(again.Data["ca.crt"]) != "PEM" || string(again.Data["token"]) != string(s.Data["token"]) {
		t.Fatal("only what is wrong is to be mended")
	}
}

func TestSignsWithRSA(t *testing.T) {
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	b := bench(t, key, account(), secret("robot-uid"))
	b.Settle()
	parts := strings.Split(string(workbench.Get[*corev1.Secret](b, "default", "token").Data["token"]), ".")
	signature, _ := base64.RawURLEncoding.DecodeString(parts[2])
	sum := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if err := rsa.VerifyPKCS1v15(&key.PublicKey, crypto.SHA256, sum[:], signature); err != nil {
		t.Fatal(err)
	}
}

func TestDeletesSecretsWithTheirAccount(t *testing.T) {
	for name, c := range map[string]struct {
		objects []kinds.Object
		change  func(*workbench.Bench)
		stays   bool
	}{
		"no account":         {[]kinds.Object{secret("")}, func(*workbench.Bench) {}, false},
		"another account":    {[]kinds.Object{account(), secret("x")}, func(*workbench.Bench) {}, false},
		"its account":        {[]kinds.Object{account(), secret("robot-uid")}, func(*workbench.Bench) {}, true},
		"a cache behind":     {[]kinds.Object{secret("")}, func(b *workbench.Bench) { b.API.Hold(kinds.For[*corev1.ServiceAccount](), true); b.API.Seed(account()) }, true},
		"an account deleted": {[]kinds.Object{account(), secret("robot-uid")}, func(b *workbench.Bench) { b.Settle(); workbench.Delete[*corev1.ServiceAccount](b, "default", "robot") }, false},
	} {
		b := bench(t, ecKey(t), c.objects...)
		c.change(b)
		b.Settle()
		if _, ok := workbench.Find[*corev1.Secret](b, "default", "token"); ok != c.stays {
			t.Errorf("%s: stays: %v", name, ok)
		}
	}
}

func TestForgetsDeletedSecrets(t *testing.T) {
	b := bench(t, ecKey(t), account(), secret(""))
	b.Settle()
	workbench.Delete[*corev1.Secret](b, "default", "token")
	b.Settle()
	if a := workbench.Get[*corev1.ServiceAccount](b, "default", "robot"); len(a.Secrets) != 1 || a.Secrets[0].Name != "other" {
		t.Fatalf("secrets %v", a.Secrets)
	}
}

func TestLetsGoOfWhatNobodyUses(t *testing.T) {
	const period = 10 * 24 * time.Hour
	day := func(n int) string { return workbench.Epoch.AddDate(0, 0, n).Format(time.DateOnly) }
	for name, c := range map[string]struct {
		since   string
		change  func(*corev1.Secret)
		mounted bool
		want    string // of invalid since; "gone", or ""
	}{
		"never used":           {day(-30), func(*corev1.Secret) {}, false, day(0)},
		"noted too short":      {day(-5), func(*corev1.Secret) {}, false, ""},
		"used of late":         {day(-30), func(s *corev1.Secret) { s.Labels[lastUsedLabel] = day(-2) }, false, ""},
		"used long ago":        {day(-30), func(s *corev1.Secret) { s.Labels[lastUsedLabel] = day(-20) }, false, day(0)},
		"made by hand":         {day(-30), func(s *corev1.Secret) { s.Name = "by-hand" }, false, ""},
		"mounted":              {day(-30), func(*corev1.Secret) {}, true, ""},
		"new":                  {day(-30), func(s *corev1.Secret) { s.CreationTimestamp = metav1.NewTime(workbench.Epoch) }, false, ""},
		"invalid for long":     {day(-30), func(s *corev1.Secret) { s.Labels[invalidSinceLabel] = day(-11) }, false, "gone"},
		"invalid for a moment": {day(-30), func(s *corev1.Secret) { s.Labels[invalidSinceLabel] = day(-1) }, false, day(-1)},
	} {
		s := secret("robot-uid")
		s.Labels = map[string]string{}
		s.CreationTimestamp = metav1.NewTime(workbench.Epoch.AddDate(0, 0, -40))
		c.change(s)
		tracking := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "kube-system", Name: trackingName}, Data: map[string]string{trackingKey: c.since}}
		objects := []kinds.Object{account(), s, tracking}
		if c.mounted {
			objects = append(objects, &corev1.Pod{ObjectMeta: workbench.Meta("p"), Spec: corev1.PodSpec{Volumes: []corev1.Volume{
				{VolumeSource: corev1.VolumeSource{Secret: &corev1.SecretVolumeSource{SecretName: "token"}}},
			}}})
		}
		b := workbench.New(t, objects...)
		b.API.Deliver()
		b.Add(Unused(b.Deps(), period))
		b.Settle()
		got := "gone"
		if s, ok := workbench.Find[*corev1.Secret](b, "default", s.Name); ok {
			got = s.Labels[invalidSinceLabel]
		}
		if got != c.want {
			t.Errorf("%s: %q", name, got)
		}
	}
}
