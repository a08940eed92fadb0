package stream

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"golang.org/x/net/websocket"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/runtime/serializer/protobuf"
	streaming "k8s.io/apimachinery/pkg/runtime/serializer/streaming"
	"k8s.io/apimachinery/pkg/watch"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/cache"
	"coracle.local/services/apiserver/internal/front/negotiate"
	"coracle.local/services/apiserver/internal/front/rest/table"
	"coracle.local/services/apiserver/internal/strategy"
)

var configMap = kinds.For[*corev1.ConfigMap]()

func item(name string, revision int64) *cache.Item {
	b, err := (&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "n"}, Data: map[string]string{"a": "b"}}).Marshal()
	if err != nil {
		panic(err)
	}
	return cache.NewItem(configMap, "n", name, b, revision, nil)
}

// script is a source of fixed events, at whose end is an error.
type script struct {
	events []cache.Event
	err    error
	block  bool // wait at the end instead
}

func (s *script) Next(ctx context.Context) (cache.Event, error) {
	if len(s.events) == 0 {
		if s.block {
			<-ctx.Done()
			return cache.Event{}, ctx.Err()
		}
		return cache.Event{}, s.err
	}
	e := s.events[0]
	s.events = s.events[1:]
	return e, nil
}

func (s *script) Pending() bool { return len(s.events) > 0 }

func encoder(o negotiate.Output) *Encoder {
	return &Encoder{Kind: configMap, Output: o, Include: metav1.IncludeMetadata, Printer: table.For(configMap, strategy.Kind[*corev1.ConfigMap]{
		Columns: []metav1.TableColumnDefinition{{Name: "Name"}},
		Cells:   func(c *corev1.ConfigMap) []any { return []any{c.Name} },
	}.Erase())}
}

func events() []cache.Event {
	return []cache.Event{
		{Type: watch.Added, Item: item("x", 3), Revision: 3},
		{Type: watch.Bookmark, Revision: 4, InitialEnd: true},
		{Type: watch.Deleted, Item: item("x", 5), Revision: 5},
	}
}

func serve(t *testing.T, o negotiate.Output, s *script) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	(&Sender{}).Serve(t.Context(), w, httptest.NewRequest(http.MethodGet, "/", http.NoBody), s, encoder(o))
	return w
}

func TestJSON(t *testing.T) {
	const end = `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version: 1 (2)","reason":"Expired","code":410}}` + "\n"
	tests := []struct {
		name  string
		shape negotiate.Shape
		want  string
	}{
		{
			"objects", negotiate.Whole, `{"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x","namespace":"n","resourceVersion":"3"},"data":{"a":"b"}}}
{"type":"BOOKMARK","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"4","annotations":{"k8s.io/initial-events-end":"true"}}}}
{"type":"DELETED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"x","namespace":"n","resourceVersion":"5"},"data":{"a":"b"}}}
`,
		},
		{
			"metadata", negotiate.Metadata, `{"type":"ADDED","object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"x","namespace":"n","resourceVersion":"3"}}}
{"type":"BOOKMARK","object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"4","annotations":{"k8s.io/initial-events-end":"true"}}}}
{"type":"DELETED","object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"x","namespace":"n","resourceVersion":"5"}}}
`,
		},
		{
			"table", negotiate.Table, `{"type":"ADDED","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"3"},"columnDefinitions":[{"name":"Name","type":"","format":"","description":"","priority":0}],"rows":[{"cells":["x"],"object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"x","namespace":"n","resourceVersion":"3"}}}]}}
{"type":"BOOKMARK","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"4"},"columnDefinitions":null,"rows":[{"cells":[""],"object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"4","annotations":{"k8s.io/initial-events-end":"true"}}}}]}}
{"type":"DELETED","object":{"kind":"Table","apiVersion":"meta.k8s.io/v1","metadata":{"resourceVersion":"5"},"columnDefinitions":null,"rows":[{"cells":["x"],"object":{"kind":"PartialObjectMetadata","apiVersion":"meta.k8s.io/v1","metadata":{"name":"x","namespace":"n","resourceVersion":"5"}}}]}}
`,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := serve(t, negotiate.Output{Shape: tt.shape, Version: "v1"}, &script{events: events(), err: apierrors.NewResourceExpired("too old resource version: 1 (2)")})
			if got := w.Body.String(); got != tt.want+end {
				t.Errorf("got\n%s\nwant\n%s", got, tt.want+end)
			}
			if w.Header().Get("Content-Type") != "application/json" || !w.Flushed {
				t.Errorf("type %q, flushed %v", w.Header().Get("Content-Type"), w.Flushed)
			}
		})
	}
}

