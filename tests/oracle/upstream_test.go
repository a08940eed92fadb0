package oracle

import (
	"context"
	"net"
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

// upstreamServer is upstream's kube-apiserver, built from its own sources.
func upstreamServer(t *testing.T) string {
	t.Helper()
	root, err := filepath.Abs("../..")
	if err != nil {
		t.Fatal(err)
	}
	script := filepath.Join(root, "..", "shared", "upstream", "build.sh")
	if _, err := os.Stat(script); err != nil {
		t.Skip("upstream's sources are not beside this repository: ../shared/upstream is absent")
	}
	bin := os.Getenv("CORACLE_UPSTREAM")
	if bin == "" {
		bin = filepath.Join(root, ".cache", "upstream")
	}
	build := exec.Command(script, bin, "kube-apiserver")
	build.Env = append(os.Environ(), "GOFLAGS=-buildvcs=false", "GOWORK=off", "CGO_ENABLED=1")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("build upstream's server: %v\n%s", err, out)
	}
	return filepath.Join(bin, "kube-apiserver")
}

// startUpstream runs upstream's server over the cluster's own etcd, with more
// flags if need be, and returns how to reach it.
func startUpstream(t *testing.T, c *fixture.Cluster, flags ...string) *rest.Config {
	t.Helper()
	port := freePort(t)
	key := func(name string) string { return filepath.Join(c.Keys, name) }
	cmd := exec.Command(upstreamServer(t), append([]string{
		"--etcd-servers=" + c.Etcd, "--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(port),
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
	client, err := rest.UnversionedRESTClientFor(withCodec(cfg))
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

func withCodec(cfg *rest.Config) *rest.Config {
	out := dynamic.ConfigFor(cfg)
	out.GroupVersion = nil
	return out
}

func tail(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	lines := strings.Split(string(b), "\n")
	return strings.Join(lines[max(0, len(lines)-15):], "\n")
}

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
