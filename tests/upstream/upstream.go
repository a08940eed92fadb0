// Package upstream runs upstream's kube-apiserver beside ours, for tests that
// compare the two.
package upstream

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"coracle.local/tests/fixture"
)

// Server is the path of upstream's kube-apiserver: in CORACLE_UPSTREAM or
// .cache/upstream, where it is built from its own sources if ../shared/upstream
// is beside the repository. The test is skipped where that is not so either.
func Server(t testing.TB) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	bin := os.Getenv("CORACLE_UPSTREAM")
	if bin == "" {
		bin = filepath.Join(root, ".cache", "upstream")
	}
	binary := filepath.Join(bin, "kube-apiserver")
	if _, err := os.Stat(binary); err == nil {
		return binary
	}
	script := filepath.Join(root, "..", "shared", "upstream", "build.sh")
	if _, err := os.Stat(script); err != nil {
		t.Skip("upstream's kube-apiserver is absent: CORACLE_UPSTREAM names no folder that has it, and ../shared/upstream is not there to build it")
	}
	build := exec.Command(script, bin, "kube-apiserver")
	build.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false", "GOWORK=off", "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build upstream's server: %v\n%s", err, out)
	}
	return binary
}

// Start runs upstream's server over an etcd until the test ends, with the keys of
// our cluster and more flags if need be, and returns how to reach it.
func Start(t testing.TB, c *fixture.Cluster, etcd string, flags ...string) *rest.Config {
	t.Helper()
	port := fixture.FreePort(t)
	key := func(name string) string { return filepath.Join(c.Keys, name) }
	cmd := exec.Command(Server(t), append([]string{
		"--etcd-servers=" + etcd, "--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(port),
		"--tls-cert-file=" + key("apiserver.crt"), "--tls-private-key-file=" + key("apiserver.key"), "--client-ca-file=" + key("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + key("sa.pub"), "--service-account-signing-key-file=" + key("sa.key"),
		"--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=Node,RBAC", "--endpoint-reconciler-type=none",
		"--cert-dir=" + t.TempDir(),
	}, flags...)...)
	log, err := os.Create(filepath.Join(t.TempDir(), "kube-apiserver.log"))
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stdout, cmd.Stderr = log, log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { _ = cmd.Wait(); close(ended) }()
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGKILL)
		<-ended
		_ = log.Close()
		if t.Failed() {
			t.Logf("upstream's server said at last:\n%s", tail(log.Name()))
		}
	})
	cfg := rest.CopyConfig(c.Config)
	cfg.Host = "https://127.0.0.1:" + strconv.Itoa(port)
	raw := dynamic.ConfigFor(cfg)
	raw.GroupVersion = nil
	client, err := rest.UnversionedRESTClientFor(raw)
	if err != nil {
		t.Fatal(err)
	}
	fixture.Eventually(t, 2*time.Minute, "ready: upstream's server", func() bool {
		select {
		case <-ended:
			t.Fatalf("upstream's server ended:\n%s", tail(log.Name()))
		default:
		}
		return client.Get().AbsPath("/readyz").Do(context.Background()).Error() == nil
	})
	return cfg
}

func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(b), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}
