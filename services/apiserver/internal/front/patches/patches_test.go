package patches

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/services/apiserver/internal/front/body"
)

func patch(t types.PatchType, data string) *Patch {
	return &Patch{
		Type: t, Data: []byte(data), Strictness: body.Warn,
		Kind: corev1.SchemeGroupVersion.WithKind("ConfigMap"), New: func() runtime.Object { return &corev1.ConfigMap{} },
	}
}

func configMap() *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "default", ResourceVersion: "7", Labels: map[string]string{"q": "r"}},
		Data:       map[string]string{"x": "y"},
	}
}

func TestApply(t *testing.T) {
	tests := []struct {
		name     string
		kind     types.PatchType
		data     string
		want     map[string]string
		warnings []string
	}{
		{"json", types.JSONPatchType, `[{"op":"add","path":"/data/k","value":"v"},{"op":"remove","path":"/data/x"}]`, map[string]string{"k": "v"}, nil},
		{"json with unknown field", types.JSONPatchType, `[{"op":"add","path":"/data/k","value":"v","foo":1}]`, map[string]string{"k": "v", "x": "y"}, []string{`json patch unknown field "[0].foo"`}},
		{"merge", types.MergePatchType, `{"data":{"k":"v","x":null}}`, map[string]string{"k": "v"}, nil},
		{"merge with wrong fields", types.MergePatchType, `{"foo":1,"data":{"k":"1","k":"2"}}`, map[string]string{"k": "2", "x": "y"}, []string{`duplicate field "data.k"`, `unknown field "foo"`}},
		{"strategic", types.StrategicMergePatchType, `{"data":{"k":"v"}}`, map[string]string{"k": "v", "x": "y"}, nil},
		{"strategic with wrong fields", types.StrategicMergePatchType, `{"foo":1,"data":{"k":"1","k":"2"}}`, map[string]string{"k": "2", "x": "y"}, []string{`duplicate field "data.k"`, `unknown field "foo"`}},
		{"strategic cannot change the kind", types.StrategicMergePatchType, `{"kind":"Pod"}`, map[string]string{"x": "y"}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := configMap()
			got, warnings, err := patch(tt.kind, tt.data).Apply(before)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got.(*corev1.ConfigMap).Data); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(tt.warnings, warnings); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(configMap(), before); diff != "" {
				t.Errorf("the current object changed: %s", diff)
			}
			if got.(*corev1.ConfigMap).Kind != "" {
				t.Error("the kind is set")
			}
		})
	}
}

