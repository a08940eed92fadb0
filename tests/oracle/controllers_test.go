package oracle

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/pem"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/libs/kinds"
	"coracle.local/tests/fixture"
	"coracle.local/tests/upstream"
)

const controllersNamespace = "oracle"

// TestControllersDoAlike gives the same objects to two clusters of ours, one
// with our controllers and one with upstream's controller manager, and waits
// until both have made the same of them.
func TestControllersDoAlike(t *testing.T) {
	bin := filepath.Join(filepath.Dir(upstream.Server(t)), "kube-controller-manager")
	if _, err := os.Stat(bin); err != nil {
		t.Skip("upstream's controller manager is not built beside its API server")
	}
	ours := fixture.Start(t, cluster.Config{})
	theirs := fixture.Start(t, cluster.Config{Controllers: []string{"-*"}})
	startUpstreamManager(t, theirs, bin)
	objects := manifests(t)
	worlds := map[string]*world{"ours": newWorld(t, ours), "theirs": newWorld(t, theirs)}
	for _, w := range worlds {
		w.create(t, objects)
	}
	alike(t, worlds, objects, "what was made")
	for _, w := range worlds {
		for _, name := range []string{"once", "many", "kept"} {
			w.delete(t, "PersistentVolumeClaim", name)
		}
		w.delete(t, "ServiceAccount", "default")
		w.delete(t, "Service", "external")
	}
	alike(t, worlds, objects, "what was left")
}

func startUpstreamManager(t *testing.T, c *fixture.Cluster, bin string) {
	t.Helper()
	key := func(name string) string { return filepath.Join(c.Keys, name) }
	cmd := exec.Command(bin, "--kubeconfig="+c.Kubeconfig, "--leader-elect=false", "--secure-port=0",
		"--root-ca-file="+key("ca.crt"), "--service-account-private-key-file="+key("sa.key"),
		"--cluster-signing-cert-file="+key("ca.crt"), "--cluster-signing-key-file="+key("ca.key"))
	log, err := os.Create(filepath.Join(t.TempDir(), "kube-controller-manager.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		_ = cmd.Wait()
		_ = log.Close()
	})
}

