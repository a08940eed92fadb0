package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/libs/client"
	"coracle.local/tests/fixture"
)

// stream is an open watch over HTTP.
type stream struct {
	t      *testing.T
	events *json.Decoder
}

type watched struct {
	Type   string          `json:"type"`
	Object json.RawMessage `json:"object"`
}

func (w *web) watch(path, accept string) *stream {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	w.t.Cleanup(cancel)
	a := w.open(ctx, http.MethodGet, path, "", map[string]string{"Accept": accept})
	w.t.Cleanup(func() { _ = a.Body.Close() })
	if a.StatusCode != http.StatusOK {
		b, err := io.ReadAll(a.Body)
		w.t.Fatalf("watch %s: %d %s (%v)", path, a.StatusCode, b, err)
	}
	return &stream{w.t, json.NewDecoder(a.Body)}
}

func (s *stream) next() watched {
	s.t.Helper()
	var e watched
	if err := s.events.Decode(&e); err != nil {
		s.t.Fatal(err)
	}
	return e
}

// sees holds the next event to a type and an object's name.
func (s *stream) sees(typ, name string) *metav1.PartialObjectMetadata {
	s.t.Helper()
	e := s.next()
	var o metav1.PartialObjectMetadata
	if err := json.Unmarshal(e.Object, &o); err != nil {
		s.t.Fatal(err)
	}
	if e.Type != typ || o.Name != name {
		s.t.Fatalf("event %s %s, want %s %q", e.Type, e.Object, typ, name)
	}
	return &o
}

// ends holds the stream to its end.
func (s *stream) ends() {
	s.t.Helper()
	var e watched
	if err := s.events.Decode(&e); err != io.EOF {
		s.t.Errorf("after the last event: %v, %s %s", err, e.Type, e.Object)
	}
}

const watchMapsPath = mapsPath + "?watch=true&labelSelector=watched"

func TestWatchOverREST(t *testing.T) {
	_, m, w := withMaps(t)
	labels := map[string]string{"watched": "yes"}
	first := create(t, m, "a", labels)
	create(t, m, "b", labels)

	t.Run("begins with what is there", func(t *testing.T) {
		s := (&web{t, w.client, w.server}).watch(watchMapsPath, asJSON)
		s.sees("ADDED", "a")
		s.sees("ADDED", "b")
	})
	t.Run("goes on after a version", func(t *testing.T) {
		s := (&web{t, w.client, w.server}).watch(watchMapsPath+"&resourceVersion="+first.ResourceVersion, asJSON)
		s.sees("ADDED", "b")
	})
	t.Run("tells the end of the initial events", func(t *testing.T) {
		query := "&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
		s := (&web{t, w.client, w.server}).watch(watchMapsPath+query, asJSON)
		s.sees("ADDED", "a")
		s.sees("ADDED", "b")
		mark := s.sees("BOOKMARK", "")
		if mark.Kind != "ConfigMap" || mark.Annotations[metav1.InitialEventsAnnotationKey] != "true" || mark.ResourceVersion == "" {
			t.Errorf("bookmark %+v", mark)
		}
	})
	t.Run("ends when its time is up", func(t *testing.T) {
		s := (&web{t, w.client, w.server}).watch(watchMapsPath+"&timeoutSeconds=1", asJSON)
		s.sees("ADDED", "a")
		s.sees("ADDED", "b")
		s.ends()
	})
	t.Run("of one object", func(t *testing.T) {
		s := (&web{t, w.client, w.server}).watch(mapsPath+"?watch=true&fieldSelector=metadata.name%3Db&timeoutSeconds=1", asJSON)
		s.sees("ADDED", "b")
		s.ends()
	})
	t.Run("at an older path", func(t *testing.T) {
		s := (&web{t, w.client, w.server}).watch("/api/v1/watch/namespaces/default/configmaps/b?timeoutSeconds=1", asJSON)
		s.sees("ADDED", "b")
		s.ends()
	})
	t.Run("of all namespaces", func(t *testing.T) {
		s := (&web{t, w.client, w.server}).watch("/api/v1/configmaps?watch=true&labelSelector=watched", asJSON)
		s.sees("ADDED", "a")
	})
	t.Run("as tables", func(t *testing.T) {
		s := (&web{t, w.client, w.server}).watch(watchMapsPath, asTable)
		for i, name := range []string{"a", "b"} {
			var table metav1.Table
			e := s.next()
			if err := json.Unmarshal(e.Object, &table); err != nil {
				t.Fatal(err)
			}
			// Only the first has headers.
			if table.Kind != "Table" || len(table.Rows) != 1 || table.Rows[0].Cells[0] != name || (len(table.ColumnDefinitions) > 0) != (i == 0) {
				t.Errorf("event %s", e.Object)
			}
		}
	})
	t.Run("of metadata", func(t *testing.T) {
		s := (&web{t, w.client, w.server}).watch(watchMapsPath, asMetadata)
		if o := s.sees("ADDED", "a"); o.Kind != "PartialObjectMetadata" {
			t.Errorf("a %s", o.Kind)
		}
	})
}

func TestWatchSeesChanges(t *testing.T) {
	_, m, w := withMaps(t)
	s := w.watch(watchMapsPath, asJSON)
	a := create(t, m, "a", map[string]string{"watched": "yes"})
	s.sees("ADDED", "a")
	w.patch(mapsPath+"/a", merge, `{"data":{"k":"v"}}`).is(http.StatusOK)
	if o := s.sees("MODIFIED", "a"); o.ResourceVersion == a.ResourceVersion {
		t.Error("the version stays as it was")
	}
	w.patch(mapsPath+"/a", merge, `{"metadata":{"labels":null}}`).is(http.StatusOK)
	s.sees("DELETED", "a") // no longer selected
	w.patch(mapsPath+"/a", merge, `{"metadata":{"labels":{"watched":"again"}}}`).is(http.StatusOK)
	s.sees("ADDED", "a")
	w.send(http.MethodDelete, mapsPath+"/a", "", nil).is(http.StatusOK)
	s.sees("DELETED", "a")
}

// TestExpiredVersionOverREST asks a server that was started again for what it
// does not remember.
func TestExpiredVersionOverREST(t *testing.T) {
	cfg := cluster.Config{Controllers: []string{"-*"}, DataDir: t.TempDir()}
	first := fixture.Start(t, cfg)
	old := create(t, client.For[*corev1.ConfigMap](first.Conn), "a", nil)
	create(t, client.For[*corev1.ConfigMap](first.Conn), "b", nil)
	first.Stop()
	w := newWeb(t, fixture.Start(t, cfg).Config)
	e := w.watch(mapsPath+"?watch=true&resourceVersion="+old.ResourceVersion, asJSON).next()
	var s metav1.Status
	if err := json.Unmarshal(e.Object, &s); err != nil {
		t.Fatal(err)
	}
	if e.Type != "ERROR" || s.Code != http.StatusGone || s.Reason != metav1.StatusReasonExpired || !strings.HasPrefix(s.Message, "too old resource version: "+old.ResourceVersion+" (") {
		t.Errorf("event %s %s", e.Type, e.Object)
	}
}
