package authorization

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

// upstreamServer is the path of upstream's kube-apiserver. The test is skipped
// where nobody has built it.
func upstreamServer(t *testing.T) string {
	t.Helper()
	dirs := []string{os.Getenv("CORACLE_UPSTREAM"), filepath.Join("..", "..", ".cache", "upstream")}
	for _, dir := range dirs {
		path, err := filepath.Abs(filepath.Join(dir, "kube-apiserver"))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := os.Stat(path); dir != "" && err == nil {
			return path
		}
	}
	t.Skip("SKIPPED: upstream's kube-apiserver is neither in CORACLE_UPSTREAM nor in .cache/upstream; ../shared/upstream/build.sh .cache/upstream kube-apiserver builds it")
	return ""
}

// startUpstream runs upstream's server over the cluster's own etcd, so that both
// see the same roles and pods, and returns how to reach it.
func startUpstream(t *testing.T, c *fixture.Cluster, more ...string) *rest.Config {
	t.Helper()
	path := upstreamServer(t)
	port := freePort(t)
	key := func(name string) string { return filepath.Join(c.Keys, name) }
	cmd := exec.Command(path, append([]string{
		"--etcd-servers=" + c.Etcd, "--bind-address=127.0.0.1", "--secure-port=" + strconv.Itoa(port),
		"--tls-cert-file=" + key("apiserver.crt"), "--tls-private-key-file=" + key("apiserver.key"), "--client-ca-file=" + key("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + key("sa.pub"), "--service-account-signing-key-file=" + key("sa.key"),
		"--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=Node,RBAC", "--endpoint-reconciler-type=none",
		"--enable-priority-and-fairness=false", "--max-requests-inflight=0", "--max-mutating-requests-inflight=0",
		"--cert-dir=" + t.TempDir(),
	}, more...)...)
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

func freePort(t *testing.T) int {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().(*net.TCPAddr).Port
}
