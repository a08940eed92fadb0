package rest

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/cache"
	"coracle.local/services/apiserver/internal/front/rest/health"
	"coracle.local/services/apiserver/internal/registry"
)

// front is a handler over a registry in memory.
type front struct {
	http.Handler
	*memory
}

func newFront(t testing.TB, change ...func(*Config)) *front {
	t.Helper()
	m := newMemory()
	c := Config{
		Log: zap.NewNop(), Registry: m, Guard: doorman{}, Reviews: oracle{}, Metrics: prometheus.NewRegistry(),
		Address: func() string { return "10.0.0.1:6443" },
	}
	for _, f := range change {
		f(&c)
	}
	h, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return &front{h, m}
}

// do makes a request; headers are given as name and value.
func (f *front) do(method, path, body string, headers ...string) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Header.Set("User-Agent", "oracle/1")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	f.ServeHTTP(w, r)
	return w
}

const configMaps = "/api/v1/namespaces/default/configmaps"

func (f *front) configMap(name, data string) *httptest.ResponseRecorder {
	return f.do("POST", configMaps, `{"metadata":{"name":"`+name+`"},"data":`+data+`}`)
}

// message is what the answer's status says.
func message(w *httptest.ResponseRecorder) string {
	var s metav1.Status
	_ = json.Unmarshal(w.Body.Bytes(), &s)
	return s.Message
}

const (
	noSuchPath   = "the server could not find the requested resource"
	noSuchMethod = "the server does not allow this method on the requested resource"
)

// The codes and messages are upstream's, as its API server answered.
func TestRoutes(t *testing.T) {
	f := newFront(t)
	f.configMap("a", `{"x":"y"}`)
	tests := []struct {
		method, path string
		code         int
		message      string
	}{
		{"GET", configMaps + "/a", 200, ""},
		{"GET", configMaps + "/nope", 404, `configmaps "nope" not found`},
		{"GET", "/api/v1/configmaps", 200, ""},
		{"GET", "/api/v1/configmaps/a", 404, noSuchPath},
		{"GET", "/api/v1/namespaces/default/podz", 404, noSuchPath},
		{"GET", "/api/v1/namespaces/default/nodes", 404, noSuchPath},
		{"GET", "/api/v1/namespaces/default/pods/foo/bar", 404, noSuchPath},
		{"GET", "/apis/apps/v2/deployments", 404, noSuchPath},
		{"GET", "/apis/nope.example.com/v1/x", 404, ""},
		{"GET", "/foo", 404, ""},
		{"GET", "/api/v2", 404, noSuchPath},
		{"GET", "/apis/apps/v2", 404, noSuchPath},
		{"GET", "//api/v1", 404, ""},
		{"PUT", "/api/v1/namespaces/default/pods", 405, noSuchMethod},
		{"PATCH", "/api/v1/namespaces/default/pods", 405, noSuchMethod},
		{"POST", "/api/v1/namespaces/default/pods/foo", 405, noSuchMethod},
		{"OPTIONS", "/api/v1/namespaces/default/pods/foo", 405, noSuchMethod},
		{"POST", "/api/v1/pods", 405, noSuchMethod},
		{"DELETE", "/api/v1/pods", 405, noSuchMethod},
		{"DELETE", "/api/v1/namespaces", 405, noSuchMethod},
		{"GET", "/api/v1/namespaces/default/bindings", 405, noSuchMethod},
		{"GET", "/api/v1/namespaces/default/bindings/x", 404, noSuchPath},
		{"GET", "/api/v1/namespaces/default/pods/x/eviction", 405, noSuchMethod},
		{"GET", "/api/v1/namespaces/default/pods/x/status", 404, `pods "x" not found`},
		{"GET", "/api/v1/namespaces/default/finalize", 405, noSuchMethod},
		{"GET", "/apis/apps/v1/namespaces/default/deployments/x/scale", 404, `deployments.apps "x" not found`},
		{"POST", "/version", 405, noSuchMethod},
		{"POST", "/apis/apps/v1", 405, noSuchMethod},
		{"GET", "/api/v1/proxy/namespaces/default/pods/x", 404, noSuchPath},
		{"GET", "/api/v1/watch", 500, ""},
		{"GET", "/healthz/nope", 404, ""},
		{"GET", "/openapi/v2", 200, ""},
		{"GET", "/openapi/v3/api/v1", 200, ""},
		{"GET", "/metrics", 200, ""},
		{"GET", "/version/", 200, ""},
		{"GET", "/apis/apps/v1/", 200, ""},
	}
	for _, tt := range tests {
		t.Run(tt.method+" "+tt.path, func(t *testing.T) {
			w := f.do(tt.method, tt.path, "")
			if w.Code != tt.code || message(w) != tt.message {
				t.Errorf("got %d %q, want %d %q", w.Code, message(w), tt.code, tt.message)
			}
		})
	}
}

