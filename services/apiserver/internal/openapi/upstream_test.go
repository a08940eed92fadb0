package openapi

import (
	"encoding/json"
	"maps"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"sigs.k8s.io/yaml"
)

// testDefinitions are those whose objects' behaviour is compared with
// upstream's, too.
func testDefinitions(t *testing.T) []Source {
	t.Helper()
	var out []Source
	for _, name := range []string{"values", "rules", "subresources", "versions"} {
		data, err := os.ReadFile("../custom/testdata/" + name + ".yaml")
		if err != nil {
			t.Fatal(err)
		}
		var file struct {
			Definition *apiextensionsv1.CustomResourceDefinition `json:"definition"`
		}
		if err := yaml.Unmarshal(data, &file); err != nil {
			t.Fatal(err)
		}
		file.Definition.Spec.Names.ListKind = file.Definition.Spec.Names.Kind + "List"
		out = append(out, Source{file.Definition, func() *apiextensionsv1.CustomResourceDefinition { return file.Definition }})
	}
	return out
}

// TestUpstreamsDocuments compares what is published of the test's definitions
// with what upstream's server has published of them: the v3 document of their
// group version, and their part of the v2 document.
func TestUpstreamsDocuments(t *testing.T) {
	d := New()
	set(d, testDefinitions(t)...)
	v3 := map[string]any{}
	decode(t, ask(t, d, "/openapi/v3/apis/example.com/v1", "application/json"), &v3)
	// Upstream names every group version that it was built with.
	delete(v3["components"].(map[string]any)["schemas"].(map[string]any)["io.k8s.apimachinery.pkg.apis.meta.v1.DeleteOptions"].(map[string]any), "x-kubernetes-group-version-kind")
	compare(t, "custom_v3", v3)

	var v2 struct {
		Paths       map[string]any `json:"paths"`
		Definitions map[string]any `json:"definitions"`
	}
	decode(t, ask(t, d, "/openapi/v2", "application/json"), &v2)
	builtIn := func(name string, _ any) bool { return !strings.Contains(name, "example") }
	maps.DeleteFunc(v2.Paths, builtIn)
	maps.DeleteFunc(v2.Definitions, builtIn)
	compare(t, "custom_v2", map[string]any{"paths": v2.Paths, "definitions": v2.Definitions})
}

func compare(t *testing.T, name string, got map[string]any) {
	t.Helper()
	packed, err := os.ReadFile("testdata/" + name + ".json.gz")
	if err != nil {
		t.Fatal(err)
	}
	content, err := unpack(packed)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{}
	if err := json.Unmarshal(content, &want); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("upstream's document (-) is not ours (+):\n%.4000s", diff)
	}
}
