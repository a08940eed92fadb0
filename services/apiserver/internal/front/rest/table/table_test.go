package table

import (
	"encoding/json"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/strategy"
)

func configMap() *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "c", Namespace: "n", Labels: map[string]string{"a": "b"}},
		Data:       map[string]string{"x": "y"},
	}
}

func printer() Printer {
	return For(kinds.For[*corev1.ConfigMap](), strategy.Kind[*corev1.ConfigMap]{
		Columns: []metav1.TableColumnDefinition{{Name: "Name", Type: "string"}, {Name: "Data", Type: "integer"}},
		Cells:   func(c *corev1.ConfigMap) []any { return []any{c.Name, len(c.Data)} },
	}.Erase())
}

func TestTable(t *testing.T) {
	const columns = `"columnDefinitions":[{"name":"Name","type":"string","format":"","description":"","priority":0},{"name":"Data","type":"integer","format":"","description":"","priority":0}]`
	const metadata = `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"c","namespace":"n","labels":{"a":"b"}}}`
	tests := []struct {
		name    string
		include metav1.IncludeObjectPolicy
		headers bool
		want    string
	}{
		{"with metadata", metav1.IncludeMetadata, true, `{"metadata":{"resourceVersion":"7"},` + columns + `,"rows":[{"cells":["c",1],"object":` + metadata + `}]}`},
		{"with the object", metav1.IncludeObject, true, `{"metadata":{"resourceVersion":"7"},` + columns + `,"rows":[{"cells":["c",1],"object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"c","namespace":"n","labels":{"a":"b"}},"data":{"x":"y"}}}]}`},
		{"with nothing", metav1.IncludeNone, true, `{"metadata":{"resourceVersion":"7"},` + columns + `,"rows":[{"cells":["c",1],"object":null}]}`},
		{"continued", metav1.IncludeNone, false, `{"metadata":{"resourceVersion":"7"},"columnDefinitions":null,"rows":[{"cells":["c",1],"object":null}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := printer()
			rows := []metav1.TableRow{p.Row(configMap(), "v1", tt.include)}
			got, err := json.Marshal(p.Table("v1", metav1.ListMeta{ResourceVersion: "7"}, rows, tt.headers))
			if err != nil || string(got) != tt.want {
				t.Errorf("got  %s, %v\nwant %s", got, err, tt.want)
			}
		})
	}
}

func TestKindsWithoutColumnsHaveUpstreamsDefault(t *testing.T) {
	p := For(kinds.For[*corev1.ConfigMap](), &strategy.Erased{})
	row := p.Row(configMap(), "v1", metav1.IncludeNone)
	columns := p.Table("v1", metav1.ListMeta{}, nil, true).ColumnDefinitions
	if len(row.Cells) != 2 || len(columns) != 2 || columns[1].Name != "Created At" {
		t.Errorf("%v, %v", row.Cells, columns)
	}
}

func TestMetadataOfAFrameIsTheObjects(t *testing.T) {
	frame, err := configMap().Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got, err := FrameMetadata(frame, "v1beta1")
	if err != nil {
		t.Fatal(err)
	}
	want := Metadata(configMap(), "v1beta1")
	a, _ := json.Marshal(got)
	b, _ := json.Marshal(want)
	if string(a) != string(b) || got.APIVersion != "meta.k8s.io/v1beta1" {
		t.Errorf("got %s, want %s", a, b)
	}
}
