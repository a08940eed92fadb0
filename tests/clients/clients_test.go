// Package clients runs other people's programs against Coracle, unmodified and
// built from their pinned modules: `make test-clients`.
package clients

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/tests/fixture"
)

// program is the path of what tests/clients/build.sh has made: a client, or a file that
// comes with one.
func program(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("CORACLE_CLIENTS")
	if dir == "" {
		t.Skip("the clients are not built: run make test-clients")
	}
	return executable(t, filepath.Join(dir, name))
}

// upstream is the path of one of upstream's executables.
func upstream(t *testing.T, name string) string {
	t.Helper()
	dir := os.Getenv("CORACLE_UPSTREAM")
	if dir == "" {
		t.Skip("upstream's executables are not built: run make test-clients with ../shared/upstream beside the repository")
	}
	return executable(t, filepath.Join(dir, name))
}

func executable(t *testing.T, path string) string {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		t.Skipf("not built: %v", err)
	}
	return path
}

// start runs a program until the test ends, and shows what it said last if the
// test failed. It returns the file that its standard output goes to.
func start(t *testing.T, path string, args ...string) string {
	t.Helper()
	dir := t.TempDir()
	out := create(t, filepath.Join(dir, "stdout"))
	log := create(t, filepath.Join(dir, "stderr"))
	cmd := exec.Command(path, args...)
	cmd.Stdout, cmd.Stderr = out, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(10 * time.Second):
			_ = cmd.Process.Kill()
			<-ended
		}
		if t.Failed() {
			t.Logf("%s said at last:\n%s", filepath.Base(path), last(log.Name(), 3000))
		}
	})
	return out.Name()
}

func create(t *testing.T, path string) *os.File {
	t.Helper()
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = f.Close() })
	return f
}

func last(path string, size int) string {
	data, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(data[max(0, len(data)-size):])
}

// run runs a program to its end, which must be a good one.
func run(t *testing.T, env []string, path string, args ...string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", filepath.Base(path), strings.Join(args, " "), err, out)
	}
	t.Logf("%s %s\n%s", filepath.Base(path), strings.Join(args, " "), out)
	return string(out)
}

// runPod makes a pod and waits until it runs.
func runPod(t *testing.T, c *fixture.Cluster, name string) {
	t.Helper()
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"app": name}},
		Spec: corev1.PodSpec{Containers: []corev1.Container{{
			Name: "web", Image: "nginx", Ports: []corev1.ContainerPort{{Name: "http", ContainerPort: 80}},
		}}},
	}
	ctx := context.Background()
	fixture.Eventually(t, 10*time.Second, "the default account", func() bool {
		_, err := c.Clients.CoreV1().Pods("default").Create(ctx, pod, metav1.CreateOptions{})
		return err == nil
	})
	fixture.Eventually(t, 30*time.Second, fmt.Sprintf("pod %s to run", name), func() bool {
		got, err := c.Clients.CoreV1().Pods("default").Get(ctx, name, metav1.GetOptions{})
		return err == nil && got.Status.Phase == corev1.PodRunning
	})
}
