package e2e

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/rest"
)

// web speaks plain HTTP to an API server, as programs without a client library
// do.
type web struct {
	t      *testing.T
	client *http.Client
	server string
}

func newWeb(t *testing.T, cfg *rest.Config) *web {
	t.Helper()
	client, err := rest.HTTPClientFor(cfg)
	if err != nil {
		t.Fatal(err)
	}
	// Else the server would wait for it at its end.
	t.Cleanup(func() { utilnet.CloseIdleConnectionsFor(client.Transport) })
	return &web{t, client, cfg.Host}
}

const (
	asJSON     = "application/json"
	asYAML     = "application/yaml"
	asTable    = "application/json;as=Table;g=meta.k8s.io;v=v1"
	asMetadata = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1"
	asList     = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1"
	asProtobuf = "application/vnd.kubernetes.protobuf"
	merge      = "application/merge-patch+json"
	apply      = "application/apply-patch+yaml"
)

// answer is what a request is answered with.
type answer struct {
	t      *testing.T
	what   string
	code   int
	header http.Header
	body   []byte
}

// open sends a request; the caller closes the answer.
func (w *web) open(ctx context.Context, method, path, body string, header map[string]string) *http.Response {
	w.t.Helper()
	request, err := http.NewRequestWithContext(ctx, method, w.server+path, strings.NewReader(body))
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Accept", asJSON)
	if body != "" {
		request.Header.Set("Content-Type", asJSON)
	}
	for key, value := range header {
		request.Header.Set(key, value)
	}
	out, err := w.client.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *web) send(method, path, body string, header map[string]string) *answer {
	w.t.Helper()
	out := w.open(context.Background(), method, path, body, header)
	defer func() { _ = out.Body.Close() }()
	b, err := io.ReadAll(out.Body)
	if err != nil {
		w.t.Fatal(err)
	}
	return &answer{w.t, method + " " + path, out.StatusCode, out.Header, b}
}

func (w *web) get(path, accept string) *answer {
	w.t.Helper()
	return w.send(http.MethodGet, path, "", map[string]string{"Accept": accept})
}

func (w *web) post(path, body string) *answer {
	w.t.Helper()
	return w.send(http.MethodPost, path, body, nil)
}

func (w *web) put(path, body string) *answer {
	w.t.Helper()
	return w.send(http.MethodPut, path, body, nil)
}

func (w *web) patch(path, contentType, body string) *answer {
	w.t.Helper()
	return w.send(http.MethodPatch, path, body, map[string]string{"Content-Type": contentType})
}

// is holds the answer to a code.
func (a *answer) is(code int) *answer {
	a.t.Helper()
	if a.code != code {
		a.t.Fatalf("%s: %d, want %d\n%s", a.what, a.code, code, a.body)
	}
	return a
}

// into decodes the answer.
func (a *answer) into(v any) {
	a.t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		a.t.Fatalf("%s: %v\n%s", a.what, err, a.body)
	}
}

// refuses holds the answer to a refusal.
func (a *answer) refuses(code int, reason metav1.StatusReason, message string) {
	a.t.Helper()
	var s metav1.Status
	a.is(code).into(&s)
	if s.Reason != reason || s.Message != message {
		a.t.Errorf("%s: %s %q, want %s %q", a.what, s.Reason, s.Message, reason, message)
	}
}

// as decodes the answer of a request that works.
func as[T any](a *answer) T {
	a.t.Helper()
	var v T
	if a.code >= http.StatusMultipleChoices {
		a.t.Fatalf("%s: %d\n%s", a.what, a.code, a.body)
	}
	a.into(&v)
	return v
}
