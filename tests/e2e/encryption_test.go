package e2e

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/cmd/coracle/cluster"
	apiserver "coracle.local/services/apiserver/app"
	"coracle.local/tests/fixture"
)

const (
	encryptionHead = "kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v1\nresources:\n- resources: [secrets]\n  providers:\n"
	gcm            = `  - aesgcm: {keys: [{name: key1, secret: "c2VjcmV0IGlzIHNlY3VyZQ=="}]}` + "\n"
	box            = `  - secretbox: {keys: [{name: key2, secret: "MDEyMzQ1Njc4OTAxMjM0NTY3ODkwMTIzNDU2Nzg5MDE="}]}` + "\n"
)

// TestEncryptionAtRest restarts one cluster with one configuration after the
// other: what was written before stays readable while its provider is named.
func TestEncryptionAtRest(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "encryption.yaml")
	start := func(providers string) *fixture.Cluster {
		if err := os.WriteFile(file, []byte(encryptionHead+providers), 0o600); err != nil {
			t.Fatal(err)
		}
		return fixture.Start(t, cluster.Config{DataDir: filepath.Join(dir, "data"), APIServer: func(cfg *apiserver.Config) {
			cfg.Encryption.ConfigFile = file
		}})
	}
	ctx := t.Context()
	raw := func(c *fixture.Cluster, name string) []byte {
		client, err := clientv3.New(clientv3.Config{Endpoints: []string{c.Etcd}, DialTimeout: 5 * time.Second})
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = client.Close() }()
		r, err := client.Get(ctx, "/registry/secrets/default/"+name)
		if err != nil || len(r.Kvs) != 1 {
			t.Fatalf("%v, %v", r, err)
		}
		return r.Kvs[0].Value
	}
	create := func(c *fixture.Cluster, name string) {
		s := &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name}, StringData: map[string]string{"k": "very secret"}}
		if _, err := c.Clients.CoreV1().Secrets("default").Create(ctx, s, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	read := func(c *fixture.Cluster, name string) *corev1.Secret {
		s, err := c.Clients.CoreV1().Secrets("default").Get(ctx, name, metav1.GetOptions{})
		if err != nil || string(s.Data["k"]) != "very secret" {
			t.Fatalf("%s: %v, %v", name, s, err)
		}
		return s
	}

	c := start("  - identity: {}\n")
	create(c, "plain")
	if value := raw(c, "plain"); !bytes.Contains(value, []byte("very secret")) {
		t.Errorf("stored as %q", value)
	}
	c.Stop()

	c = start(gcm + "  - identity: {}\n")
	create(c, "sealed")
	for name, prefix := range map[string]string{"plain": "k8s\x00", "sealed": "k8s:enc:aesgcm:v1:key1:"} {
		read(c, name)
		if value := raw(c, name); !bytes.HasPrefix(value, []byte(prefix)) {
			t.Errorf("%s is stored as %q", name, value)
		}
	}
	// An update that changes nothing seals what was not.
	if _, err := c.Clients.CoreV1().Secrets("default").Update(ctx, read(c, "plain"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if value := raw(c, "plain"); !bytes.HasPrefix(value, []byte("k8s:enc:aesgcm:v1:key1:")) {
		t.Errorf("after an update: %q", value)
	}
	c.Stop()

	c = start(box + gcm)
	create(c, "boxed")
	for _, name := range []string{"plain", "sealed", "boxed"} {
		read(c, name)
	}
	c.Stop()

	// Without the first key, what it sealed is not served, and all else is.
	c = start(box)
	read(c, "boxed")
	if _, err := c.Clients.CoreV1().Secrets("default").Get(ctx, "sealed", metav1.GetOptions{}); !apierrors.IsInternalError(err) {
		t.Errorf("a secret without its key: %v", err)
	}
	if list, err := c.Clients.CoreV1().Secrets("default").List(ctx, metav1.ListOptions{}); err != nil || len(list.Items) != 1 {
		t.Errorf("%v, %v", list, err)
	}
}
