package encryption

import (
	"bytes"
	"context"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	kmsapi "k8s.io/kms/apis/v2"
)

// fake is a key management service that turns bytes around.
type fake struct {
	kmsapi.UnimplementedKeyManagementServiceServer
	mu    sync.Mutex
	key   string
	ill   string
	calls int
}

func (f *fake) Status(context.Context, *kmsapi.StatusRequest) (*kmsapi.StatusResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	health := "ok"
	if f.ill != "" {
		health = f.ill
	}
	return &kmsapi.StatusResponse{Version: "v2", Healthz: health, KeyId: f.key}, nil
}

func turned(b []byte) []byte {
	out := bytes.Clone(b)
	for i := range out {
		out[i] ^= 0x55
	}
	return out
}

func (f *fake) Encrypt(_ context.Context, q *kmsapi.EncryptRequest) (*kmsapi.EncryptResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	return &kmsapi.EncryptResponse{Ciphertext: turned(q.Plaintext), KeyId: f.key}, nil
}

func (f *fake) Decrypt(_ context.Context, q *kmsapi.DecryptRequest) (*kmsapi.DecryptResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls++
	return &kmsapi.DecryptResponse{Plaintext: turned(q.Ciphertext)}, nil
}

func (f *fake) set(change func()) {
	f.mu.Lock()
	defer f.mu.Unlock()
	change()
}

// serve makes the fake answer at a socket, and returns its endpoint.
func serve(t *testing.T, f *fake) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "kms") // a path of t's would be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	path := filepath.Join(dir, "s")
	l, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	s := grpc.NewServer()
	kmsapi.RegisterKeyManagementServiceServer(s, f)
	done := make(chan struct{})
	go func() { defer close(done); _ = s.Serve(l) }()
	t.Cleanup(func() { s.Stop(); <-done })
	return "unix://" + path
}

func kms(name, endpoint string) string {
	return "{kms: {apiVersion: v2, name: " + name + ", endpoint: '" + endpoint + "', timeout: 200ms}}"
}

func TestKeyManagementService(t *testing.T) {
	f := &fake{key: "one"}
	endpoint := serve(t, f)
	v := load(t, rule("secrets", kms("vault", endpoint)))
	sealed, err := v.Seal(t.Context(), at, []byte("x"))
	if err != nil || !bytes.HasPrefix(sealed, []byte("k8s:enc:kms:v2:vault:")) {
		t.Fatalf("%q, %v", sealed, err)
	}
	f.set(func() { f.calls = 0 })
	if got, stale, err := v.Open(t.Context(), at, sealed); string(got) != "x" || stale || err != nil || f.calls > 0 {
		t.Errorf("%q, stale %t, %v, %d calls", got, stale, err, f.calls)
	}

	// Another server has to ask for the seed.
	other := load(t, rule("secrets", kms("vault", endpoint)))
	if got, _, err := other.Open(t.Context(), at, sealed); string(got) != "x" || err != nil {
		t.Errorf("elsewhere: %q, %v", got, err)
	}

	// With another key what was sealed is stale.
	f.set(func() { f.key = "two" })
	s := v.current.Load().services[0]
	s.until = time.Time{}
	if err := v.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, stale, err := v.Open(t.Context(), at, sealed); !stale || err != nil {
		t.Errorf("after a change of the key: stale %t, %v", stale, err)
	}

	f.set(func() { f.ill = "broken" })
	s.until = time.Time{}
	const want = "kms-provider-0: kmsv2 Provider vault is not healthy, error: got unexpected healthz status: broken"
	if err := v.Check(t.Context()); err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("health: %v", err)
	}
}

func TestAServiceThatIsNotThere(t *testing.T) {
	path := filepath.Join(t.TempDir(), "encryption.yaml")
	write(t, path, rule("secrets", kms("vault", "unix:///nowhere")))
	v, err := Load(t.Context(), Config{Log: zap.NewNop(), Path: path, ResourceOf: resource})
	if err != nil {
		t.Fatal(err)
	}
	if !v.Checked() || v.Check(t.Context()) == nil {
		t.Error("it is well")
	}
	if _, err := v.Seal(t.Context(), at, []byte("x")); err == nil {
		t.Error("something is stored")
	}

	f := &fake{key: "one"}
	sealed, err := load(t, rule("secrets", kms("vault", serve(t, f)))).Seal(t.Context(), at, []byte("x"))
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := v.Open(t.Context(), at, sealed); err == nil || !v.Passing(err) {
		t.Errorf("not a passing failure: %v", err)
	}
}