// The stream is read with client machinery, as client-go does.
func TestProtobufAsClientsReadIt(t *testing.T) {
	w := serve(t, negotiate.Output{Encoding: negotiate.Protobuf}, &script{events: events(), err: apierrors.NewResourceExpired("old")})
	if got := w.Header().Get("Content-Type"); got != "application/vnd.kubernetes.protobuf;stream=watch" {
		t.Errorf("type %q", got)
	}
	scheme := kinds.Scheme()
	codecs := serializer.NewCodecFactory(scheme)
	frames := protobuf.LengthDelimitedFramer.NewFrameReader(io.NopCloser(w.Body))
	decoder := streaming.NewDecoder(frames, protobuf.NewRawSerializer(scheme, scheme))
	embedded := codecs.UniversalDeserializer()
	var got []string
	for {
		var ev metav1.WatchEvent
		_, _, err := decoder.Decode(nil, &ev)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		o, err := runtime.Decode(embedded, ev.Object.Raw)
		if err != nil {
			t.Fatal(err)
		}
		switch o := o.(type) {
		case *corev1.ConfigMap:
			got = append(got, fmt.Sprintf("%s %s %s %s", ev.Type, o.Name, o.ResourceVersion, o.Data["a"]))
		case *metav1.Status:
			got = append(got, fmt.Sprintf("%s %s", ev.Type, o.Message))
		}
	}
	if want := "ADDED x 3 b|BOOKMARK  4 |DELETED x 5 b|ERROR old"; strings.Join(got, "|") != want {
		t.Errorf("got %s, want %s", strings.Join(got, "|"), want)
	}
}

func TestEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	w := httptest.NewRecorder()
	(&Sender{}).Serve(ctx, w, httptest.NewRequest(http.MethodGet, "/", http.NoBody), &script{block: true}, encoder(negotiate.Output{}))
	if w.Body.Len() != 0 {
		t.Errorf("sent %q", w.Body)
	}
}

func TestClosedWatchEndsSilently(t *testing.T) {
	w := serve(t, negotiate.Output{}, &script{err: cache.ErrClosed})
	if w.Body.Len() != 0 {
		t.Errorf("sent %q", w.Body)
	}
}

func TestWebSocket(t *testing.T) {
	for _, e := range []negotiate.Encoding{negotiate.JSON, negotiate.Protobuf} {
		t.Run(e.MediaType(), func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				s := &script{events: events(), err: apierrors.NewResourceExpired("old")}
				(&Sender{}).Serve(r.Context(), w, r, s, encoder(negotiate.Output{Encoding: e}))
			}))
			defer server.Close()
			c, err := websocket.Dial("ws"+strings.TrimPrefix(server.URL, "http"), "", "http://localhost")
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = c.Close() }()
			var types []string
			for {
				var message []byte
				if err := websocket.Message.Receive(c, &message); err != nil {
					break
				}
				var ev metav1.WatchEvent
				if e == negotiate.JSON {
					err = json.Unmarshal(message, &ev)
				} else {
					err = ev.Unmarshal(message)
				}
				if err != nil {
					t.Fatal(err)
				}
				types = append(types, ev.Type)
			}
			if got := strings.Join(types, " "); got != "ADDED BOOKMARK DELETED ERROR" {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestEventsAreSentInChunksWhilePending(t *testing.T) {
	s := &script{err: cache.ErrClosed}
	for range 1000 {
		s.events = append(s.events, cache.Event{Type: watch.Added, Item: item("x", 3)})
	}
	w := &counting{header: http.Header{}}
	(&Sender{}).Serve(t.Context(), w, httptest.NewRequest(http.MethodGet, "/", http.NoBody), s, encoder(negotiate.Output{}))
	if lines := bytes.Count(w.body.Bytes(), []byte("\n")); lines != 1000 || w.writes > 5 {
		t.Errorf("%d events in %d writes", lines, w.writes)
	}
}

type counting struct {
	header http.Header
	body   bytes.Buffer
	writes int
}

func (c *counting) Header() http.Header { return c.header }
func (c *counting) WriteHeader(int)     {}
func (c *counting) Flush()              {}
func (c *counting) Write(b []byte) (int, error) {
	c.writes++
	return c.body.Write(b)
}

func BenchmarkEncode(b *testing.B) {
	i := item("x", 3)
	for _, e := range []negotiate.Encoding{negotiate.JSON, negotiate.Protobuf} {
		b.Run(e.MediaType(), func(b *testing.B) {
			enc := encoder(negotiate.Output{Encoding: e})
			buffer := make([]byte, 0, room)
			b.ReportAllocs()
			for b.Loop() {
				if _, err := enc.Append(buffer, cache.Event{Type: watch.Modified, Item: i}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
