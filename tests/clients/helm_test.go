package clients

import (
	"context"
	"path/filepath"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/tests/fixture"
)

var greetings = schema.GroupVersionResource{Group: "example.coracle.dev", Version: "v1", Resource: "greetings"}

// TestHelm installs, upgrades, rolls back and uninstalls a chart that has hooks, a
// definition of a custom resource, and an object of it.
func TestHelm(t *testing.T) {
	for _, name := range []string{"helm3", "helm4"} {
		t.Run(name, func(t *testing.T) {
			path := program(t, name)
			c := fixture.Start(t, cluster.Config{Nodes: 1})
			h := helm{t: t, c: c, path: path, home: t.TempDir()}
			h.walk()
		})
	}
}

type helm struct {
	t    *testing.T
	c    *fixture.Cluster
	path string
	home string
}

func (h helm) do(args ...string) string {
	h.t.Helper()
	env := []string{
		"KUBECONFIG=" + h.c.Kubeconfig, "HELM_CACHE_HOME=" + filepath.Join(h.home, "cache"),
		"HELM_CONFIG_HOME=" + filepath.Join(h.home, "config"), "HELM_DATA_HOME=" + filepath.Join(h.home, "data"),
	}
	return run(h.t, env, h.path, args...)
}

func (h helm) walk() {
	h.do("install", "hello", "testdata/chart", "--wait", "--timeout", "60s")
	h.greets("hello")
	h.hookRan("hello-post-install")

	h.do("upgrade", "hello", "testdata/chart", "--set", "text=good-day", "--set", "replicas=2", "--wait", "--timeout", "60s")
	h.greets("good-day")
	h.replicas(2)

	h.do("rollback", "hello", "1", "--wait", "--timeout", "60s")
	h.greets("hello")
	h.replicas(1)

	if out := h.do("history", "hello"); !strings.Contains(out, "Rollback to 1") {
		h.t.Errorf("the history does not tell of the rollback:\n%s", out)
	}
	if out := h.do("status", "hello"); !strings.Contains(out, "deployed") {
		h.t.Errorf("the release is not deployed:\n%s", out)
	}
	h.do("uninstall", "hello", "--wait")
	h.gone()
}

func (h helm) greets(text string) {
	h.t.Helper()
	client, err := dynamic.NewForConfig(h.c.Config)
	if err != nil {
		h.t.Fatal(err)
	}
	o, err := client.Resource(greetings).Namespace("default").Get(context.Background(), "hello", metav1.GetOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	spec, _ := o.Object["spec"].(map[string]any)
	if spec["text"] != text {
		h.t.Errorf("the greeting is %v, want %s", spec["text"], text)
	}
	if spec["loud"] != false {
		h.t.Errorf("the schema's default is missing: %v", spec)
	}
}

func (h helm) hookRan(name string) {
	h.t.Helper()
	if _, err := h.c.Clients.CoreV1().ConfigMaps("default").Get(context.Background(), name, metav1.GetOptions{}); err != nil {
		h.t.Errorf("the hook did not run: %v", err)
	}
}

func (h helm) replicas(n int32) {
	h.t.Helper()
	d, err := h.c.Clients.AppsV1().Deployments("default").Get(context.Background(), "hello", metav1.GetOptions{})
	if err != nil {
		h.t.Fatal(err)
	}
	if *d.Spec.Replicas != n || d.Status.ReadyReplicas != n {
		h.t.Errorf("%d replicas, %d ready, want %d", *d.Spec.Replicas, d.Status.ReadyReplicas, n)
	}
}

func (h helm) gone() {
	h.t.Helper()
	_, err := h.c.Clients.AppsV1().Deployments("default").Get(context.Background(), "hello", metav1.GetOptions{})
	if !apierrors.IsNotFound(err) {
		h.t.Errorf("the Deployment is still there: %v", err)
	}
}
