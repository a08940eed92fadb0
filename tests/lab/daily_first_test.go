package lab

import (
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"coracle.local/tests/samples"
)

// TestFirstCommands are those that a newcomer's book begins with.
func TestFirstCommands(t *testing.T) {
	l := open(t)
	l.provideNginx()
	// The context is changed below, so this test has a kubeconfig of its own.
	data, err := os.ReadFile(l.kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	folder := t.TempDir()
	l.kubeconfig = filepath.Join(folder, "kubeconfig")
	if err := os.WriteFile(l.kubeconfig, data, 0o600); err != nil {
		t.Fatal(err)
	}

	listed := l.kubectl("get", "namespace")
	for _, name := range []string{"default", "kube-node-lease", "kube-public", "kube-system"} {
		l.hasRow(listed, name, "Active")
	}

	file := filepath.Join(folder, "f")
	manifest := l.kubectl("create", "namespace", "orange", "--dry-run=client", "-o", "yaml")
	if err := os.WriteFile(file, []byte(manifest), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.removeNamespace("orange") })
	t.Cleanup(func() { l.describe("orange") })
	if out := l.kubectl("create", "-f", file); out != "namespace/orange created\n" {
		t.Fatalf("create -f said %q", out)
	}
	// The ServiceAccount comes a moment after its namespace, and pods need it.
	l.eventually(long, "nginx can be run", func(context.Context) error {
		out, err := l.tryKubectl("run", "nginx", "--image=nginx", "--namespace=orange")
		if err == nil && out != "pod/nginx created\n" {
			t.Fatalf("run said %q", out)
		}
		if err != nil && !strings.Contains(err.Error(), `serviceaccount "default" not found`) {
			t.Fatal(err)
		}
		return err
	})
	l.readyPod("orange", "nginx")
	l.hasRow(l.kubectl("get", "pods", "--namespace=orange"), "nginx", "1/1 Running 0")

	if out := l.kubectl("config", "set-context", "--current", "--namespace=orange"); !strings.HasSuffix(out, " modified.\n") {
		t.Fatalf("set-context said %q", out)
	}
	if view := l.kubectl("config", "view", "--minify"); !strings.Contains(view, "namespace: orange\n") {
		t.Fatalf("config view --minify shows\n%s", view)
	}
	l.hasRow(l.kubectl("get", "pods"), "nginx", "1/1 Running 0")
	for _, namespaced := range []string{"true", "false"} {
		l.sameResources(namespaced)
	}
}

// provideNginx puts an image of that name into the lab's registry, which the nodes ask
// before docker.io, unless somebody has put the real one there.
func (l *lab) provideNginx() {
	l.t.Helper()
	const image = "library/nginx:latest"
	client := http.Client{Timeout: 30 * time.Second}
	request, err := http.NewRequest(http.MethodHead, "http://"+l.registry()+"/v2/library/nginx/manifests/latest", nil)
	if err != nil {
		l.t.Fatal(err)
	}
	request.Header.Set("Accept", "application/vnd.docker.distribution.manifest.v2+json, application/vnd.oci.image.index.v1+json, application/vnd.oci.image.manifest.v1+json")
	response, err := client.Do(request)
	if err != nil {
		l.t.Fatalf("ask the registry: %v", err)
	}
	_ = response.Body.Close()
	if response.StatusCode == http.StatusOK {
		return
	}
	l.t.Cleanup(func() {
		_, _ = l.try("docker", "rmi", l.registry()+"/"+image)
		l.forget("nginx")
	})
	l.push(l.registry()+"/"+image, l.buildFolder(), "1")
}

// hasRow finds a row by its first column and compares what follows it.
func (l *lab) hasRow(table, name, rest string) {
	l.t.Helper()
	for line := range strings.Lines(table) {
		columns := strings.Fields(line)
		if len(columns) > 1 && columns[0] == name && strings.HasPrefix(strings.Join(columns[1:], " "), rest) {
			return
		}
	}
	l.t.Fatalf("no row %s with %q in\n%s", name, rest, table)
}

// sameResources compares with what upstream 1.37 prints.
func (l *lab) sameResources(namespaced string) {
	l.t.Helper()
	head, body, _ := strings.Cut(samples.APIResources, "\n")
	at := strings.Index(head, "NAMESPACED")
	want := map[string]bool{}
	for line := range strings.Lines(body) {
		if strings.HasPrefix(line[at:], namespaced) {
			want[strings.Join(strings.Fields(line), " ")] = true
		}
	}
	out := l.kubectl("api-resources", "--namespaced="+namespaced, "-o", "wide", "--no-headers")
	var wrong []string
	for line := range strings.Lines(out) {
		row := strings.Join(strings.Fields(line), " ")
		if !want[row] {
			wrong = append(wrong, "only here:  "+row)
		}
		delete(want, row)
	}
	for row := range want {
		wrong = append(wrong, "not here:   "+row)
	}
	if len(wrong) > 0 {
		l.t.Errorf("api-resources --namespaced=%s differs from upstream's:\n%s", namespaced, strings.Join(wrong, "\n"))
	}
}