func TestHeadersOfEveryAnswer(t *testing.T) {
	f := newFront(t)
	w := f.do("GET", "/api/v1/pods", "", "Audit-ID", "my-id")
	if w.Header().Get("Audit-Id") != "my-id" || w.Header().Get("Cache-Control") != "no-cache, private" {
		t.Errorf("headers %v", w.Header())
	}
	if w := f.do("GET", "/api/v1/pods", ""); len(w.Header().Get("Audit-Id")) != 36 {
		t.Errorf("audit ID %q", w.Header().Get("Audit-Id"))
	}
}

func TestGuard(t *testing.T) {
	f := newFront(t, func(c *Config) {
		c.Guard = doorman{forbids: map[string]bool{"list pods": true, "create leases": true}}
	})
	if w := f.do("GET", "/api/v1/nodes", "", "Authorization", "Bearer nobody"); w.Code != 401 || message(w) != "Unauthorized" {
		t.Errorf("nobody: %d %s", w.Code, w.Body)
	}
	w := f.do("GET", "/api/v1/namespaces/n/pods", "")
	if want := `pods is forbidden: User "alice" cannot list resource "pods" in API group "" in the namespace "n"`; w.Code != 403 || message(w) != want {
		t.Errorf("forbidden: %d %s", w.Code, w.Body)
	}
	// Who may update but not create gets no further by updating what is absent.
	w = f.do("PUT", "/apis/coordination.k8s.io/v1/namespaces/n/leases/e", `{"metadata":{"name":"e"}}`)
	if w.Code != 403 {
		t.Errorf("create by update: %d %s", w.Code, w.Body)
	}
}

