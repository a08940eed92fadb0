package body

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"coracle.local/services/apiserver/internal/front/negotiate"
)

func TestReadIsBounded(t *testing.T) {
	tests := []struct {
		name   string
		size   int
		length int64 // as announced
		ok     bool
	}{
		{"small", 10, 10, true},
		{"at the limit", 100, 100, true},
		{"announced too large", 101, 101, false},
		{"too large without announcing", 101, -1, false},
		{"nothing", 0, 0, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", tt.size)))
			r.ContentLength = tt.length
			data, err := Read(r, 100)
			if tt.ok && (err != nil || len(data) != tt.size) {
				t.Errorf("%d bytes, %v", len(data), err)
			}
			if !tt.ok && (!apierrors.IsRequestEntityTooLargeError(err) || err.Error() != "Request entity too large: limit is 100") {
				t.Errorf("error %v", err)
			}
		})
	}
}

var (
	pod       = Expected{Kind: corev1.SchemeGroupVersion.WithKind("Pod")}
	configMap = Expected{Kind: corev1.SchemeGroupVersion.WithKind("ConfigMap")}
)

// The messages are upstream's, as its API server answered.
func TestDecodeRefusals(t *testing.T) {
	probe := `struct { APIVersion string \"json:\\\"apiVersion,omitempty\\\"\"; Kind string \"json:\\\"kind,omitempty\\\"\" }`
	probe = strings.NewReplacer(`\"`, `"`, `\\`, `\`).Replace(probe)
	tests := []struct {
		name, data string
		encoding   negotiate.Encoding
		want       Expected
		into       runtime.Object
		message    string
	}{
		{"empty", "", negotiate.JSON, pod, &corev1.Pod{}, "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: unexpected end of JSON input (<empty>)"},
		{"cut off", "{", negotiate.JSON, pod, &corev1.Pod{}, "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: unexpected end of JSON input ({)"},
		{"a word", "hello", negotiate.JSON, pod, &corev1.Pod{}, "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: invalid character 'h' looking for beginning of value (68656c6c6f)"},
		{"a list", "[]", negotiate.JSON, pod, &corev1.Pod{}, "the object provided is unrecognized (must be of type Pod): couldn't get version/kind; json parse error: json: cannot unmarshal array into Go value of type " + probe + " (5b5d)"},
		{"no such kind", `{"kind":"Foo","apiVersion":"v1"}`, negotiate.JSON, pod, &corev1.Pod{}, `Foo in version "v1" cannot be handled as a Pod: no kind "Foo" is registered for version "v1" in scheme "pkg/runtime/scheme.go:111"`},
		{"no such version", `{"kind":"Pod","apiVersion":"v2"}`, negotiate.JSON, pod, &corev1.Pod{}, `Pod in version "v2" cannot be handled as a Pod: no kind "Pod" is registered for version "v2" in scheme "pkg/runtime/scheme.go:111"`},
		{"another kind", `{"kind":"Service","apiVersion":"v1"}`, negotiate.JSON, pod, &corev1.Pod{}, `Service in version "v1" cannot be handled as a Pod: converting (v1.Service) to (core.Pod): unknown conversion`},
		{"another group's kind", `{"kind":"Deployment","apiVersion":"apps/v1"}`, negotiate.JSON, pod, &corev1.Pod{}, `Deployment in version "v1" cannot be handled as a Pod: converting (v1.Deployment) to (core.Pod): unknown conversion`},
		{"wrong type in metadata", `{"kind":"Pod","apiVersion":"v1","metadata":{"name":5}}`, negotiate.JSON, pod, &corev1.Pod{}, `Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal number into Go struct field ObjectMeta.metadata.name of type string`},
		{"wrong type in spec", `{"kind":"Pod","apiVersion":"v1","spec":{"containers":{"a":1}}}`, negotiate.JSON, pod, &corev1.Pod{}, `Pod in version "v1" cannot be handled as a Pod: json: cannot unmarshal object into Go struct field PodSpec.spec.containers of type []v1.Container`},
		{"not protobuf", `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x"}}`, negotiate.Protobuf, configMap, &corev1.ConfigMap{}, `the object provided is unrecognized (must be of type ConfigMap): provided data does not appear to be a protobuf message, expected prefix [107 56 115 0] ({"kind":"ConfigMap","apiVersio ...)`},
		{"broken protobuf", "k8s\x00garbage", negotiate.Protobuf, configMap, &corev1.ConfigMap{}, "the object provided is unrecognized (must be of type ConfigMap): proto: illegal wireType 7 (6b38730067617262616765)"},
		{"broken yaml", "kind: ConfigMap\n  apiVersion: v1\n", negotiate.YAML, configMap, &corev1.ConfigMap{}, "the object provided is unrecognized (must be of type ConfigMap): yaml: line 2: mapping values are not allowed in this context (6b696e643a20436f6e6669674d61700a202061706956657273696f6e3a20 ...)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := Decode([]byte(tt.data), tt.encoding, tt.want, tt.into, Warn)
			if !apierrors.IsBadRequest(err) || err.Error() != tt.message {
				t.Errorf("got  %v\nwant %s", err, tt.message)
			}
		})
	}
}

func TestStrictness(t *testing.T) {
	const inJSON = `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x","foo":1},"data":{"a":"b","a":"c"},"spec":2}`
	const inYAML = "kind: ConfigMap\napiVersion: v1\nmetadata:\n  name: y1\n  name: y2\n  foo: 3\n"
	tests := []struct {
		name, data string
		encoding   negotiate.Encoding
		strictness string
		warnings   []string
		err        string
	}{
		{"warned of by default", inJSON, negotiate.JSON, "", []string{`unknown field "metadata.foo"`, `duplicate field "data.a"`, `unknown field "spec"`}, ""},
		{"ignored", inJSON, negotiate.JSON, "Ignore", nil, ""},
		{"refused", inJSON, negotiate.JSON, "Strict", nil, `ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "metadata.foo", duplicate field "data.a", unknown field "spec"`},
		{"yaml warned of", inYAML, negotiate.YAML, "Warn", []string{`line 5: key "name" already set in map`, `unknown field "metadata.foo"`}, ""},
		{"yaml refused", inYAML, negotiate.YAML, "Strict", nil, "ConfigMap in version \"v1\" cannot be handled as a ConfigMap: strict decoding error: yaml: unmarshal errors:\n  line 5: key \"name\" already set in map, unknown field \"metadata.foo\""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := &corev1.ConfigMap{}
			warnings, err := Decode([]byte(tt.data), tt.encoding, configMap, o, StrictnessOf(tt.strictness))
			if diff := cmp.Diff(tt.warnings, warnings); diff != "" {
				t.Error(diff)
			}
			if (err == nil) != (tt.err == "") || (err != nil && err.Error() != tt.err) {
				t.Errorf("got  %v\nwant %s", err, tt.err)
			}
		})
	}
}

