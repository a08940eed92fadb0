package openapi

import (
	"bytes"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"sync"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	"google.golang.org/protobuf/proto"
)

// Remote is what other API servers tell of their groups.
type Remote interface {
	// OpenAPIV3 says where the documents of version 3 are, with their hashes, by
	// name: apis/GROUP/VERSION.
	OpenAPIV3() map[string]string
	// ServeOpenAPIV3 answers with one of them, or tells that there is none.
	ServeOpenAPIV3(w http.ResponseWriter, r *http.Request, name string) bool
	// OpenAPIV2 are whole documents of version 2, by the root of the paths that
	// count.
	OpenAPIV2() map[string][]byte
}

// merged is the document of version 2 with those of other servers.
type merged struct {
	hash string
	made func(extension string) ([]byte, error)
}

// served3 tells whether another server answered the request.
func (d *Documents) served3(w http.ResponseWriter, r *http.Request, name string) bool {
	return d.Remote != nil && d.Remote.ServeOpenAPIV3(w, r, name)
}

// root3 adds the documents of other servers to the answer to /openapi/v3.
func (d *Documents) root3(root []byte) []byte {
	if d.Remote == nil {
		return root
	}
	remote := d.Remote.OpenAPIV3()
	if len(remote) == 0 {
		return root
	}
	type document struct {
		URL string `json:"serverRelativeURL"`
	}
	var all struct {
		Paths map[string]document `json:"paths"`
	}
	if json.Unmarshal(root, &all) != nil {
		return root
	}
	for name, url := range remote {
		all.Paths[name] = document{url}
	}
	// Maps of strings always marshal.
	out, _ := json.Marshal(all)
	return out
}

// with2 adds the documents of other servers to that of version 2.
func (d *Documents) with2(hash string, read func(extension string) ([]byte, error)) (string, func(extension string) ([]byte, error)) {
	if d.Remote == nil || read == nil {
		return hash, read
	}
	remote := d.Remote.OpenAPIV2()
	if len(remote) == 0 {
		return hash, read
	}
	roots := make([]string, 0, len(remote))
	for root := range remote {
		roots = append(roots, root)
	}
	slices.Sort(roots)
	marks := []string{hash}
	for _, root := range roots {
		marks = append(marks, root, hashOf([]string{string(remote[root])}))
	}
	hash = hashOf(marks)
	d.mergedMu.Lock()
	defer d.mergedMu.Unlock()
	if d.merged == nil || d.merged.hash != hash {
		d.merged = &merged{hash, each(func(extension string) ([]byte, error) { return merge2(read, roots, remote, extension) })}
	}
	return hash, d.merged.made
}

// mergedState is the last merged document.
type mergedState struct {
	mergedMu sync.Mutex
	merged   *merged
}

func merge2(read func(string) ([]byte, error), roots []string, remote map[string][]byte, extension string) ([]byte, error) {
	packed, err := read(asJSON)
	if err != nil {
		return nil, err
	}
	content, err := unpack(packed)
	if err != nil {
		return nil, err
	}
	where, err := sections(content)
	if err != nil {
		return nil, err
	}
	s := where["definitions"]
	have, err := sections(content[s.start:s.end])
	if err != nil {
		return nil, err
	}
	known := func(name string) bool { _, ok := have[name]; return ok }
	added := map[string][]byte{}
	for _, root := range roots {
		part, err := excerpt(remote[root], root, known)
		if err != nil {
			continue // what another server says badly is not said here
		}
		if err := collect(part, added, map[string]json.RawMessage{}); err != nil {
			return nil, err
		}
	}
	if extension == asProto {
		return joinRemote(read, added)
	}
	if content, err = splice(content, added); err != nil {
		return nil, err
	}
	return pack(content)
}

// excerpt is the part of a document whose paths begin with the root. Of
// definitions that are known here it is the one here that counts.
func excerpt(document []byte, root string, known func(string) bool) ([]byte, error) {
	var all struct {
		Paths       map[string]json.RawMessage `json:"paths"`
		Definitions map[string]json.RawMessage `json:"definitions"`
	}
	if err := json.Unmarshal(document, &all); err != nil {
		return nil, err
	}
	for path := range all.Paths {
		if path != root && !strings.HasPrefix(path, root+"/") {
			delete(all.Paths, path)
		}
	}
	for name := range all.Definitions {
		if known(name) {
			delete(all.Definitions, name)
		}
	}
	return json.Marshal(all)
}

func joinRemote(read func(string) ([]byte, error), added map[string][]byte) ([]byte, error) {
	packed, err := read(asProto)
	if err != nil {
		return nil, err
	}
	content, err := unpack(packed)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.WriteString(`{"swagger":"2.0","info":{"title":"","version":""},"paths":{`)
	b.Write(added["paths"])
	b.WriteString(`},"definitions":{`)
	b.Write(added["definitions"])
	b.WriteString("}}")
	parsed, err := openapiv2.ParseDocument(b.Bytes())
	if err != nil {
		return nil, err
	}
	parsed.Swagger, parsed.Info = "", nil
	more, err := proto.Marshal(parsed)
	if err != nil {
		return nil, err
	}
	return pack(append(content, more...))
}
