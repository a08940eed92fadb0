package rest

import (
	"encoding/json"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"coracle.local/libs/kinds"
)

func decode[T any](t *testing.T, w *httptest.ResponseRecorder) (out T) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return out
}

func TestCreate(t *testing.T) {
	f := newFront(t)
	tests := []struct {
		name, path, body string
		headers          []string
		code             int
		message          string
	}{
		{"as it is", configMaps, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"}}`, nil, 201, ""},
		{"again", configMaps, `{"metadata":{"name":"a"}}`, nil, 409, `configmaps "a" already exists`},
		{"name to be made", configMaps, `{"metadata":{"generateName":"b-"}}`, nil, 201, ""},
		{"yaml", configMaps, "metadata:\n  name: yml\n", []string{"Content-Type", "application/yaml"}, 201, ""},
		{"another namespace", configMaps, `{"metadata":{"name":"x","namespace":"other"}}`, nil, 400, "the namespace of the provided object does not match the namespace sent on the request"},
		{"namespace of a node is dropped", "/api/v1/nodes", `{"metadata":{"name":"n","namespace":"other"}}`, nil, 201, ""},
		{"text", configMaps, `{}`, []string{"Content-Type", "text/plain"}, 415, "the body of the request was in an unknown format - accepted media types include: application/json, application/yaml, application/vnd.kubernetes.protobuf"},
		{"another kind", configMaps, `{"kind":"Pod","apiVersion":"v1"}`, nil, 400, `Pod in version "v1" cannot be handled as a ConfigMap: converting (v1.Pod) to (core.ConfigMap): unknown conversion`},
		{"strictly", configMaps + "?fieldValidation=Strict", `{"metadata":{"name":"s"},"foo":1}`, nil, 400, `ConfigMap in version "v1" cannot be handled as a ConfigMap: strict decoding error: unknown field "foo"`},
		{"too large", configMaps, strings.Repeat("a", 3<<20+1), nil, 413, "Request entity too large: limit is 3145728"},
		{"wrong options", configMaps + "?dryRun=Foo", `{}`, nil, 422, `CreateOptions.meta.k8s.io "" is invalid: dryRun: Unsupported value: ["Foo"]: supported values: "All"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := f.do("POST", tt.path, tt.body, tt.headers...)
			if w.Code != tt.code || message(w) != tt.message {
				t.Errorf("got %d %q, want %d %q", w.Code, message(w), tt.code, tt.message)
			}
		})
	}
}

func TestCreateWarnsAndNotesWhoSetWhat(t *testing.T) {
	f := newFront(t)
	w := f.do("POST", configMaps, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x","uid":"abc","foo":1},"data":{"a":"b","a":"c"},"spec":2}`)
	want := []string{`299 - "unknown field \"metadata.foo\""`, `299 - "duplicate field \"data.a\""`, `299 - "unknown field \"spec\""`}
	if diff := cmp.Diff(want, w.Header().Values("Warning")); diff != "" {
		t.Error(diff)
	}
	fields := decode[corev1.ConfigMap](t, w).ManagedFields
	if len(fields) != 1 || fields[0].Manager != "oracle" || fields[0].FieldsV1.GetRawString() != `{"f:data":{".":{},"f:a":{}}}` {
		t.Errorf("managed fields %+v", fields)
	}
}

func TestDryRunChangesNothing(t *testing.T) {
	f := newFront(t)
	if w := f.do("POST", configMaps+"?dryRun=All", `{"metadata":{"name":"a"}}`); w.Code != 201 {
		t.Errorf("create %d %s", w.Code, w.Body)
	}
	if w := f.do("GET", configMaps+"/a", ""); w.Code != 404 {
		t.Errorf("it is there: %d", w.Code)
	}
}

func TestOwnersAreDeduplicated(t *testing.T) {
	f := newFront(t)
	owner := `{"apiVersion":"v1","kind":"Pod","name":"p","uid":"u"}`
	w := f.do("POST", configMaps, `{"metadata":{"name":"a","ownerReferences":[`+owner+`,`+owner+`]}}`)
	if got := decode[corev1.ConfigMap](t, w).OwnerReferences; len(got) != 1 {
		t.Errorf("owners %v", got)
	}
	if got := w.Header().Get("Warning"); !strings.Contains(got, "duplicate UID(s) observed: u") {
		t.Errorf("warning %q", got)
	}
}

// The codes and messages are upstream's, as its API server answered.
func TestReplace(t *testing.T) {
	f := newFront(t)
	f.configMap("a", `{"x":"y"}`)
	tests := []struct {
		name, path, body string
		code             int
		message          string
	}{
		{"as it is", "/a", `{"metadata":{"name":"a"},"data":{"x":"z"}}`, 200, ""},
		{"another name", "/a", `{"metadata":{"name":"b"}}`, 400, "the name of the object (b) does not match the name on the URL (a)"},
		{"another namespace", "/a", `{"metadata":{"name":"a","namespace":"z"}}`, 400, "the namespace of the provided object does not match the namespace sent on the request"},
		{"no name", "/a", `{"metadata":{}}`, 400, "the name of the object (a based on URL) was undeterminable: name must be provided"},
		{"stale", "/a", `{"metadata":{"name":"a","resourceVersion":"1"}}`, 409, `Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again`},
		{"absent", "/zz", `{"metadata":{"name":"zz"}}`, 404, `configmaps "zz" not found`},
		{"another version", "/a", `{"apiVersion":"v2","kind":"ConfigMap","metadata":{"name":"a"}}`, 400, `ConfigMap in version "v2" cannot be handled as a ConfigMap: no kind "ConfigMap" is registered for version "v2" in scheme "pkg/runtime/scheme.go:111"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := f.do("PUT", configMaps+tt.path, tt.body)
			if w.Code != tt.code || message(w) != tt.message {
				t.Errorf("got %d %q, want %d %q", w.Code, message(w), tt.code, tt.message)
			}
		})
	}
	if w := f.do("PUT", "/apis/coordination.k8s.io/v1/namespaces/n/leases/e", `{"metadata":{"name":"e"}}`); w.Code != 201 {
		t.Errorf("a kind that a PUT creates: %d %s", w.Code, w.Body)
	}
}

const (
	asJSONPatch  = "application/json-patch+json"
	asMerge      = "application/merge-patch+json"
	asStrategic  = "application/strategic-merge-patch+json"
	asApply      = "application/apply-patch+yaml"
	applied      = `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"x":"mine"}}`
	applyAddress = configMaps + "/a?fieldManager=me"
)

// The codes and messages are upstream's, as its API server answered.
func TestPatch(t *testing.T) {
	tests := []struct {
		name, path, as, body string
		code                 int
		message              string
	}{
		{"merge", "/a", asMerge, `{"metadata":{"labels":{"a":"b"}}}`, 200, ""},
		{"json", "/a", asJSONPatch, `[{"op":"add","path":"/metadata/labels","value":{"q":"r"}}]`, 200, ""},
		{"strategic", "/a", asStrategic, `{"data":{"k":"v"}}`, 200, ""},
		{"plain json", "/a", "application/json", `{}`, 415, "415: Unsupported Media Type"},
		{"cbor", "/a", "application/apply-patch+cbor", `{}`, 415, "415: Unsupported Media Type"},
		{"no json", "/a", asMerge, `{`, 400, "invalid JSON patch"},
		{"no json for what is absent", "/zz", asMerge, `{`, 400, "invalid JSON patch"},
		{"absent", "/zz", asMerge, `{}`, 404, `configmaps "zz" not found`},
		{"another name", "/a", asMerge, `{"metadata":{"name":"q"}}`, 400, "the name of the object (q) does not match the name on the URL (a)"},
		{"another namespace", "/a", asMerge, `{"metadata":{"namespace":"q"}}`, 400, "the namespace of the provided object does not match the namespace sent on the request"},
		{"stale", "/a", asMerge, `{"metadata":{"resourceVersion":"1"}}`, 409, `Operation cannot be fulfilled on configmaps "a": the object has been modified; please apply your changes to the latest version and try again`},
		{"failed test", "/a", asJSONPatch, `[{"op":"test","path":"/data/x","value":"no"}]`, 422, "the server rejected our request due to an error in our request"},
		{"force", "/a?force=1", asMerge, `{}`, 422, `PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch`},
		{"apply without manager", "/a", asApply, applied, 422, `PatchOptions.meta.k8s.io "" is invalid: fieldManager: Required value: is required for apply patch`},
		{"apply of a conflict", "/a?fieldManager=me", asApply, applied, 409, `Apply failed with 1 conflict: conflict with "oracle" using v1: .data.x`},
		{"forced apply", "/a?fieldManager=me&force=1", asApply, applied, 200, ""},
		{"apply of what is absent", "/new?fieldManager=me", asApply, strings.Replace(applied, `"a"`, `"new"`, 1), 201, ""},
		{"apply of an unknown field", "/a?fieldManager=me", asApply, strings.Replace(applied, `"data"`, `"dataz"`, 1), 500, "failed to create typed patch object (/a; /v1, Kind=ConfigMap): .dataz: field not declared in schema"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			f := newFront(t)
			f.configMap("a", `{"x":"y"}`)
			w := f.do("PATCH", configMaps+tt.path, tt.body, "Content-Type", tt.as)
			if w.Code != tt.code || message(w) != tt.message {
				t.Errorf("got %d %q, want %d %q", w.Code, message(w), tt.code, tt.message)
			}
		})
	}
}

func TestPatchIsForWhateverVersionThereIs(t *testing.T) {
	f := newFront(t)
	f.configMap("a", `{"x":"y"}`)
	f.race = func() { f.do("PATCH", configMaps+"/a", `{"data":{"first":"1"}}`, "Content-Type", asMerge) }
	w := f.do("PATCH", configMaps+"/a", `{"data":{"second":"2"}}`, "Content-Type", asMerge)
	got := decode[corev1.ConfigMap](t, w)
	if diff := cmp.Diff(map[string]string{"x": "y", "first": "1", "second": "2"}, got.Data); diff != "" || w.Code != 200 {
		t.Errorf("%d %s", w.Code, diff)
	}
}

func TestApplyMerges(t *testing.T) {
	f := newFront(t)
	f.do("PATCH", applyAddress, applied, "Content-Type", asApply)
	w := f.do("PATCH", configMaps+"/a?fieldManager=other", `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"},"data":{"k":"theirs"}}`, "Content-Type", asApply)
	if diff := cmp.Diff(map[string]string{"x": "mine", "k": "theirs"}, decode[corev1.ConfigMap](t, w).Data); diff != "" {
		t.Error(diff)
	}
	// What the first no longer wants goes; what is the other's stays.
	w = f.do("PATCH", applyAddress, `{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}`, "Content-Type", asApply)
	if diff := cmp.Diff(map[string]string{"k": "theirs"}, decode[corev1.ConfigMap](t, w).Data); diff != "" {
		t.Error(diff)
	}
}

func TestDelete(t *testing.T) {
	f := newFront(t)
	f.configMap("a", "{}")
	tests := []struct {
		name, path, body string
		code             int
		message          string
	}{
		{"wrong type", "/a", `{"gracePeriodSeconds":"x"}`, 400, "json: cannot unmarshal string into Go struct field DeleteOptions.gracePeriodSeconds of type int64"},
		{"wrong value", "/a", `{"propagationPolicy":"Foo"}`, 422, `DeleteOptions.meta.k8s.io "" is invalid: propagationPolicy: Unsupported value: "Foo": supported values: "Foreground", "Background", "Orphan", "nil"`},
		{"wrong query", "/a?gracePeriodSeconds=x", "", 400, `strconv.ParseInt: parsing "x": invalid syntax`},
		{"dry run", "/a?dryRun=All", "", 200, ""},
		{"in earnest", "/a", `{"kind":"DeleteOptions","apiVersion":"v1","gracePeriodSeconds":0}`, 200, ""},
		{"absent", "/a", "", 404, `configmaps "a" not found`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := f.do("DELETE", configMaps+tt.path, tt.body)
			if w.Code != tt.code || message(w) != tt.message {
				t.Errorf("got %d %q, want %d %q", w.Code, message(w), tt.code, tt.message)
			}
		})
	}
}

func TestDeleteAnswersWithStatusOrObject(t *testing.T) {
	f := newFront(t)
	f.configMap("a", "{}")
	w := f.do("DELETE", configMaps+"/a", "")
	if want := `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","details":{"name":"a","kind":"configmaps","uid":"00000000-0000-0000-0000-000000000010"}}` + "\n"; w.Body.String() != want {
		t.Errorf("got  %s\nwant %s", w.Body, want)
	}
	f.do("POST", "/api/v1/namespaces/default/pods", `{"metadata":{"name":"p"}}`)
	if got := decode[metav1.TypeMeta](t, f.do("DELETE", "/api/v1/namespaces/default/pods/p", "")); got.Kind != "Pod" {
		t.Errorf("a pod's deletion answers with a %s", got.Kind)
	}
	f.do("POST", configMaps, `{"metadata":{"name":"b","finalizers":["a/b"]}}`)
	if got := decode[corev1.ConfigMap](t, f.do("DELETE", configMaps+"/b", "")); got.Kind != "ConfigMap" || got.DeletionTimestamp == nil {
		t.Errorf("what stays answers with a %s, deleted at %v", got.Kind, got.DeletionTimestamp)
	}
	if w := f.do("DELETE", configMaps+"/b?orphanDependents=false", ""); w.Code != 202 {
		t.Errorf("older cascading: %d", w.Code)
	}
}

func TestDeleteCollection(t *testing.T) {
	f := newFront(t)
	f.do("POST", configMaps, `{"metadata":{"name":"a","labels":{"x":"y"}}}`)
	f.do("POST", configMaps, `{"metadata":{"name":"b"}}`)
	list := decode[corev1.ConfigMapList](t, f.do("DELETE", configMaps+"?labelSelector=x%3Dy", ""))
	if list.Kind != "ConfigMapList" || len(list.Items) != 1 || list.Items[0].Name != "a" {
		t.Errorf("%+v", list)
	}
	if left := decode[corev1.ConfigMapList](t, f.do("GET", configMaps, "")); len(left.Items) != 1 {
		t.Errorf("%d are left", len(left.Items))
	}
}

func TestActions(t *testing.T) {
	f := newFront(t)
	const pods = "/api/v1/namespaces/default/pods"
	f.do("POST", pods, `{"metadata":{"name":"p"}}`)
	success := `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Success","code":201}` + "\n"
	tests := []struct {
		name, path, body string
		code             int
		want             string
	}{
		{"bind another", pods + "/p/binding", `{"metadata":{"name":"y"},"target":{"name":"n"}}`, 400, "name in URL does not match name in Binding object"},
		{"bind", pods + "/p/binding", `{"kind":"Binding","apiVersion":"v1","metadata":{"name":"p"},"target":{"kind":"Node","name":"n"}}`, 201, success},
		{"bind by the older path", "/api/v1/namespaces/default/bindings", `{"metadata":{"name":"p"},"target":{"name":"m"}}`, 201, success},
		{"bind what is absent", "/api/v1/namespaces/default/bindings", `{"metadata":{"name":"x"},"target":{"name":"m"}}`, 404, `pods \"x\" not found`},
		{"evict another", pods + "/p/eviction", `{"metadata":{"name":"y"}}`, 400, "name in URL does not match name in Eviction object"},
		{"evict as before v1", pods + "/p/eviction?dryRun=All", `{"kind":"Eviction","apiVersion":"policy/v1beta1","metadata":{"name":"p"}}`, 201, success},
		{"evict", pods + "/p/eviction", `{"kind":"Eviction","apiVersion":"policy/v1","metadata":{"name":"p"}}`, 201, success},
		{"evict again", pods + "/p/eviction", `{"metadata":{"name":"p"}}`, 404, `pods \"p\" not found`},
		{"token", "/api/v1/namespaces/default/serviceaccounts/sa/token", `{"spec":{}}`, 201, `"token":"default:sa"`},
		{"review", "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews", `{"spec":{"resourceAttributes":{"verb":"get","resource":"pods"}}}`, 201, `"status":{"allowed":true}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := f.do("POST", tt.path, tt.body)
			if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, tt.code, tt.want)
			}
		})
	}
}

func TestScale(t *testing.T) {
	f := newFront(t)
	const deployments = "/apis/apps/v1/namespaces/default/deployments"
	f.do("POST", deployments, `{"metadata":{"name":"d"},"spec":{"replicas":1}}`)
	got := f.do("GET", deployments+"/d/scale", "").Body.String()
	if want := `{"kind":"Scale","apiVersion":"autoscaling/v1","metadata":{"name":"d","namespace":"default","uid":"00000000-0000-0000-0000-000000000010","resourceVersion":"11","creationTimestamp":"2026-01-02T03:04:05Z"},"spec":{"replicas":1},"status":{"replicas":0,"selector":"a=b"}}` + "\n"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	tests := []struct {
		name, method, as, body string
		code                   int
		want                   string
	}{
		{"put", "PUT", "application/json", `{"metadata":{"name":"d"},"spec":{"replicas":2}}`, 200, `"spec":{"replicas":2}`},
		{"patch", "PATCH", asMerge, `{"spec":{"replicas":3}}`, 200, `"spec":{"replicas":3}`},
		{"negative", "PATCH", asMerge, `{"spec":{"replicas":-1}}`, 422, `Scale.autoscaling \"d\" is invalid: spec.replicas: Invalid value: -1: must be greater than or equal to 0`},
		{"stale", "PUT", "application/json", `{"metadata":{"name":"d","resourceVersion":"1"},"spec":{"replicas":2}}`, 409, "the object has been modified"},
		{"another name", "PUT", "application/json", `{"metadata":{"name":"e"}}`, 400, "does not match the name on the URL"},
		{"another method", "DELETE", "application/json", "", 405, noSuchMethod},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := f.do(tt.method, deployments+"/d/scale", tt.body, "Content-Type", tt.as)
			if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, tt.code, tt.want)
			}
		})
	}
}