func TestWhatIsLeftOutIsAsWanted(t *testing.T) {
	for _, data := range []string{
		`{"metadata":{"name":"n"}}`, `{"kind":"ConfigMap","metadata":{"name":"n"}}`, `{"apiVersion":"v1","metadata":{"name":"n"}}`,
	} {
		o := &corev1.ConfigMap{}
		if _, err := Decode([]byte(data), negotiate.JSON, configMap, o, Strict); err != nil || o.Name != "n" || o.Kind != "" {
			t.Errorf("%s: %+v, %v", data, o, err)
		}
	}
}

func TestProtobufRoundTrip(t *testing.T) {
	o := &corev1.ConfigMap{Data: map[string]string{"a": "b"}}
	raw, err := o.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := (&runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, Raw: raw}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	got := &corev1.ConfigMap{}
	if _, err := Decode(append([]byte("k8s\x00"), envelope...), negotiate.Protobuf, configMap, got, Warn); err != nil || got.Data["a"] != "b" {
		t.Errorf("%v, %v", got, err)
	}
}

func TestDeleteOptions(t *testing.T) {
	tests := []struct{ data, err string }{
		{`{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":3}`, ""},
		{`{"kind":"DeleteOptions","apiVersion":"apps/v1","gracePeriodSeconds":3}`, ""},
		{`{"kind":"DeleteOptions","apiVersion":"meta.k8s.io/v1","gracePeriodSeconds":3}`, ""},
		{`{"gracePeriodSeconds":3}`, ""},
		{`{"gracePeriodSeconds":"x"}`, "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64"},
		{`{"kind":"Foo"}`, `no kind "Foo" is registered for version "meta.k8s.io/v1" in scheme "pkg/runtime/scheme.go:111"`},
	}
	for _, tt := range tests {
		t.Run(tt.data, func(t *testing.T) {
			o, err := DeleteOptions([]byte(tt.data), negotiate.JSON)
			if tt.err == "" && (err != nil || *o.GracePeriodSeconds != 3) {
				t.Errorf("%+v, %v", o, err)
			}
			if tt.err != "" && (err == nil || err.Error() != tt.err) {
				t.Errorf("got  %v\nwant %s", err, tt.err)
			}
		})
	}
}