func TestGetInEveryShape(t *testing.T) {
	f := newFront(t)
	f.configMap("a", `{"x":"y"}`)
	const table = "application/json;as=Table;g=meta.k8s.io;v=v1"
	tests := []struct {
		name, path, accept string
		code               int
		want               string
	}{
		{"json", "/a", "", 200, `{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a","namespace":"default","uid":"00000000-0000-0000-0000-000000000010","resourceVersion":"11","creationTimestamp":"2026-01-02T03:04:05Z"`},
		{"yaml", "/a", "application/yaml", 200, "apiVersion: v1\ndata:\n  x: \"y\"\nkind: ConfigMap\n"},
		{"protobuf", "/a", "application/vnd.kubernetes.protobuf", 200, "k8s\x00\n\x0f\n\x02v1\x12\tConfigMap"},
		{"pretty", "/a?pretty=1", "", 200, "{\n  \"kind\": \"ConfigMap\",\n"},
		{"metadata", "/a", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", 200, `{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"a"`},
		{"table", "/a", table, 200, `{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"11"},"columnDefinitions":[{"name":"Name"`},
		{"wrong include", "/a?includeObject=Foo", table, 400, "{\n  \"kind\": \"Status\""},
		{"list of one", "/a", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", 406, "{\n  \"kind\": \"Status\""},
		{"cbor", "/a", "application/cbor", 406, "{\n  \"kind\": \"Status\""},
		{"export", "/a?export=1", "", 400, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the export parameter, deprecated since v1.14, is no longer supported","reason":"BadRequest","code":400}`},
		{"wrong version", "/a?resourceVersion=abc", "", 500, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax","code":500}`},
		{"list", "", "", 200, `{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"11"},"items":[{"metadata":{"name":"a"`},
		{"metadata of a list", "", "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1", 200, `{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"11"},"items":[{"kind":"PartialObjectMetadata"`},
		{"one's metadata of a list", "", "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1", 406, "{\n  \"kind\": \"Status\""},
		{"table of a list", "", table, 200, `{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"11"}`},
		{"empty list", "?labelSelector=no", "", 200, `{"kind":"ConfigMapList","apiVersion":"v1","metadata":{"resourceVersion":"11"},"items":[]}` + "\n"},
		{"wrong version of a list", "?resourceVersion=abc", "", 400, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"invalid resource version: resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax","reason":"BadRequest","code":400}`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := f.do("GET", configMaps+tt.path, "", "Accept", tt.accept)
			if w.Code != tt.code || !strings.HasPrefix(w.Body.String(), tt.want) {
				t.Errorf("got %d %.400q\nwant %d %q", w.Code, w.Body, tt.code, tt.want)
			}
		})
	}
}

func TestPages(t *testing.T) {
	f := newFront(t)
	for _, name := range []string{"a", "b", "c"} {
		f.configMap(name, "{}")
	}
	var page corev1.ConfigMapList
	if err := json.Unmarshal(f.do("GET", configMaps+"?limit=2", "").Body.Bytes(), &page); err != nil {
		t.Fatal(err)
	}
	if len(page.Items) != 2 || page.Continue == "" || *page.RemainingItemCount != 1 || page.Items[0].Kind != "" {
		t.Errorf("first page %+v", page.ListMeta)
	}
	page = corev1.ConfigMapList{}
	if err := json.Unmarshal(f.do("GET", configMaps+"?limit=2&continue="+page.Continue+"b", "").Body.Bytes(), &page); err != nil {
		t.Fatal(err)
	}
	if len(page.Items) != 1 || page.Continue != "" {
		t.Errorf("second page of %d, %+v", len(page.Items), page.ListMeta)
	}
}

func TestRootListsWhatIsServed(t *testing.T) {
	var root struct{ Paths []string }
	if err := json.Unmarshal(newFront(t).do("GET", "/", "").Body.Bytes(), &root); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{"/api", "/api/v1", "/apis/apps/v1", "/readyz/ping", "/openapi/v3", "/version"} {
		if !slices.Contains(root.Paths, path) {
			t.Errorf("%s is missing of %v", path, root.Paths)
		}
	}
}

func TestVersion(t *testing.T) {
	w := newFront(t).do("GET", "/version", "")
	for _, want := range []string{`"major": "1"`, `"minor": "37"`, `"gitVersion": "v1.37.2"`} {
		if !strings.Contains(w.Body.String(), want) {
			t.Errorf("%s is missing of %s", want, w.Body)
		}
	}
}

func TestHealthIsServed(t *testing.T) {
	f := newFront(t, func(c *Config) {
		c.Checks.Readyz = []health.Check{{Name: "etcd", Check: func(*http.Request) error { return errors.New("down") }}}
	})
	if w := f.do("GET", "/readyz", ""); w.Code != 500 {
		t.Errorf("readyz %d", w.Code)
	}
	if w := f.do("GET", "/livez", ""); w.Code != 200 || w.Body.String() != "ok" {
		t.Errorf("livez %d %s", w.Code, w.Body)
	}
}

func TestExtraAndOpenID(t *testing.T) {
	say := func(text string) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, text) })
	}
	f := newFront(t, func(c *Config) { c.Extra, c.OpenID = say("extra"), say("openid") })
	for path, want := range map[string]string{
		"/apis/example.com/v1/things": "extra", "/debug/x": "extra", "/apis/example.com/v1": "extra",
		"/openid/v1/jwks": "openid", "/.well-known/openid-configuration": "openid",
	} {
		if w := f.do("GET", path, ""); w.Body.String() != want {
			t.Errorf("%s: %s", path, w.Body)
		}
	}
}

func TestComponents(t *testing.T) {
	f := newFront(t, func(c *Config) {
		c.Components = func(context.Context) []corev1.ComponentStatus {
			return []corev1.ComponentStatus{{ObjectMeta: metav1.ObjectMeta{Name: "etcd-0"}}}
		}
	})
	if w := f.do("GET", "/api/v1/componentstatuses", ""); w.Body.String() != `{"kind":"ComponentStatusList","apiVersion":"v1","metadata":{},"items":[{"metadata":{"name":"etcd-0"}}]}`+"\n" {
		t.Errorf("list %s", w.Body)
	}
	if w := f.do("GET", "/api/v1/componentstatuses/etcd-0", ""); w.Code != 200 {
		t.Errorf("get %d", w.Code)
	}
	if w := f.do("GET", "/api/v1/componentstatuses/x", ""); w.Code != 404 {
		t.Errorf("absent %d", w.Code)
	}
}

func TestPanicOfAHandlerIsAnswered(t *testing.T) {
	f := newFront(t, func(c *Config) { c.Registry = panicking{c.Registry} })
	w := f.do("GET", configMaps+"/a", "")
	if w.Code != 500 || !strings.Contains(w.Body.String(), "This request caused apiserver to panic") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

type panicking struct{ Registry }

func (panicking) Get(context.Context, *kinds.Kind, string, string, registry.GetOptions) (*cache.Item, error) {
	panic("oops")
}

func TestRequestsAreCounted(t *testing.T) {
	f := newFront(t)
	f.configMap("a", "{}")
	f.do("GET", configMaps+"/a", "")
	f.do("GET", "/made/up/path", "")
	metrics := f.do("GET", "/metrics", "").Body.String()
	for _, want := range []string{
		`apiserver_request_total{code="201",component="apiserver",dry_run="",group="",resource="configmaps",scope="resource",subresource="",verb="CREATE",version="v1"} 1`,
		`apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="configmaps",scope="resource",subresource="",verb="GET",version="v1"} 1`,
		`apiserver_request_body_size_bytes_count{resource="configmaps",verb="create"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("missing %s", want)
		}
	}
	if strings.Contains(metrics, "made") {
		t.Error("made-up paths become labels")
	}
}

func TestConfigIsValidated(t *testing.T) {
	if _, err := New(Config{}); err == nil {
		t.Error("an empty config is taken")
	}
}

func TestTimeoutOfTheQuery(t *testing.T) {
	w := newFront(t).do("GET", configMaps+"?timeout=soon", "")
	if w.Code != 400 || !strings.HasPrefix(message(w), "invalid timeout specified in the request URL") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestWarningsAreBounded(t *testing.T) {
	w := &writer{ResponseWriter: httptest.NewRecorder()}
	r := &warnings{w: w}
	r.AddWarning("", "once")
	r.AddWarning("", "once")
	if got := w.Header().Values("Warning"); len(got) != 1 || got[0] != `299 - "once"` {
		t.Fatalf("warnings %v", got)
	}
	for i := range 100 {
		r.AddWarning("", string(bytes.Repeat([]byte{'a' + byte(i%26)}, 500+i)))
	}
	length := 0
	for _, header := range w.Header().Values("Warning") {
		length += len(header)
	}
	if length > 8<<10 {
		t.Errorf("%d bytes of warnings", length)
	}
}

func BenchmarkGet(b *testing.B) {
	f := newFront(b)
	f.configMap("a", `{"x":"y"}`)
	b.ReportAllocs()
	for b.Loop() {
		f.do("GET", configMaps+"/a", "")
	}
}
