package column

import (
	"reflect"
	"testing"
	"time"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
)

func column(kind, path string) apiextensionsv1.CustomResourceColumnDefinition {
	return apiextensionsv1.CustomResourceColumnDefinition{Name: "C", Type: kind, JSONPath: path}
}

func TestCells(t *testing.T) {
	tree := map[string]any{
		"metadata": map[string]any{"name": "a"},
		"spec": map[string]any{
			"n": int64(3), "f": 2.5, "s": "text", "b": true, "null": nil, "list": []any{"x", int64(1)},
			"then": time.Now().Add(-90 * time.Second).UTC().Format(time.RFC3339), "epoch": "x",
		},
	}
	for _, c := range []struct {
		kind, path string
		want       any
	}{
		{"integer", ".spec.n", int64(3)},
		{"integer", ".spec.f", int64(2)},
		{"integer", ".spec.s", nil},
		{"number", ".spec.n", 3.0},
		{"number", ".spec.f", 2.5},
		{"boolean", ".spec.b", true},
		{"boolean", ".spec.n", nil},
		{"string", ".spec.s", "text"},
		{"string", ".spec.n", "3"},
		{"string", ".spec.b", "true"},
		{"string", ".spec.list", `["x",1]`},
		{"string", ".spec.list[0]", "x"},
		{"string", ".spec.list[7]", nil},
		{"string", ".spec.none.deep", nil},
		{"date", ".spec.then", "90s"},
		{"date", ".spec.epoch", "<invalid>"},
		{"date", ".spec.n", nil},
		{"integer", ".spec.null", nil},
	} {
		t.Run(c.kind+c.path, func(t *testing.T) {
			got := New([]apiextensionsv1.CustomResourceColumnDefinition{column(c.kind, c.path)}).Cells(tree)
			if want := []any{"a", c.want}; !reflect.DeepEqual(got, want) {
				t.Errorf("got %#v, want %#v", got, want)
			}
		})
	}
}

func TestHeaders(t *testing.T) {
	names := func(table *Table) (out []string) {
		for _, h := range table.Headers() {
			out = append(out, h.Name)
		}
		return out
	}
	if got := names(New(nil)); !reflect.DeepEqual(got, []string{"Name", "Age"}) {
		t.Errorf("without columns there are %v", got)
	}
	broken := New([]apiextensionsv1.CustomResourceColumnDefinition{column("string", ".a"), column("string", "["), column("string", ".b")})
	if got := names(broken); !reflect.DeepEqual(got, []string{"Name", "C"}) || len(broken.Cells(nil)) != 2 {
		t.Errorf("with a broken path there are %v", got)
	}
	if got := New([]apiextensionsv1.CustomResourceColumnDefinition{column("string", ".a")}).Headers()[1].Description; got != "Custom resource definition column (in JSONPath format): .a" {
		t.Errorf("described as %q", got)
	}
}
