package openapi

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	openapiv2 "github.com/google/gnostic-models/openapiv2"
	openapiv3 "github.com/google/gnostic-models/openapiv3"
	"google.golang.org/protobuf/proto"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/types"
)

// definition is served in v1 and kept in v2.
func definition(plural, kind string, generation int64) Source {
	crd := &apiextensionsv1.CustomResourceDefinition{}
	crd.Name, crd.UID, crd.Generation = plural+".example.com", types.UID(plural), generation
	crd.Spec = apiextensionsv1.CustomResourceDefinitionSpec{
		Group: "example.com", Scope: apiextensionsv1.NamespaceScoped,
		Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Kind: kind, ListKind: kind + "List"},
		Versions: []apiextensionsv1.CustomResourceDefinitionVersion{
			{Name: "v1", Served: true}, {Name: "v2", Storage: true},
		},
	}
	whole := crd.DeepCopy()
	for i := range whole.Spec.Versions {
		whole.Spec.Versions[i].Schema = &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &apiextensionsv1.JSONSchemaProps{
			Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"spec": {Type: "string", Description: kind + "'s"}},
		}}
	}
	return Source{crd, func() *apiextensionsv1.CustomResourceDefinition { return whole }}
}

func set(d *Documents, sources ...Source) { d.Set(func() []Source { return sources }) }

func ask(t *testing.T, d *Documents, path, accept string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, nil)
	r.Header.Set("Accept", accept)
	w := httptest.NewRecorder()
	d.ServeHTTP(w, r)
	return w
}

func TestCustomDocuments(t *testing.T) {
	d := New()
	const group = "/openapi/v3/apis/example.com/v1"
	if code := ask(t, d, group, "application/json").Code; code != http.StatusNotFound {
		t.Fatalf("%d before there is a definition", code)
	}
	builtIn := ask(t, d, "/openapi/v2", "application/json").Body.Len()
	set(d, definition("foos", "Foo", 1), definition("bars", "Bar", 1))
	if code := ask(t, d, "/openapi/v3/apis/example.com/v2", "application/json").Code; code != http.StatusNotFound {
		t.Errorf("%d for a version that is not served", code)
	}

	var v3 struct {
		Components struct{ Schemas map[string]json.RawMessage }
		Paths      map[string]json.RawMessage
	}
	decode(t, ask(t, d, group, "application/json"), &v3)
	for _, name := range []string{"com.example.v1.Foo", "com.example.v1.BarList", "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"} {
		if v3.Components.Schemas[name] == nil {
			t.Errorf("no schema %s in the v3 document", name)
		}
	}
	if v3.Paths["/apis/example.com/v1/namespaces/{namespace}/foos/{name}"] == nil {
		t.Errorf("no path of foos in the v3 document")
	}
	var proto3 openapiv3.Document
	message(t, ask(t, d, group, "application/com.github.proto-openapi.spec.v3.v1.0+protobuf"), &proto3)
	if n := len(proto3.Components.Schemas.AdditionalProperties); n != len(v3.Components.Schemas) {
		t.Errorf("%d schemas in protobuf, %d in JSON", n, len(v3.Components.Schemas))
	}

	var v2 struct{ Paths, Definitions, Parameters map[string]json.RawMessage }
	decode(t, ask(t, d, "/openapi/v2", "application/json"), &v2)
	if v2.Definitions["com.example.v1.Foo"] == nil || v2.Definitions["com.example.v1.Bar"] == nil || v2.Definitions["io.k8s.api.core.v1.Pod"] == nil {
		t.Error("definitions are missing in the v2 document")
	}
	var proto2 openapiv2.Document
	message(t, ask(t, d, "/openapi/v2", "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"), &proto2)
	if n := len(proto2.Definitions.AdditionalProperties); n != len(v2.Definitions) || len(proto2.Paths.Path) != len(v2.Paths) {
		t.Errorf("the v2 document has %d definitions and %d paths in protobuf, %d and %d in JSON", n, len(proto2.Paths.Path), len(v2.Definitions), len(v2.Paths))
	}
	if proto2.Swagger != "2.0" || proto2.Info.Title != "Kubernetes" {
		t.Errorf("the v2 document became one of %s", proto2.Info.Title)
	}

	set(d)
	if code := ask(t, d, group, "application/json").Code; code != http.StatusNotFound {
		t.Errorf("%d after the definitions are gone", code)
	}
	if n := ask(t, d, "/openapi/v2", "application/json").Body.Len(); n != builtIn {
		t.Errorf("%d bytes remain in the v2 document", n-builtIn)
	}
}

func decode(t *testing.T, w *httptest.ResponseRecorder, into any) {
	t.Helper()
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	if err := json.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatal(err)
	}
}

func message(t *testing.T, w *httptest.ResponseRecorder, into proto.Message) {
	t.Helper()
	if w.Code != http.StatusOK {
		t.Fatalf("%d: %s", w.Code, w.Body)
	}
	if err := proto.Unmarshal(w.Body.Bytes(), into); err != nil {
		t.Fatal(err)
	}
}

// TestHashes: clients keep documents as long as their hashes are the same.
func TestHashes(t *testing.T) {
	d := New()
	etags := func() map[string]string {
		out := map[string]string{}
		for _, path := range []string{"/openapi/v2", "/openapi/v3", "/openapi/v3/apis/example.com/v1", "/openapi/v3/apis/apps/v1"} {
			out[path] = ask(t, d, path, "application/json").Header().Get("Etag")
		}
		return out
	}
	set(d, definition("foos", "Foo", 1))
	before := etags()
	set(d, definition("foos", "Foo", 1))
	for path, etag := range etags() {
		if before[path] != etag {
			t.Errorf("%s got another hash for nothing", path)
		}
	}
	set(d, definition("foos", "Foo", 2))
	for path, etag := range etags() {
		if changes := path != "/openapi/v3/apis/apps/v1"; (before[path] != etag) != changes {
			t.Errorf("%s: the hash changes: %v", path, !changes)
		}
	}
}

// TestKept: a change of one definition leaves what was made for others.
func TestKept(t *testing.T) {
	d := New()
	foo, bar := definition("foos", "Foo", 1), definition("bars", "Bar", 1)
	set(d, foo, bar)
	before := d.customs()
	set(d, definition("bars", "Bar", 2), foo)
	after := d.customs()
	if before.definitions[1] != after.definitions[1] {
		t.Error("what did not change was dropped")
	}
	if before.definitions[0] == after.definitions[0] {
		t.Error("what changed was kept")
	}
}
