package respond

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/services/apiserver/internal/front/negotiate"
)

var (
	kind = corev1.SchemeGroupVersion.WithKind("ConfigMap")
	both = Kinds{Item: kind, List: corev1.SchemeGroupVersion.WithKind("ConfigMapList")}
)

// item is a ConfigMap, encoded.
type item struct{ corev1.ConfigMap }

func (i *item) JSON() ([]byte, error) {
	o := i.DeepCopy()
	o.SetGroupVersionKind(kind)
	return json.Marshal(o)
}

func (i *item) Frame() []byte {
	b, err := i.Marshal()
	if err != nil {
		panic(err)
	}
	return b
}

func items(n, size int) []*item {
	out := make([]*item, n)
	for i := range out {
		out[i] = &item{corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c%d", i)},
			Data:       map[string]string{"a": strings.Repeat("x", size)},
		}}
	}
	return out
}

func request(headers ...string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", http.NoBody)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	return r
}

func TestListIsWhatMarshallingWouldGive(t *testing.T) {
	meta := metav1.ListMeta{ResourceVersion: "7", Continue: "more", RemainingItemCount: new(int64)}
	for _, n := range []int{0, 1, 3, 400} {
		all := items(n, 1000)
		want := corev1.ConfigMapList{ListMeta: meta, Items: make([]corev1.ConfigMap, n)}
		for i := range all {
			want.Items[i] = all[i].ConfigMap
		}
		for _, e := range []negotiate.Encoding{negotiate.JSON, negotiate.YAML, negotiate.Protobuf} {
			for _, pretty := range []bool{false, true} {
				t.Run(fmt.Sprintf("%d as %s, pretty %v", n, e.MediaType(), pretty), func(t *testing.T) {
					o := negotiate.Output{Encoding: e, Pretty: pretty}
					expected, err := Marshal(o, corev1.SchemeGroupVersion.WithKind("ConfigMapList"), want.DeepCopy())
					if err != nil {
						t.Fatal(err)
					}
					w := httptest.NewRecorder()
					if err := List(New(), w, request(), o, both, meta, all); err != nil {
						t.Fatal(err)
					}
					if w.Header().Get("Content-Type") != e.MediaType() {
						t.Errorf("type %q", w.Header().Get("Content-Type"))
					}
					if !bytes.Equal(w.Body.Bytes(), expected) {
						t.Errorf("got  %.300q\nwant %.300q", w.Body, expected)
					}
				})
			}
		}
	}
}

func TestProtobufReadsBack(t *testing.T) {
	w := httptest.NewRecorder()
	o := negotiate.Output{Encoding: negotiate.Protobuf}
	if err := List(New(), w, request(), o, both, metav1.ListMeta{ResourceVersion: "9"}, items(2, 3)); err != nil {
		t.Fatal(err)
	}
	var envelope runtime.Unknown
	if err := envelope.Unmarshal(w.Body.Bytes()[4:]); err != nil {
		t.Fatal(err)
	}
	var list corev1.ConfigMapList
	if err := list.Unmarshal(envelope.Raw); err != nil {
		t.Fatal(err)
	}
	if envelope.Kind != "ConfigMapList" || envelope.APIVersion != "v1" || list.ResourceVersion != "9" || len(list.Items) != 2 || list.Items[1].Name != "c1" {
		t.Errorf("%+v %+v", envelope.TypeMeta, list)
	}
}

func TestItem(t *testing.T) {
	i := items(1, 1)[0]
	for _, e := range []negotiate.Encoding{negotiate.JSON, negotiate.YAML, negotiate.Protobuf} {
		o := negotiate.Output{Encoding: e}
		got, want := httptest.NewRecorder(), httptest.NewRecorder()
		if err := New().Item(got, request(), o, 200, kind, i); err != nil {
			t.Fatal(err)
		}
		if err := New().Object(want, request(), o, 200, kind, i.DeepCopy()); err != nil {
			t.Fatal(err)
		}
		if got.Body.String() != want.Body.String() || got.Header().Get("Content-Length") != fmt.Sprint(got.Body.Len()) {
			t.Errorf("%s: got %q, want %q", e.MediaType(), got.Body, want.Body)
		}
	}
}