// The messages are upstream's, as its API server answered.
func TestRefusals(t *testing.T) {
	tests := []struct {
		name       string
		kind       types.PatchType
		data       string
		strictness body.Strictness
		code       int
		message    string
	}{
		{"json that is an object", types.JSONPatchType, `{"a":1}`, body.Warn, 400, "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp"},
		{"failed test", types.JSONPatchType, `[{"op":"test","path":"/data/x","value":"nope"}]`, body.Warn, 422, "the server rejected our request due to an error in our request"},
		{"unknown operation", types.JSONPatchType, `[{"op":"frob","path":"/data/x"}]`, body.Warn, 422, "the server rejected our request due to an error in our request"},
		{"too many operations", types.JSONPatchType, `[` + strings.Repeat(`{"op":"test","path":"/data/x","value":"y"},`, maxOperations) + `{"op":"test","path":"/data/x","value":"y"}]`, body.Warn, 413, "Request entity too large: The allowed maximum operations in a JSON patch is 10000, got 10001"},
		{"merge that is a list", types.MergePatchType, `[]`, body.Warn, 400, "error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}"},
		{"merge of a wrong type", types.MergePatchType, `{"data":{"x":5}}`, body.Warn, 422, `json: cannot unmarshal number into Go struct field ConfigMap.data of type string`},
		{"merge into another kind", types.MergePatchType, `{"kind":"Pod"}`, body.Warn, 422, `converting (v1.Pod) to (core.ConfigMap): unknown conversion`},
		{"merge, strictly", types.MergePatchType, `{"foo":1}`, body.Strict, 422, `strict decoding error: unknown field "foo"`},
		{"strategic that is a list", types.StrategicMergePatchType, `[]`, body.Warn, 400, "json: cannot unmarshal array into Go value of type map[string]interface {}"},
		{"strategic of a wrong type", types.StrategicMergePatchType, `{"data":{"x":5}}`, body.Warn, 422, ` "" is invalid: patch: Invalid value: "map[data:map[x:5]]": cannot convert int64 to string`},
		{"strategic, strictly", types.StrategicMergePatchType, `{"foo":1,"data":{"k":"1","k":"2"}}`, body.Strict, 422, ` "" is invalid: patch: Invalid value: "map[data:map[k:2] foo:1]": strict decoding error: duplicate field "data.k", unknown field "foo"`},
		{"strategic with a bad directive", types.StrategicMergePatchType, `{"data":{"$patch":"nope"}}`, body.Warn, 500, ""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			p := patch(tt.kind, tt.data)
			p.Strictness = tt.strictness
			_, _, err := p.Apply(configMap())
			if err == nil {
				t.Fatal("no error")
			}
			if !strings.HasSuffix(err.Error(), tt.message) {
				t.Errorf("got  %v\nwant %s", err, tt.message)
			}
			if status, ok := err.(apierrors.APIStatus); ok && int(status.Status().Code) != tt.code {
				t.Errorf("code %d, want %d", status.Status().Code, tt.code)
			}
		})
	}
}

func TestTypeOf(t *testing.T) {
	tests := []struct {
		contentType string
		want        types.PatchType
		ok          bool
	}{
		{"application/merge-patch+json; charset=utf-8", types.MergePatchType, true},
		{"application/apply-patch+yaml", types.ApplyYAMLPatchType, true},
		{"application/apply-patch+cbor", "", false},
		{"application/json", "", false},
		{"", "", false},
	}
	for _, tt := range tests {
		r := httptest.NewRequest(http.MethodPatch, "/", http.NoBody)
		r.Header.Set("Content-Type", tt.contentType)
		if got, err := TypeOf(r); got != tt.want || (err == nil) != tt.ok {
			t.Errorf("%q: %q, %v", tt.contentType, got, err)
		}
	}
}

func TestCheck(t *testing.T) {
	if err := patch(types.MergePatchType, "{").Check(); err == nil || err.Error() != "invalid JSON patch" {
		t.Error(err)
	}
}

func TestSetsVersion(t *testing.T) {
	tests := []struct {
		kind types.PatchType
		data string
		want bool
	}{
		{types.MergePatchType, `{"metadata":{"labels":{}}}`, false},
		{types.MergePatchType, `{"metadata":{"resourceVersion":"1"}}`, true},
		{types.StrategicMergePatchType, `{"metadata":{"resourceVersion":"1"}}`, true},
		{types.JSONPatchType, `[{"op":"replace","path":"/metadata/resourceVersion","value":"1"}]`, true},
		{types.JSONPatchType, `[{"op":"test","path":"/metadata/resourceVersion","value":"1"}]`, false},
	}
	for _, tt := range tests {
		if got := patch(tt.kind, tt.data).SetsVersion(); got != tt.want {
			t.Errorf("%s: %v", tt.data, got)
		}
	}
}

func FuzzApply(f *testing.F) {
	f.Add(0, `[{"op":"add","path":"/data/k","value":"v"}]`)
	f.Add(1, `{"data":{"x":null}}`)
	f.Add(2, `{"data":{"$patch":"replace"},"metadata":{"finalizers":["a"]}}`)
	kinds := []types.PatchType{types.JSONPatchType, types.MergePatchType, types.StrategicMergePatchType}
	f.Fuzz(func(_ *testing.T, kind int, data string) {
		p := patch(kinds[uint(kind)%3], data)
		if p.Check() == nil {
			_, _, _ = p.Apply(configMap())
		}
	})
}
