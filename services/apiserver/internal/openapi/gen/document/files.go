package document

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	openapiv3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// writer writes each document as JSON and as protobuf, compressed, and an
// index of the v3 documents.
type writer struct {
	dir   string
	index map[string]string // v3 document: hash of its JSON
	kept  map[string]bool
}

func newWriter(dir string) *writer {
	return &writer{dir: dir, index: map[string]string{}, kept: map[string]bool{}}
}

func (w *writer) v2(document *spec.Swagger) error {
	raw, err := json.Marshal(document)
	if err != nil {
		return err
	}
	parsed, err := openapiv2.ParseDocument(raw)
	if err != nil {
		return fmt.Errorf("read the v2 document back: %w", err)
	}
	w.index["v2"] = hash(raw)
	return w.both("v2", raw, parsed)
}

func (w *writer) v3(name string, document *spec3.OpenAPI) error {
	raw, err := json.Marshal(document)
	if err != nil {
		return err
	}
	parsed, err := openapiv3.ParseDocument(raw)
	if err != nil {
		return fmt.Errorf("read the v3 document of %s back: %w", name, err)
	}
	w.index["v3/"+name] = hash(raw)
	return w.both(filepath.Join("v3", strings.ReplaceAll(name, "/", "_")), raw, parsed)
}

func (w *writer) both(name string, raw []byte, message proto.Message) error {
	encoded, err := proto.MarshalOptions{Deterministic: true}.Marshal(message)
	if err != nil {
		return err
	}
	if err := w.file(name+".json.gz", raw); err != nil {
		return err
	}
	return w.file(name+".pb.gz", encoded)
}

// file writes a compressed file, unless the one there has the same content:
// another Go version may compress it in other bytes.
func (w *writer) file(name string, content []byte) error {
	path := filepath.Join(w.dir, name)
	w.kept[path] = true
	if have, err := readCompressed(path); err == nil && bytes.Equal(have, content) {
		return nil
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	var b bytes.Buffer
	z, err := gzip.NewWriterLevel(&b, gzip.BestCompression)
	if err != nil {
		return err
	}
	if _, err := z.Write(content); err != nil {
		return err
	}
	if err := z.Close(); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

func readCompressed(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return nil, err
	}
	return io.ReadAll(z)
}

// finish writes the index and removes documents that are no longer made.
func (w *writer) finish() error {
	raw, err := json.MarshalIndent(w.index, "", "\t")
	if err != nil {
		return err
	}
	index := filepath.Join(w.dir, "index.json")
	if err := os.WriteFile(index, append(raw, '\n'), 0o644); err != nil {
		return err
	}
	w.kept[index] = true
	return filepath.WalkDir(w.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() || w.kept[path] {
			return err
		}
		return os.Remove(path)
	})
}

func hash(content []byte) string { return fmt.Sprintf("%X", sha512.Sum512(content)) }
