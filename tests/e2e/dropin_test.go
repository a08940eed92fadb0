package e2e

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"coracle.local/libs/pki"
	"coracle.local/tests/fixture"
)

// dropped is a control plane of drop-in executables, started as envtest starts
// upstream's.
type dropped struct {
	t       *testing.T
	dir     string
	clients kubernetes.Interface
}

func drop(t *testing.T, flags ...string) *dropped {
	t.Helper()
	coracle, err := filepath.Abs("../../bin/coracle")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(coracle); err != nil {
		t.Skip("bin/coracle is not built: run make build")
	}
	d := &dropped{t: t, dir: t.TempDir()}
	if out, err := exec.Command(coracle, "dropin", d.dir).CombinedOutput(); err != nil {
		t.Fatalf("dropin: %v\n%s", err, out)
	}
	keys, err := pki.OpenCluster(filepath.Join(d.dir, "keys"), pki.Options{Hosts: []string{"127.0.0.1"}})
	if err != nil {
		t.Fatal(err)
	}
	client, peer, secure := fixture.FreePort(d.t), fixture.FreePort(d.t), fixture.FreePort(d.t)
	etcd := fmt.Sprintf("http://127.0.0.1:%d", client)
	d.run("etcd", "--data-dir="+filepath.Join(d.dir, "etcd-data"), "--unsafe-no-fsync", "--listen-client-urls="+etcd,
		"--advertise-client-urls="+etcd, fmt.Sprintf("--listen-peer-urls=http://127.0.0.1:%d", peer))
	fixture.Eventually(t, 30*time.Second, "etcd", func() bool {
		r, err := http.Get(etcd + "/health")
		if err != nil {
			return false
		}
		_ = r.Body.Close()
		return r.StatusCode == http.StatusOK
	})
	key := func(name string) string { return filepath.Join(d.dir, "keys", name) }
	d.run("kube-apiserver", append([]string{
		"--etcd-servers=" + etcd, "--bind-address=127.0.0.1", fmt.Sprintf("--secure-port=%d", secure), "--grpc-port=0",
		"--tls-cert-file=" + key("apiserver.crt"), "--tls-private-key-file=" + key("apiserver.key"), "--client-ca-file=" + key("ca.crt"),
		"--service-account-issuer=https://127.0.0.1/", "--service-account-key-file=" + key("sa.pub"),
		"--service-account-signing-key-file=" + key("sa.key"), "--service-cluster-ip-range=10.0.0.0/24",
		"--authorization-mode=RBAC", "--allow-privileged=true", "--disable-admission-plugins=ServiceAccount",
	}, flags...)...)
	d.connect(keys, secure)
	return d
}

func (d *dropped) connect(keys *pki.Cluster, port int) {
	d.t.Helper()
	admin, err := keys.Admin()
	if err != nil {
		d.t.Fatal(err)
	}
	d.clients, err = kubernetes.NewForConfig(&rest.Config{
		Host:            fmt.Sprintf("https://127.0.0.1:%d", port),
		TLSClientConfig: rest.TLSClientConfig{CAData: keys.CA.CertPEM, CertData: admin.CertPEM, KeyData: admin.KeyPEM},
	})
	if err != nil {
		d.t.Fatal(err)
	}
	fixture.Eventually(d.t, 30*time.Second, "the default namespace", func() bool {
		_, err := d.clients.CoreV1().Namespaces().Get(context.Background(), "default", metav1.GetOptions{})
		return err == nil
	})
}

// run starts an executable until the test ends, when SIGTERM must end it well.
func (d *dropped) run(name string, args ...string) {
	d.t.Helper()
	log, err := os.Create(filepath.Join(d.dir, name+".log"))
	if err != nil {
		d.t.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(d.dir, name), args...)
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		err := cmd.Wait()
		_ = log.Close()
		// etcd ends by the signal itself, as upstream's does.
		if err != nil && name != "etcd" {
			d.t.Errorf("%s ended badly: %v", name, err)
		}
		if said, err := os.ReadFile(log.Name()); err == nil && d.t.Failed() {
			d.t.Logf("%s said at last:\n%s", name, said[max(0, len(said)-3000):])
		}
	})
}

func TestDropInFinishesNamespacesAndCollectsGarbage(t *testing.T) {
	d := drop(t)
	ctx := context.Background()
	namespaces, maps := d.clients.CoreV1().Namespaces(), d.clients.CoreV1().ConfigMaps("going")
	if _, err := namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "going"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	owner, err := maps.Create(ctx, &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "owner"}}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	owned := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{
		Name: "owned", OwnerReferences: []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: owner.UID}},
	}}
	if _, err := maps.Create(ctx, owned, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := maps.Delete(ctx, "owner", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	fixture.Eventually(t, 30*time.Second, "the end of the owned object", func() bool {
		_, err := maps.Get(ctx, "owned", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	if err := namespaces.Delete(ctx, "going", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	fixture.Eventually(t, 30*time.Second, "the end of the namespace", func() bool {
		_, err := namespaces.Get(ctx, "going", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

func TestDropInWithoutControllersIsAnAPIServerAlone(t *testing.T) {
	d := drop(t, "--controllers=none")
	ctx := context.Background()
	namespaces := d.clients.CoreV1().Namespaces()
	if _, err := namespaces.Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "stays"}}, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := namespaces.Delete(ctx, "stays", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	got, err := namespaces.Get(ctx, "stays", metav1.GetOptions{})
	if err != nil || got.Status.Phase != corev1.NamespaceTerminating {
		t.Errorf("phase %s, %v", got.Status.Phase, err)
	}
}