func TestLargeAnswersAreCompressed(t *testing.T) {
	tests := []struct {
		name   string
		size   int
		accept string
		want   bool
	}{
		{"small", 1000, "gzip", false},
		{"large", 200 << 10, "gzip, deflate", true},
		{"large for a client that does not take it", 200 << 10, "", false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			if err := List(New(), w, request("Accept-Encoding", tt.accept), negotiate.Output{}, both, metav1.ListMeta{}, items(1, tt.size)); err != nil {
				t.Fatal(err)
			}
			if got := w.Header().Get("Content-Encoding") == "gzip"; got != tt.want {
				t.Fatalf("compressed: %v", got)
			}
			var body io.Reader = w.Body
			if tt.want {
				z, err := gzip.NewReader(body)
				if err != nil {
					t.Fatal(err)
				}
				body = z
			}
			var list corev1.ConfigMapList
			if err := json.NewDecoder(body).Decode(&list); err != nil || len(list.Items[0].Data["a"]) != tt.size {
				t.Errorf("does not read back: %v", err)
			}
		})
	}
}

type broken struct{}

func (broken) JSON() ([]byte, error) { return nil, errors.New("broken") }
func (broken) Frame() []byte         { return nil }

func TestListThatCannotBeCompletedIsAborted(t *testing.T) {
	defer func() {
		if err, _ := recover().(error); !errors.Is(err, http.ErrAbortHandler) {
			t.Errorf("recovered %v", err)
		}
	}()
	_ = List(New(), httptest.NewRecorder(), request(), negotiate.Output{}, both, metav1.ListMeta{}, []broken{{}})
	t.Error("the answer looks complete")
}

func TestError(t *testing.T) {
	tests := []struct {
		name, accept string
		err          error
		code         int
		body         string
	}{
		{"status", "", apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "p"), 404, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"pods \"p\" not found","reason":"NotFound","details":{"name":"p","kind":"pods"},"code":404}` + "\n"},
		{"wrapped status", "", fmt.Errorf("get pod: %w", apierrors.NewBadRequest("no")), 400, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"no","reason":"BadRequest","code":400}` + "\n"},
		{"ordinary", "", errors.New("broken <disk>"), 500, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"broken \u003cdisk\u003e","code":500}` + "\n"},
		{"too late", "", context.DeadlineExceeded, 504, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"Timeout: request did not complete within requested timeout - context deadline exceeded","reason":"Timeout","details":{},"code":504}` + "\n"},
		{"no path", "", NotFound(), 404, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the server could not find the requested resource","reason":"NotFound","details":{},"code":404}` + "\n"},
		{"no method", "", MethodNotAllowed(), 405, `{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"the server does not allow this method on the requested resource","reason":"MethodNotAllowed","details":{},"code":405}` + "\n"},
		{"yaml", "application/yaml", apierrors.NewBadRequest("no"), 400, "apiVersion: v1\ncode: 400\nkind: Status\nmessage: \"no\"\nmetadata: {}\nreason: BadRequest\nstatus: Failure\n"},
		{"unacceptable", "text/html", apierrors.NewBadRequest("no"), 400, "{\n  \"kind\": \"Status\",\n  \"apiVersion\": \"v1\",\n  \"metadata\": {},\n  \"status\": \"Failure\",\n  \"message\": \"no\",\n  \"reason\": \"BadRequest\",\n  \"code\": 400\n}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := httptest.NewRecorder()
			if code := New().Error(w, request("Accept", tt.accept), tt.err); code != tt.code || w.Code != tt.code {
				t.Errorf("code %d, %d", code, w.Code)
			}
			if w.Body.String() != tt.body {
				t.Errorf("got  %s\nwant %s", w.Body, tt.body)
			}
		})
	}
	w := httptest.NewRecorder()
	New().Error(w, request(), apierrors.NewTooManyRequests("slow down", 3))
	if w.Header().Get("Retry-After") != "3" {
		t.Errorf("Retry-After %q", w.Header().Get("Retry-After"))
	}
}

func BenchmarkList(b *testing.B) {
	all := make([]cached, 10000)
	for n, i := range items(len(all), 5000) {
		raw, err := i.JSON()
		if err != nil {
			b.Fatal(err)
		}
		all[n] = cached{raw, i.Frame()}
	}
	for _, e := range []negotiate.Encoding{negotiate.JSON, negotiate.Protobuf} {
		b.Run(e.MediaType(), func(b *testing.B) {
			p := New()
			b.ReportAllocs()
			for b.Loop() {
				w := discard{http.Header{}}
				if err := List(p, w, request(), negotiate.Output{Encoding: e}, both, metav1.ListMeta{ResourceVersion: "1"}, all); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

type cached struct{ json, frame []byte }

func (c cached) JSON() ([]byte, error) { return c.json, nil }
func (c cached) Frame() []byte         { return c.frame }

type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(b []byte) (int, error) { return len(b), nil }
func (d discard) WriteHeader(int)             {}
