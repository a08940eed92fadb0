package e2e

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/libs/client"
	"coracle.local/tests/fixture"
	"coracle.local/tests/samples"
)

// kubectlPath is upstream's kubectl: the one in $CORACLE_KUBECTL, else the one
// that tools/kubectl pins, which is built when it is first asked for.
var kubectlPath = sync.OnceValues(func() (string, error) {
	if path := os.Getenv("CORACLE_KUBECTL"); path != "" {
		return path, nil
	}
	dir, err := filepath.Abs("../../.cache/bin")
	if err != nil {
		return "", err
	}
	if out, err := exec.Command("../../images/compile.sh", dir, "kubectl").CombinedOutput(); err != nil {
		return "", fmt.Errorf("build kubectl: %w\n%s", err, out)
	}
	return filepath.Join(dir, "kubectl"), nil
})

// kubectl runs commands as a person would, from a folder and with a kubeconfig
// of their own.
type kubectl struct {
	t    *testing.T
	bin  string
	home string
}

func newKubectl(t *testing.T, c *fixture.Cluster) *kubectl {
	t.Helper()
	bin, err := kubectlPath()
	if err != nil {
		t.Fatal(err)
	}
	k := &kubectl{t, bin, t.TempDir()}
	config, err := os.ReadFile(c.Kubeconfig)
	if err != nil {
		t.Fatal(err)
	}
	k.write("config", string(config))
	return k
}

func (k *kubectl) write(name, text string) {
	k.t.Helper()
	if err := os.WriteFile(filepath.Join(k.home, name), []byte(text), 0o600); err != nil {
		k.t.Fatal(err)
	}
}

func (k *kubectl) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, k.bin, args...)
	cmd.Dir = k.home
	cmd.Env = append(os.Environ(), "HOME="+k.home, "KUBECONFIG="+filepath.Join(k.home, "config"), "KUBECTL_KUBERC=false")
	return cmd
}

// try runs a command and returns what it says on both outputs together.
func (k *kubectl) try(args ...string) (string, error) {
	out, err := k.command(context.Background(), args...).CombinedOutput()
	return string(out), err
}

// run runs a command that must work.
func (k *kubectl) run(args ...string) string {
	k.t.Helper()
	out, err := k.try(args...)
	if err != nil {
		k.t.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// says runs a command that must work and say exactly that.
func (k *kubectl) says(want string, args ...string) {
	k.t.Helper()
	if got := strings.TrimSpace(k.run(args...)); got != want {
		k.t.Errorf("kubectl %s:\n%s\nwant\n%s", strings.Join(args, " "), got, want)
	}
}

// fails runs a command that must not work, and say so.
func (k *kubectl) fails(want string, args ...string) {
	k.t.Helper()
	out, err := k.try(args...)
	if err == nil || !strings.Contains(out, want) {
		k.t.Errorf("kubectl %s: %v\n%s\nwant an error: %s", strings.Join(args, " "), err, out, want)
	}
}

// rows are the lines of a table, without its head, as fields.
func rows(table string) [][]string {
	var out [][]string
	for line := range strings.Lines(table) {
		out = append(out, strings.Fields(line))
	}
	if len(out) == 0 {
		return nil
	}
	return out[1:]
}

// settled makes a namespace and waits for the account that pods of it need.
func settled(t *testing.T, c *fixture.Cluster, k *kubectl, namespace string) {
	t.Helper()
	k.run("create", "namespace", namespace)
	awaitAccount(t, c, namespace)
}

func awaitAccount(t *testing.T, c *fixture.Cluster, namespace string) {
	t.Helper()
	fixture.Eventually(t, time.Minute, "there: the default account of "+namespace, func() bool {
		_, err := client.For[*corev1.ServiceAccount](c.Conn).Get(context.Background(), namespace, "default")
		if err != nil && !apierrors.IsNotFound(err) {
			t.Fatal(err)
		}
		return err == nil
	})
}

// TestKubectlWalk is a newcomer's first session.
func TestKubectlWalk(t *testing.T) {
	c := fixture.Start(t, cluster.Config{Nodes: 1})
	k := newKubectl(t, c)
	var names []string
	for _, row := range rows(k.run("get", "namespace")) {
		if names = append(names, row[0]); row[1] != "Active" {
			t.Errorf("namespace %v", row)
		}
	}
	if !slices.Equal(names, []string{"default", "kube-node-lease", "kube-public", "kube-system"}) {
		t.Errorf("namespaces %v", names)
	}

	file := k.run("create", "namespace", "orange", "--dry-run=client", "-o", "yaml")
	k.write("f", file)
	k.says("namespace/orange created", "create", "-f", "f")
	awaitAccount(t, c, "orange")
	k.says("pod/nginx created", "run", "nginx", "--image=nginx", "--namespace=orange")
	k.run("wait", "pod/nginx", "--for=condition=Ready", "--namespace=orange", "--timeout=2m")
	if pods := rows(k.run("get", "pods", "--namespace=orange")); len(pods) != 1 || !slices.Equal(pods[0][:4], []string{"nginx", "1/1", "Running", "0"}) {
		t.Errorf("pods %v", pods)
	}

	k.says(`Context "coracle" modified.`, "config", "set-context", "--current", "--namespace=orange")
	if view := k.run("config", "view", "--minify"); !strings.Contains(view, "namespace: orange") || !strings.Contains(view, "server: "+c.REST) {
		t.Errorf("config view:\n%s", view)
	}
	if wide := rows(k.run("get", "pods", "-o", "wide")); len(wide) != 1 || wide[0][5] == "<none>" || wide[0][6] == "<none>" {
		t.Errorf("without an address or a node: %v", wide)
	}
	k.says(`pod "nginx" deleted from orange namespace`, "delete", "pod", "nginx", "--now")
	k.says(`namespace "orange" deleted`, "delete", "namespace", "orange", "--timeout=2m")
	k.fails(`namespaces "orange" not found`, "get", "namespace", "orange")
}

func TestKubectlAPIResources(t *testing.T) {
	c, _ := bare(t)
	k := newKubectl(t, c)
	for _, namespaced := range []string{"true", "false"} {
		got := lines(k.run("api-resources", "--namespaced="+namespaced, "-o", "wide"))
		var want []string
		for _, line := range lines(samples.APIResources) {
			if strings.Contains(line, " "+namespaced+" ") {
				want = append(want, line)
			}
		}
		for _, line := range want {
			if !slices.Contains(got, line) {
				t.Errorf("namespaced=%s lacks %s", namespaced, line)
			}
		}
		if len(got) != len(want)+1 {
			t.Errorf("namespaced=%s: %d lines, want %d and the head", namespaced, len(got), len(want))
		}
	}
	if versions := lines(k.run("api-versions")); len(versions) < 20 || !slices.Contains(versions, "apps/v1") || !slices.Contains(versions, "v1") {
		t.Errorf("api-versions %v", versions)
	}
}

// lines are the lines of a table with single spaces.
func lines(table string) []string {
	var out []string
	for line := range strings.Lines(table) {
		out = append(out, strings.Join(strings.Fields(line), " "))
	}
	return out
}
