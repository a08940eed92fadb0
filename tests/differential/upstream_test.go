package differential

import (
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"
	"k8s.io/client-go/rest"

	"coracle.local/cmd/coracle/store"
	"coracle.local/tests/fixture"
)

// upstreamServer is upstream's kube-apiserver, built from its own sources.
func upstreamServer(t *testing.T) string {
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

// startUpstream runs upstream's server over an etcd of its own, with the keys of
// our cluster, and returns how to reach it.
func startUpstream(t *testing.T, c *fixture.Cluster, binary string) *rest.Config {
	t.Helper()
	etcd, err := store.Open(context.Background(), store.Config{Dir: t.TempDir(), Volatile: true, Log: zaptest.NewLogger(t, zaptest.Level(zap.WarnLevel))})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(etcd.Close)
	port := freePort(t)
	key := func(name string) string { return filepath.Join(c.Keys, name) }
	cmd := exec.Command(binary,
		"--etcd-servers="+etcd.Endpoint, "--bind-address=127.0.0.1", "--secure-port="+strconv.Itoa(port),
		"--tls-cert-file="+key("apiserver.crt"), "--tls-private-key-file="+key("apiserver.key"), "--client-ca-file="+key("ca.crt"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file="+key("sa.pub"), "--service-account-signing-key-file="+key("sa.key"),
		"--service-cluster-ip-range=10.96.0.0/16", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction",
		"--allow-privileged=true", "--endpoint-reconciler-type=none", "--cert-dir="+t.TempDir())
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
	})
	cfg := rest.CopyConfig(c.Config)
	cfg.Host = "https://127.0.0.1:" + strconv.Itoa(port)
	s := server(t, cfg)
	fixture.Eventually(t, 2*time.Minute, "ready: upstream's server", func() bool {
		select {
		case <-ended:
			t.Fatalf("upstream's server ended:\n%s", tail(log.Name()))
		default:
		}
		answer, err := s.Client.Get(s.URL + "/readyz")
		if err != nil {
			return false
		}
		_ = answer.Body.Close()
		return answer.StatusCode == http.StatusOK
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
