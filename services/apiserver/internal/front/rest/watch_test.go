package rest

import (
	"bufio"
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/websocket"
)

// follow opens a watch over HTTP and returns its lines.
func follow(t *testing.T, f *front, query string, headers ...string) (lines *bufio.Scanner, header http.Header) {
	t.Helper()
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	ctx, cancel := context.WithCancel(context.Background())
	t.Cleanup(cancel)
	q, err := http.NewRequestWithContext(ctx, "GET", server.URL+query, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(headers); i += 2 {
		q.Header.Set(headers[i], headers[i+1])
	}
	r, err := server.Client().Do(q)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { cancel(); _ = r.Body.Close() })
	return bufio.NewScanner(r.Body), r.Header
}

func next(t *testing.T, lines *bufio.Scanner) string {
	t.Helper()
	if !lines.Scan() {
		t.Fatalf("the watch ended: %v", lines.Err())
	}
	return lines.Text()
}

func TestWatchSeesStateAndChanges(t *testing.T) {
	f := newFront(t)
	f.configMap("a", "{}")
	lines, header := follow(t, f, configMaps+"?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan")
	if header.Get("Content-Type") != "application/json" {
		t.Errorf("type %q", header.Get("Content-Type"))
	}
	if line := next(t, lines); !strings.HasPrefix(line, `{"type":"ADDED","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"a"`) {
		t.Error(line)
	}
	if line := next(t, lines); line != `{"type":"BOOKMARK","object":{"kind":"ConfigMap","apiVersion":"v1","metadata":{"resourceVersion":"11","annotations":{"k8s.io/initial-events-end":"true"}}}}` {
		t.Error(line)
	}
	f.do("DELETE", configMaps+"/a", "")
	if line := next(t, lines); !strings.HasPrefix(line, `{"type":"DELETED"`) || !strings.Contains(line, `"resourceVersion":"12"`) {
		t.Error(line)
	}
}

func TestOlderWatchPath(t *testing.T) {
	f := newFront(t)
	f.configMap("a", "{}")
	lines, _ := follow(t, f, "/api/v1/watch/namespaces/default/configmaps/a?resourceVersion=10")
	if line := next(t, lines); !strings.HasPrefix(line, `{"type":"ADDED"`) {
		t.Error(line)
	}
}

func TestWatchRefusals(t *testing.T) {
	f := newFront(t)
	f.floor = 5
	tests := []struct {
		name, query, accept string
		code                int
		want                string
	}{
		{"wrong version", "?watch=1&resourceVersion=abc", "", 500, `"message":"resourceVersion: Invalid value: \"abc\": strconv.ParseUint: parsing \"abc\": invalid syntax","code":500`},
		{"expired, told within", "?watch=1&resourceVersion=3", "", 200, `{"type":"ERROR","object":{"kind":"Status","apiVersion":"v1","metadata":{},"status":"Failure","message":"too old resource version: 3 (5)","reason":"Expired","code":410}}`},
		{"yaml", "?watch=1", "application/yaml", 406, "application/json;stream=watch"},
		{"wrong match", "?watch=1&resourceVersionMatch=Exact", "", 422, "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			w := f.do("GET", configMaps+tt.query, "", "Accept", tt.accept)
			if w.Code != tt.code || !strings.Contains(w.Body.String(), tt.want) {
				t.Errorf("got %d %s, want %d %s", w.Code, w.Body, tt.code, tt.want)
			}
		})
	}
	if w := f.do("GET", "/api/v1/componentstatuses?watch=1", ""); w.Code != 405 || !strings.Contains(message(w), "watch is not supported on resources of kind") {
		t.Errorf("a kind without watch: %d %s", w.Code, w.Body)
	}
}

func TestWatchEndsWhenTheServerDrains(t *testing.T) {
	draining, drain := context.WithCancel(context.Background())
	f := newFront(t, func(c *Config) { c.Draining = draining })
	lines, _ := follow(t, f, configMaps+"?watch=1")
	drain()
	if lines.Scan() || lines.Err() != nil {
		t.Errorf("%s, %v", lines.Text(), lines.Err())
	}
}

func TestHowLongAWatchLasts(t *testing.T) {
	c := &call{server: &server{Config: Config{MinWatch: time.Minute}}}
	five := int64(5)
	if got := c.lasts(&five); got != 5*time.Second {
		t.Errorf("asked for: %v", got)
	}
	for range 100 {
		if got := c.lasts(nil); got < time.Minute || got > 2*time.Minute {
			t.Fatalf("by itself: %v", got)
		}
	}
}

func TestWatchOverWebSocket(t *testing.T) {
	f := newFront(t)
	f.configMap("a", "{}")
	server := httptest.NewServer(f)
	defer server.Close()
	c, err := websocket.Dial("ws"+strings.TrimPrefix(server.URL, "http")+configMaps+"?watch=1", "", server.URL)
	if err != nil {
		t.Fatal(err)
	}
	var text string
	if err := websocket.Message.Receive(c, &text); err != nil || !strings.HasPrefix(text, `{"type":"ADDED"`) {
		t.Errorf("%s, %v", text, err)
	}
	_ = c.Close()
}

func TestManyWatchersShareWhatIsEncoded(t *testing.T) {
	f := newFront(t)
	var all []*bufio.Scanner
	for range 5 {
		lines, _ := follow(t, f, configMaps+"?watch=1&resourceVersion=10")
		all = append(all, lines)
	}
	for i := range 20 {
		f.configMap(fmt.Sprintf("c%02d", i), "{}")
	}
	for _, lines := range all {
		for i := range 20 {
			if line := next(t, lines); !strings.Contains(line, fmt.Sprintf(`"name":"c%02d"`, i)) {
				t.Fatalf("event %d: %s", i, line)
			}
		}
	}
}
