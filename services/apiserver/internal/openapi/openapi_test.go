package openapi

import (
	"compress/gzip"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	openapiv3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"

	"coracle.local/libs/kinds"
)

func get(t *testing.T, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	New().ServeHTTP(w, r)
	return w
}

func TestNegotiation(t *testing.T) {
	const v2pb = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
	const v3pb = "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"
	tests := []struct {
		name, path, accept string
		code               int
		contentType        string
	}{
		{"v2 by default is JSON", "/openapi/v2", "", 200, "application/json"},
		{"v2 as client-go asks", "/openapi/v2", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf", 200, v2pb},
		{"v2 prefers the first", "/openapi/v2", v2pb + ",application/json", 200, v2pb},
		{"v2 not acceptable", "/openapi/v2", "text/html", 406, ""},
		{"v3 index", "/openapi/v3", "", 200, "application/json"},
		{"v3 document", "/openapi/v3/apis/apps/v1", "application/json", 200, "application/json"},
		{"v3 protobuf", "/openapi/v3/api/v1", v3pb, 200, v3pb},
		{"v3 unknown", "/openapi/v3/apis/nope/v1", "", 404, ""},
		{"neither", "/openapi/v4", "", 404, "text/plain; charset=utf-8"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := get(t, tt.path, "Accept", tt.accept)
			if w.Code != tt.code || w.Header().Get("Content-Type") != tt.contentType {
				t.Errorf("got %d %q, want %d %q", w.Code, w.Header().Get("Content-Type"), tt.code, tt.contentType)
			}
		})
	}
}

func TestIndexedDocumentsAreServedAndMayBeKept(t *testing.T) {
	var index struct {
		Paths map[string]struct {
			URL string `json:"serverRelativeURL"`
		}
	}
	if err := json.Unmarshal(get(t, "/openapi/v3").Body.Bytes(), &index); err != nil {
		t.Fatal(err)
	}
	if len(index.Paths) < 40 {
		t.Fatalf("the index has %d documents", len(index.Paths))
	}
	for name, p := range index.Paths {
		w := get(t, p.URL)
		if w.Code != 200 || w.Header().Get("Cache-Control") != "public, immutable" {
			t.Fatalf("%s: %d, Cache-Control %q", name, w.Code, w.Header().Get("Cache-Control"))
		}
		if got := w.Header().Get("Content-Length"); got != itoa(w.Body.Len()) {
			t.Errorf("%s: Content-Length %s of %d bytes", name, got, w.Body.Len())
		}
		var document map[string]any
		if err := json.Unmarshal(w.Body.Bytes(), &document); err != nil || document["openapi"] != "3.0.0" {
			t.Errorf("%s: %v, %v", name, document["openapi"], err)
		}
	}
	if w := get(t, "/openapi/v3/apis/apps/v1?hash=STALE"); w.Code != 301 || w.Header().Get("Location") != index.Paths["apis/apps/v1"].URL {
		t.Errorf("a stale hash: %d to %q", w.Code, w.Header().Get("Location"))
	}
}

func itoa(n int) string {
	b, _ := json.Marshal(n)
	return string(b)
}

func TestCompressedAndUnchanged(t *testing.T) {
	plain := get(t, "/openapi/v2")
	packed := get(t, "/openapi/v2", "Accept-Encoding", "gzip")
	z, err := gzip.NewReader(packed.Body)
	if err != nil {
		t.Fatal(err)
	}
	unpacked, err := io.ReadAll(z)
	if err != nil || string(unpacked) != plain.Body.String() {
		t.Errorf("the compressed document is another one (%v)", err)
	}
	etag := plain.Header().Get("Etag")
	if w := get(t, "/openapi/v2", "If-None-Match", etag); w.Code != 304 || w.Body.Len() != 0 {
		t.Errorf("If-None-Match: %d with %d bytes", w.Code, w.Body.Len())
	}
}