func TestApplyOfScale(t *testing.T) {
	f := newFront(t)
	const deployments = "/apis/apps/v1/namespaces/default/deployments"
	f.do("POST", deployments, `{"metadata":{"name":"d"},"spec":{"replicas":1}}`)
	scale := func(more string) string {
		return `{"apiVersion":"autoscaling/v1","kind":"Scale","metadata":{"name":"d"` + more
	}
	tests := []struct {
		name, query, body string
		code              int
		want              string
	}{
		{"another's field", "", scale(`},"spec":{"replicas":4}}`), 409, `Apply failed with 1 conflict: conflict with \"oracle\"`},
		{"by force", "&force=true", scale(`},"spec":{"replicas":4}}`), 200, `"spec":{"replicas":4}`},
		{"own field", "", scale(`},"spec":{"replicas":5}}`), 200, `"spec":{"replicas":5}`},
		{"negative", "", scale(`},"spec":{"replicas":-1}}`), 422, "must be greater than or equal to 0"},
		{"another object's", "", scale(`,"uid":"other"}}`), 409, "Precondition failed: UID in precondition: other"},
		{"another version", "", `{"apiVersion":"apps/v1","metadata":{"name":"d"}}`, 400, "Incorrect version specified in apply patch"},
		{"no object", "", `[]`, 400, "error decoding patch"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := f.do("PATCH", deployments+"/d/scale?fieldManager=me"+tt.query, tt.body, "Content-Type", asApply)
			if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, tt.code, tt.want)
			}
		})
	}
	var owners []string
	for _, m := range decode[appsv1.Deployment](t, f.do("GET", deployments+"/d", "")).ManagedFields {
		if strings.Contains(m.FieldsV1.GetRawString(), "f:replicas") {
			owners = append(owners, m.Manager+" "+string(m.Operation)+" "+m.Subresource)
		}
	}
	if diff := cmp.Diff([]string{"me Apply scale"}, owners); diff != "" {
		t.Error(diff)
	}
}

