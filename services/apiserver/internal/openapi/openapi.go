// Package openapi serves the OpenAPI documents, versions 2 and 3. Those of
// built-in kinds were made by gen and are embedded compressed; those of custom
// resources are built when somebody asks for them.
package openapi

import (
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"embed"
	"encoding/binary"
	"encoding/gob"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/munnerz/goautoneg"
	"sigs.k8s.io/structured-merge-diff/v6/schema"
)

//go:generate go run -C ../.. ./internal/openapi/gen

//go:embed all:docs
var docs embed.FS

// Documents are the embedded documents and those of custom resources. Use New.
type Documents struct {
	// Remote adds what other servers tell; nil for nothing.
	Remote Remote
	mergedState

	index    func() index
	mu       sync.Mutex // of Set
	snapshot atomic.Pointer[snapshot]
}

// index is what is known of each document without opening it.
type index struct {
	hashes map[string]string // "v2" or "v3/NAME": hash of the JSON
	root   []byte            // the answer to /openapi/v3
	etag   string
}

// New returns the documents. It reads nothing before the first request.
func New() *Documents { return &Documents{index: sync.OnceValue(readIndex)} }

func readIndex() index {
	var x index
	raw, err := docs.ReadFile("docs/index.json")
	if err == nil {
		err = json.Unmarshal(raw, &x.hashes)
	}
	if err != nil {
		panic("openapi: the embedded index is broken: " + err.Error())
	}
	x.root = rootOf(x.hashes, nil)
	x.etag = fmt.Sprintf("%X", sha512.Sum512(x.root))
	return x
}

// rootOf is the answer to /openapi/v3. What is built in goes before what is
// custom.
func rootOf(hashes map[string]string, custom map[string]*group) []byte {
	type document struct {
		URL string `json:"serverRelativeURL"`
	}
	paths := map[string]document{}
	for name, g := range custom {
		paths[name] = document{location(name, g.hash)}
	}
	for name, hash := range hashes {
		if v3, ok := strings.CutPrefix(name, "v3/"); ok {
			paths[v3] = document{location(v3, hash)}
		}
	}
	// Maps of strings always marshal.
	root, _ := json.Marshal(map[string]any{"paths": paths})
	return root
}

// location is where a v3 document is served, with its hash, so that clients
// may keep it.
func location(name, hash string) string {
	u := url.URL{Path: path.Join("/openapi/v3", name), RawQuery: url.Values{"hash": {hash}}.Encode()}
	return u.String()
}

// ServeHTTP answers /openapi/v2, /openapi/v3 and the paths below the latter.
func (d *Documents) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	switch name := strings.TrimPrefix(r.URL.Path, "/openapi/"); {
	case name == "v2":
		d.document(w, r, "v2", "v2", "v2")
	case name == "v3":
		d.root(w, r)
	case strings.HasPrefix(name, "v3/") && d.served3(w, r, name[len("v3/"):]):
	case strings.HasPrefix(name, "v3/"):
		d.document(w, r, name, "v3/"+strings.ReplaceAll(name[len("v3/"):], "/", "_"), "v3")
	default:
		http.NotFound(w, r)
	}
}

func (d *Documents) root(w http.ResponseWriter, r *http.Request) {
	x := d.index()
	root, etag := x.root, x.etag
	if c := d.customs(); c != nil {
		root = rootOf(x.hashes, c.groups)
		etag = fmt.Sprintf("%X", sha512.Sum512(root))
	}
	if all := d.root3(root); len(all) != len(root) {
		root, etag = all, hashOf([]string{string(all)})
	}
	w.Header().Set("Etag", strconv.Quote(etag))
	w.Header().Set("Content-Type", "application/json")
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(root))
}

// document serves one document in the encoding the client prefers.
func (d *Documents) document(w http.ResponseWriter, r *http.Request, name, file, version string) {
	w.Header().Add("Vary", "Accept")
	hash, read := d.find(name, file)
	if name == "v2" {
		hash, read = d.with2(hash, read)
	}
	if read == nil {
		w.WriteHeader(http.StatusNotFound)
		return
	}
	extension, mediaType := choose(r.Header.Get("Accept"), version)
	if extension == "" {
		w.WriteHeader(http.StatusNotAcceptable)
		return
	}
	if asked := r.URL.Query().Get("hash"); version == "v3" && asked != "" {
		if asked != hash {
			http.Redirect(w, r, location(strings.TrimPrefix(name, "v3/"), hash), http.StatusMovedPermanently)
			return
		}
		w.Header().Set("Cache-Control", "public, immutable")
		w.Header().Set("Expires", time.Now().AddDate(1, 0, 0).UTC().Format(http.TimeFormat))
	}
	etag := strconv.Quote(hash)
	w.Header().Set("Etag", etag)
	if r.Header.Get("If-None-Match") == etag {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	w.Header().Set("Content-Type", mediaType)
	content, err := read(extension)
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	write(w, r, content)
}

// find is a document's hash and how it is read; nil if there is none.
func (d *Documents) find(name, file string) (hash string, read func(extension string) ([]byte, error)) {
	c := d.customs()
	if c != nil && name == "v2" {
		return c.hash, c.v2
	}
	if hash, ok := d.index().hashes[name]; ok {
		return hash, func(extension string) ([]byte, error) { return docs.ReadFile("docs/" + file + extension) }
	}
	if c != nil {
		if g := c.groups[strings.TrimPrefix(name, "v3/")]; g != nil {
			return g.hash, g.made
		}
	}
	return "", nil
}

// choose returns the file's extension and the media type to answer with.
func choose(accept, version string) (extension, mediaType string) {
	if accept == "" {
		accept = "*/*"
	}
	protobuf := "com.github.proto-openapi.spec." + version + ".v1.0+protobuf"
	for _, c := range goautoneg.ParseAccept(accept) {
		if c.Type != "application" && c.Type != "*" {
			continue
		}
		switch c.SubType {
		case "json", "*":
			return ".json.gz", "application/json"
		case protobuf, "com.github.proto-openapi.spec." + version + "@v1.0+protobuf":
			return ".pb.gz", "application/" + protobuf
		}
	}
	return "", ""
}

// Types reads the schema of every type, for server-side apply. It is read anew
// at each call.
func Types() (*schema.Schema, error) {
	content, err := docs.ReadFile("docs/types.gob.gz")
	if err != nil {
		return nil, err
	}
	z, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		return nil, err
	}
	// Defaults of fields may be of these types.
	gob.Register(map[string]any{})
	gob.Register([]any{})
	types := &schema.Schema{}
	if err := gob.NewDecoder(z).Decode(types); err != nil {
		return nil, fmt.Errorf("decode the types: %w", err)
	}
	return types, nil
}

// write sends compressed content as it is, or unpacked to clients that do not
// take it so.
func write(w http.ResponseWriter, r *http.Request, content []byte) {
	w.Header().Add("Vary", "Accept-Encoding")
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		w.Header().Set("Content-Encoding", "gzip")
		w.Header().Set("Content-Length", strconv.Itoa(len(content)))
		_, _ = w.Write(content)
		return
	}
	// The last four bytes of a gzip file are the size of what is in it.
	size := binary.LittleEndian.Uint32(content[len(content)-4:])
	w.Header().Set("Content-Length", strconv.FormatUint(uint64(size), 10))
	if r.Method == http.MethodHead {
		return
	}
	z, err := gzip.NewReader(bytes.NewReader(content))
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	// An error here is the client's going away.
	_, _ = io.Copy(w, z)
}