// What kubectl reads in the documents: kinds by group version, merge keys,
// operations with dryRun and fieldValidation.
func TestContent(t *testing.T) {
	var v2 struct {
		Definitions map[string]map[string]any
		Paths       map[string]map[string]json.RawMessage
	}
	if err := json.Unmarshal(get(t, "/openapi/v2").Body.Bytes(), &v2); err != nil {
		t.Fatal(err)
	}
	pod, _ := json.Marshal(v2.Definitions["io.k8s.api.core.v1.Pod"])
	if !strings.Contains(string(pod), `{"group":"","kind":"Pod","version":"v1"}`) {
		t.Errorf("a pod's definition does not name its kind: %.200s", pod)
	}
	spec, _ := json.Marshal(v2.Definitions["io.k8s.api.core.v1.PodSpec"])
	for _, want := range []string{`"x-kubernetes-patch-merge-key":"name"`, `"x-kubernetes-patch-strategy":"merge"`} {
		if !strings.Contains(string(spec), want) {
			t.Errorf("a pod spec's definition lacks %s", want)
		}
	}
	patch := string(v2.Paths["/api/v1/namespaces/{namespace}/pods/{name}"]["patch"])
	for _, want := range []string{`"name":"dryRun"`, `"name":"fieldValidation"`, `"kind":"Pod"`} {
		if !strings.Contains(patch, want) {
			t.Errorf("the operation to patch a pod lacks %s", want)
		}
	}
}

// TestDocumentsAreFresh fails where the table of kinds changed and the documents
// were not generated again.
func TestDocumentsAreFresh(t *testing.T) {
	var v2 struct{ Paths map[string]json.RawMessage }
	if err := json.Unmarshal(get(t, "/openapi/v2").Body.Bytes(), &v2); err != nil {
		t.Fatal(err)
	}
	for _, k := range kinds.All() {
		at := "/apis/" + k.APIVersion() + "/"
		if k.Group == "" {
			at = "/api/v1/"
		}
		if k.Namespaced {
			at += "namespaces/{namespace}/"
		}
		at += k.Plural
		if v2.Paths[at] == nil {
			t.Errorf("%s is not documented", at)
		}
		for _, sub := range k.Subresources {
			if v2.Paths[at+"/{name}/"+sub] == nil {
				t.Errorf("%s of %s is not documented", sub, at)
			}
		}
	}
}

func TestProtobufParses(t *testing.T) {
	var v2 openapiv2.Document
	if err := proto.Unmarshal(get(t, "/openapi/v2", "Accept", "application/com.github.proto-openapi.spec.v2@v1.0+protobuf").Body.Bytes(), &v2); err != nil {
		t.Error(err)
	}
	if len(v2.GetDefinitions().GetAdditionalProperties()) < 500 {
		t.Errorf("v2 has %d definitions", len(v2.GetDefinitions().GetAdditionalProperties()))
	}
	var v3 openapiv3.Document
	if err := proto.Unmarshal(get(t, "/openapi/v3/apis/apps/v1", "Accept", "application/com.github.proto-openapi.spec.v3@v1.0+protobuf").Body.Bytes(), &v3); err != nil {
		t.Error(err)
	}
}

func TestTypesHaveTheKeysOfLists(t *testing.T) {
	types, err := Types()
	if err != nil {
		t.Fatal(err)
	}
	spec, ok := types.FindNamedType("io.k8s.api.core.v1.Container")
	if !ok {
		t.Fatalf("no container among %d types", len(types.Types))
	}
	ports, ok := spec.Map.FindField("ports")
	if !ok || strings.Join(ports.Type.Inlined.List.Keys, ",") != "containerPort,protocol" {
		t.Errorf("ports: %+v", ports.Type.Inlined.List)
	}
}

func BenchmarkTypes(b *testing.B) {
	for b.Loop() {
		if _, err := Types(); err != nil {
			b.Fatal(err)
		}
	}
}
