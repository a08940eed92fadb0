package docker

import (
	"archive/tar"
	"bytes"
	"context"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/docker/docker/client"
	"go.uber.org/zap/zaptest"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/engine/enginetest"
	"coracle.local/services/kubelet/internal/network"
	"coracle.local/services/kubelet/internal/network/networktest"
)

// testNetwork is a real one whose bridge is in a namespace of the test.
type testNetwork struct {
	*network.Network
	ns *networktest.Namespace
}

func (n testNetwork) Attach(ctx context.Context, s network.Sandbox) (ips []string, err error) {
	err = n.ns.Do(func() error {
		ips, err = n.Network.Attach(ctx, s)
		return err
	})
	return ips, err
}

func (n testNetwork) Detach(ctx context.Context, s network.Sandbox) error {
	return n.ns.Do(func() error { return n.Network.Detach(ctx, s) })
}

// bed is what the runtimes of one test share: an engine, a network, a folder.
type bed struct {
	config  Config
	network testNetwork
	folder  string
}

// newBed skips the test where no engine answers.
func newBed(t *testing.T) *bed {
	t.Helper()
	requireImage(t)
	b := &bed{folder: t.TempDir()}
	b.network.ns = networktest.NewNamespace(t, "192.0.2.1/24")
	b.config = Config{
		Log:      zaptest.NewLogger(t),
		Instance: "coracle-enginetest-" + strings.ToLower(filepath.Base(b.folder)) + fmt.Sprint(time.Now().UnixNano()),
		Root:     filepath.Join(b.folder, "engine"),
	}
	return b
}

// runtime makes one anew, with nothing remembered but what is on disk and in
// the engine.
func (b *bed) runtime(t *testing.T) engine.Runtime {
	t.Helper()
	n, err := network.New(network.Config{
		Root: filepath.Join(b.folder, "network"), BinDirs: []string{networktest.Plugins(t)}, Bridge: "coracle-test0",
	})
	if err != nil {
		t.Fatal(err)
	}
	b.network.Network = n
	if err := b.network.ns.Do(func() error {
		return n.Update(network.Cluster{PodCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.7.0/24")}})
	}); err != nil {
		t.Fatal(err)
	}
	b.config.Network = b.network
	r, err := New(b.config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = r.Close() })
	return r
}

func TestRuntime(t *testing.T) {
	b := newBed(t)
	enginetest.Run(t, b.runtime)
	b.mustBeEmpty(t)
}

func TestRuntimeProcesses(t *testing.T) {
	b := newBed(t)
	enginetest.RunProcesses(t, b.runtime, func(t *testing.T) string { return t.TempDir() })
	b.mustBeEmpty(t)
}

// mustBeEmpty looks for what should have gone with the last pod.
func (b *bed) mustBeEmpty(t *testing.T) {
	t.Helper()
	ctx := context.Background()
	pods, err := b.runtime(t).Pods(ctx)
	if err != nil || len(pods) != 0 {
		t.Errorf("pods left behind: %+v, %v", pods, err)
	}
	for _, pattern := range []string{"engine/sandboxes/*", "network/cache/results/*", "network/addresses/coracle/10.*"} {
		if left, _ := filepath.Glob(filepath.Join(b.folder, pattern)); len(left) != 0 {
			t.Errorf("left behind: %v", left)
		}
	}
}

// requireImage makes the suite's image, once a process and engine.
func requireImage(t *testing.T) {
	t.Helper()
	skip, err := prepareImage()
	if err != nil {
		t.Fatal(err)
	}
	if skip != "" {
		t.Skip(skip)
	}
}

var prepareImage = sync.OnceValues(func() (skip string, err error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return "", err
	}
	defer func() { _ = c.Close() }()
	if _, err := c.Ping(ctx); err != nil {
		return fmt.Sprintf("no Docker Engine answers: %v", err), nil
	}
	dir, err := os.MkdirTemp("", "coracle-enginetest-")
	if err != nil {
		return "", err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", dir, "../enginetest/guest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build the guest: %w: %s", err, out)
	}
	program, err := os.ReadFile(filepath.Join(dir, "guest"))
	if err != nil {
		return "", err
	}
	archive, err := imageArchive(program)
	if err != nil {
		return "", err
	}
	return "", importImage(ctx, calls{c}, archive)
})

func imageArchive(program []byte) (*bytes.Buffer, error) {
	var archive bytes.Buffer
	w := tar.NewWriter(&archive)
	for _, entry := range []struct {
		header  tar.Header
		content []byte
	}{
		{tar.Header{Name: "guest", Mode: 0o755, Typeflag: tar.TypeReg, Size: int64(len(program))}, program},
		{tar.Header{Name: "tmp/", Mode: 0o777, Typeflag: tar.TypeDir}, nil},
	} {
		if err := w.WriteHeader(&entry.header); err != nil {
			return nil, err
		}
		if _, err := w.Write(entry.content); err != nil {
			return nil, err
		}
	}
	return &archive, w.Close()
}

func importImage(ctx context.Context, c calls, archive *bytes.Buffer) error {
	stream, err := c.importImage(ctx, archive, enginetest.Image)
	if err != nil {
		return err
	}
	defer func() { _ = stream.Close() }()
	return readProgress(stream, func() {})
}

func TestMain(m *testing.M) {
	code := m.Run()
	removeImage()
	os.Exit(code)
}

// removeImage takes the suite's image away where one was made.
func removeImage() {
	c, err := client.NewClientWithOpts(client.FromEnv, client.WithAPIVersionNegotiation())
	if err != nil {
		return
	}
	defer func() { _ = c.Close() }()
	_ = calls{c}.removeImage(context.Background(), enginetest.Image)
}