func TestProtobufBothWays(t *testing.T) {
	f := newFront(t)
	const protobuf = "application/vnd.kubernetes.protobuf"
	raw, err := (&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Data: map[string]string{"x": "y"}}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	envelope, err := (&runtime.Unknown{TypeMeta: runtime.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, Raw: raw}).Marshal()
	if err != nil {
		t.Fatal(err)
	}
	w := f.do("POST", configMaps, "k8s\x00"+string(envelope), "Content-Type", protobuf, "Accept", protobuf)
	var answer runtime.Unknown
	if err := answer.Unmarshal(w.Body.Bytes()[4:]); err != nil {
		t.Fatal(err)
	}
	var created corev1.ConfigMap
	if err := created.Unmarshal(answer.Raw); err != nil || created.Data["x"] != "y" || created.ResourceVersion == "" {
		t.Errorf("%+v, %v", created, err)
	}
}

func TestEveryKindCanBeWrittenAndRead(t *testing.T) {
	f := newFront(t)
	for _, k := range kinds.All() {
		if !k.Has("create") || !k.Has("get") {
			continue
		}
		path := "/apis/" + k.APIVersion() + "/"
		if k.Group == "" {
			path = "/api/" + k.Version + "/"
		}
		if k.Namespaced {
			path += "namespaces/default/"
		}
		path += k.Plural
		if w := f.do("POST", path, `{"kind":"`+k.Kind+`","apiVersion":"`+k.APIVersion()+`","metadata":{"name":"x"}}`); w.Code != 201 {
			t.Errorf("%s: create %d %s", k, w.Code, w.Body)
		}
		for _, accept := range []string{"", "application/yaml", "application/vnd.kubernetes.protobuf", "application/json;as=Table;g=meta.k8s.io;v=v1"} {
			if w := f.do("GET", path+"/x", "", "Accept", accept); w.Code != 200 {
				t.Errorf("%s: get as %q %d %s", k, accept, w.Code, w.Body)
			}
			if w := f.do("GET", path, "", "Accept", accept); w.Code != 200 {
				t.Errorf("%s: list as %q %d %s", k, accept, w.Code, w.Body)
			}
		}
	}
}

func BenchmarkCreatePod(b *testing.B) {
	f := newFront(b)
	const pod = `{"kind":"Pod","apiVersion":"v1","metadata":{"generateName":"p","labels":{"app":"a"}},"spec":{"containers":[{"name":"c","image":"i","ports":[{"containerPort":80}],"env":[{"name":"A","value":"1"}],"resources":{"requests":{"cpu":"1"}}}]}}`
	b.ReportAllocs()
	for b.Loop() {
		f.do("POST", "/api/v1/namespaces/default/pods?dryRun=All", pod)
	}
}
