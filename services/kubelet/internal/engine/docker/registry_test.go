package docker

import (
	"bytes"
	"compress/gzip"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"

	"coracle.local/services/kubelet/internal/engine"
)

// imageServer is a registry that serves one image, enginetest/pulled:1, to those who know the
// password of user. Engines speak plain HTTP to loopback addresses.
type imageServer struct {
	*httptest.Server
	manifest string
	blobs    map[string][]byte
}

func digest(data []byte) string { return fmt.Sprintf("sha256:%x", sha256.Sum256(data)) }

func newImageServer(t *testing.T) *imageServer {
	t.Helper()
	archive, err := imageArchive([]byte("a program"))
	if err != nil {
		t.Fatal(err)
	}
	var layer bytes.Buffer
	zip := gzip.NewWriter(&layer)
	if _, err := zip.Write(archive.Bytes()); err != nil {
		t.Fatal(err)
	}
	if err := zip.Close(); err != nil {
		t.Fatal(err)
	}
	config, err := json.Marshal(map[string]any{
		"architecture": runtime.GOARCH, "os": "linux",
		"config": map[string]any{"User": "1234"},
		"rootfs": map[string]any{"type": "layers", "diff_ids": []string{digest(archive.Bytes())}},
	})
	if err != nil {
		t.Fatal(err)
	}
	blob := func(kind string, data []byte) map[string]any {
		return map[string]any{"mediaType": "application/vnd.docker." + kind, "size": len(data), "digest": digest(data)}
	}
	manifest, err := json.Marshal(map[string]any{
		"schemaVersion": 2, "mediaType": "application/vnd.docker.distribution.manifest.v2+json",
		"config": blob("container.image.v1+json", config),
		"layers": []any{blob("image.rootfs.diff.tar.gzip", layer.Bytes())},
	})
	if err != nil {
		t.Fatal(err)
	}
	r := &imageServer{manifest: string(manifest), blobs: map[string][]byte{
		digest(config): config, digest(layer.Bytes()): layer.Bytes(),
	}}
	r.Server = httptest.NewServer(r)
	t.Cleanup(r.Close)
	return r
}

func (r *imageServer) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	if _, password, ok := req.BasicAuth(); !ok || password != "secret" {
		w.Header().Set("WWW-Authenticate", `Basic realm="test"`)
		http.Error(w, `{"errors":[{"code":"UNAUTHORIZED","message":"authentication required"}]}`, http.StatusUnauthorized)
		return
	}
	const repository = "/v2/enginetest/pulled/"
	switch path := req.URL.Path; {
	case path == "/v2/":
		w.WriteHeader(http.StatusOK)
	case path == repository+"manifests/1", path == repository+"manifests/"+digest([]byte(r.manifest)):
		w.Header().Set("Content-Type", "application/vnd.docker.distribution.manifest.v2+json")
		w.Header().Set("Docker-Content-Digest", digest([]byte(r.manifest)))
		_, _ = w.Write([]byte(r.manifest))
	case strings.HasPrefix(path, repository+"blobs/"):
		if blob, ok := r.blobs[strings.TrimPrefix(path, repository+"blobs/")]; ok {
			_, _ = w.Write(blob)
			return
		}
		http.NotFound(w, req)
	default:
		w.WriteHeader(http.StatusNotFound)
		_, _ = w.Write([]byte(`{"errors":[{"code":"MANIFEST_UNKNOWN","message":"manifest unknown"}]}`))
	}
}

func TestPull(t *testing.T) {
	b := newBed(t)
	r := b.runtime(t)
	ctx := context.Background()
	registry := newImageServer(t)
	host := strings.TrimPrefix(registry.URL, "http://")
	ref := host + "/enginetest/pulled:1"
	auth := &engine.Auth{Username: "user", Password: "secret", ServerAddress: host}
	t.Cleanup(func() {
		if err := r.RemoveImage(context.Background(), ref); err != nil {
			t.Errorf("clean up: %v", err)
		}
	})
	for _, test := range []struct {
		name, ref string
		auth      *engine.Auth
		want      error
	}{
		{"without credentials", ref, nil, engine.ErrUnauthorized},
		{"with wrong ones", ref, &engine.Auth{Username: "user", Password: "wrong"}, engine.ErrUnauthorized},
		{"absent tag", host + "/enginetest/pulled:2", auth, engine.ErrNotFound},
		{"no registry", "127.0.0.1:1/enginetest/pulled:1", auth, engine.ErrRegistryUnavailable},
		{"no name", "UPPER/case", auth, engine.ErrInvalidImageName},
	} {
		t.Run(test.name, func(t *testing.T) {
			if _, err := r.Pull(ctx, test.ref, test.auth); !errors.Is(err, test.want) {
				t.Errorf("%v, want %v", err, test.want)
			}
		})
	}
	image, err := r.Pull(ctx, ref, auth)
	if err != nil {
		t.Fatal(err)
	}
	byDigest := host + "/enginetest/pulled@" + digest([]byte(registry.manifest))
	if !slices.Contains(image.RepoTags, ref) || !slices.Contains(image.RepoDigests, byDigest) || image.User != "1234" || image.Pinned {
		t.Errorf("%+v", image)
	}
	if again, err := r.Pull(ctx, byDigest, auth); err != nil || again.ID != image.ID {
		t.Errorf("by digest: %+v, %v", again, err)
	}
	if found, ok, err := r.Image(ctx, byDigest); err != nil || !ok || found.ID != image.ID {
		t.Errorf("by digest: %v, %v", ok, err)
	}
	// One with several names goes whole.
	if err := r.RemoveImage(ctx, image.ID); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := r.Image(ctx, image.ID); ok || err != nil {
		t.Errorf("after its removal: %v, %v", ok, err)
	}
}

func TestClassifyPull(t *testing.T) {
	for text, want := range map[string]error{
		"pull access denied for x, repository does not exist or may require 'docker login'": engine.ErrUnauthorized,
		"Head https://r/v2/x/manifests/1: unauthorized: authentication required":            engine.ErrUnauthorized,
		"manifest for x:1 not found: manifest unknown: manifest unknown":                    engine.ErrNotFound,
		"no matching manifest for linux/arm64/v8 in the manifest list entries":              engine.ErrNotFound,
		"Get https://r/v2/: dial tcp: lookup r: no such host":                               engine.ErrRegistryUnavailable,
		"Get https://r/v2/: net/http: TLS handshake timeout":                                engine.ErrRegistryUnavailable,
		"received unexpected HTTP status: 503 Service Unavailable":                          engine.ErrRegistryUnavailable,
		"invalid reference format":                                                          engine.ErrInvalidImageName,
	} {
		err := classifyPull(errors.New(text))
		if !errors.Is(err, want) || err.Error() != text {
			t.Errorf("%q is %v, want %v", text, err, want)
		}
	}
	if err := classifyPull(errors.New("disk full")); err.Error() != "disk full" || errors.Is(err, engine.ErrRegistryUnavailable) {
		t.Errorf("an unknown error is %v", err)
	}
}