// manifests reads the objects, and puts a request into those for certificates.
func manifests(t *testing.T) []*unstructured.Unstructured {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.CreateCertificateRequest(rand.Reader, &x509.CertificateRequest{Subject: pkix.Name{CommonName: "jane"}}, key)
	if err != nil {
		t.Fatal(err)
	}
	request := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
	data, err := os.ReadFile(filepath.Join("testdata", "controllers.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var out []*unstructured.Unstructured
	for _, text := range strings.Split(string(data), "\n---\n") {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
			t.Fatal(err)
		}
		if u.GetKind() == "CertificateSigningRequest" {
			_ = unstructured.SetNestedField(u.Object, request, "spec", "request")
		}
		out = append(out, u)
	}
	return out
}

// world is one of the clusters.
type world struct {
	*fixture.Cluster
	client dynamic.Interface
}

func newWorld(t *testing.T, c *fixture.Cluster) *world {
	t.Helper()
	quiet := rest.CopyConfig(c.Config)
	quiet.WarningHandler = rest.NoWarnings{}
	client, err := dynamic.NewForConfig(quiet)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{c, client}
	ns := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": controllersNamespace}}}
	if _, err := w.of(kindNamed("Namespace")).Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	fixture.Eventually(t, time.Minute, "there: the namespace's account", func() bool {
		_, err := w.of(kindNamed("ServiceAccount")).Get(context.Background(), "default", metav1.GetOptions{})
		return err == nil
	})
	return w
}

func kindNamed(name string) *kinds.Kind {
	i := slices.IndexFunc(kinds.All(), func(k *kinds.Kind) bool { return k.Kind == name })
	return kinds.All()[i]
}

func (w *world) of(k *kinds.Kind) dynamic.ResourceInterface {
	if k.Namespaced {
		return w.client.Resource(k.GroupVersionResource()).Namespace(controllersNamespace)
	}
	return w.client.Resource(k.GroupVersionResource())
}

func (w *world) create(t *testing.T, objects []*unstructured.Unstructured) {
	t.Helper()
	for _, o := range objects {
		k := kinds.ByKind(o.GroupVersionKind())
		made, err := w.of(k).Create(t.Context(), o.DeepCopy(), metav1.CreateOptions{})
		if err != nil {
			t.Fatalf("create %s %s: %v", o.GetKind(), o.GetName(), err)
		}
		switch k.Kind {
		case "PersistentVolume":
			fixture.Eventually(t, time.Minute, "available: a volume", func() bool {
				v, err := w.of(k).Get(context.Background(), o.GetName(), metav1.GetOptions{})
				phase, _, _ := unstructured.NestedString(v.Object, "status", "phase")
				return err == nil && phase == "Available"
			})
		case "CertificateSigningRequest":
			_ = unstructured.SetNestedSlice(made.Object, []any{map[string]any{"type": "Approved", "status": "True", "reason": "Test", "message": "m"}}, "status", "conditions")
			if _, err := w.of(k).Update(t.Context(), made, metav1.UpdateOptions{}, "approval"); err != nil {
				t.Fatal(err)
			}
		}
	}
}

func (w *world) delete(t *testing.T, kind, name string) {
	t.Helper()
	if err := w.of(kindNamed(kind)).Delete(t.Context(), name, metav1.DeleteOptions{}); err != nil {
		t.Fatalf("delete %s %s: %v", kind, name, err)
	}
}

// alike waits until the clusters show the same, and says where they do not.
func alike(t *testing.T, worlds map[string]*world, objects []*unstructured.Unstructured, what string) {
	t.Helper()
	seen := map[string]map[string]string{}
	same := func() bool {
		for name, w := range worlds {
			seen[name] = w.look(objects)
		}
		return maps.Equal(seen["ours"], seen["theirs"])
	}
	for range 120 {
		if same() {
			time.Sleep(2 * time.Second) // what is alike for a moment only is not
			if same() {
				t.Logf("%s: %d objects are alike", what, len(seen["ours"]))
				return
			}
		}
		time.Sleep(500 * time.Millisecond)
	}
	for _, key := range slices.Sorted(maps.Keys(seen["theirs"])) {
		if a, b := seen["ours"][key], seen["theirs"][key]; a != b {
			t.Errorf("%s: %s\nours\n%s\ntheirs\n%s", what, key, a, b)
		}
	}
	for _, key := range slices.Sorted(maps.Keys(seen["ours"])) {
		if _, ok := seen["theirs"][key]; !ok {
			t.Errorf("%s: %s is ours alone\n%s", what, key, seen["ours"][key])
		}
	}
}

// look is what there is to see, as text by kind and name.
func (w *world) look(objects []*unstructured.Unstructured) map[string]string {
	watched := map[*kinds.Kind]bool{}
	for _, o := range objects {
		watched[kinds.ByKind(o.GroupVersionKind())] = true
	}
	for _, name := range []string{"EndpointSlice", "ResourceClaim", "ConfigMap", "ServiceAccount"} {
		watched[kindNamed(name)] = true
	}
	out := map[string]string{}
	for k := range watched {
		list, err := w.of(k).List(context.Background(), metav1.ListOptions{})
		if err != nil {
			out[k.Kind] = err.Error()
			continue
		}
		for i := range list.Items {
			name, text := plain(&list.Items[i])
			out[k.Kind+" "+name] = text
		}
	}
	return out
}

// plain leaves out what differs between any two clusters.
func plain(o *unstructured.Unstructured) (name, text string) {
	name = o.GetName()
	if g := o.GetGenerateName(); g != "" {
		family, _, _ := unstructured.NestedString(o.Object, "addressType")
		name = g + family
		o.SetName("")
	}
	m := map[string]any{"labels": o.GetLabels(), "annotations": o.GetAnnotations(), "finalizers": o.GetFinalizers()}
	var owners []string
	for _, r := range o.GetOwnerReferences() {
		owners = append(owners, fmt.Sprintf("%s %s %v %v", r.Kind, r.Name, r.Controller != nil && *r.Controller, r.BlockOwnerDeletion != nil && *r.BlockOwnerDeletion))
	}
	m["owners"] = owners
	o.Object["metadata"] = m
	scrub(o.Object)
	data, err := yaml.Marshal(o.Object)
	if err != nil {
		return name, err.Error()
	}
	return name, string(data)
}

// scrub empties what is made by chance, by time or from keys.
func scrub(v any) {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			switch k {
			case "uid", "resourceVersion", "lastTransitionTime", "lastUpdateTime", "lastPhaseTransitionTime", "lastProbeTime", "certificate",
				"token", "ca.crt", "authentication.kubernetes.io/credential-id", "kubernetes.io/service-account.uid", "resourceClaimName", "clusterIP", "clusterIPs":
				v[k] = "..."
			default:
				scrub(x)
			}
		}
	case map[string]string:
		for k := range v {
			if k == "kubernetes.io/service-account.uid" {
				v[k] = "..."
			}
		}
	case []any:
		slices.SortStableFunc(v, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
		for _, x := range v {
			scrub(x)
		}
	}
}
