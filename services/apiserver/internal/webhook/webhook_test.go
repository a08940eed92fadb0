package webhook

import (
	"context"
	"encoding/pem"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"coracle.local/services/apiserver/internal/backend"
)

// answering is a webhook, and where it is.
func answering(t *testing.T, h http.HandlerFunc) (*httptest.Server, Target) {
	t.Helper()
	s := httptest.NewTLSServer(h)
	t.Cleanup(s.Close)
	return s, Target{URL: s.URL + "/hook", CABundle: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))}
}

func TestPost(t *testing.T) {
	var body, path, agent string
	_, target := answering(t, func(w http.ResponseWriter, r *http.Request) {
		raw, _ := io.ReadAll(r.Body)
		body, path, agent = string(raw), r.URL.String(), r.Header.Get("User-Agent")
		_, _ = io.WriteString(w, `{"kind":"ConversionReview","apiVersion":"apiextensions.k8s.io/v1","response":{"uid":"u","result":{"status":"Success"}}}`)
	})
	ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
	defer cancel()
	out := &apiextensionsv1.ConversionReview{}
	c := New(backend.Backends{})
	defer c.Close()
	in := &apiextensionsv1.ConversionReview{Request: &apiextensionsv1.ConversionRequest{UID: "u", DesiredAPIVersion: "a/v1"}}
	if err := c.Post(ctx, target, in, out); err != nil || out.Response == nil || out.Response.UID != "u" {
		t.Fatalf("%v, got %+v", err, out)
	}
	if path != "/hook?timeout=3s" || agent == "" || !strings.Contains(body, `"kind":"ConversionReview","apiVersion":"apiextensions.k8s.io/v1"`) {
		t.Errorf("asked %s as %s: %s", path, agent, body)
	}
}

// Errors are worded as those of upstream's client.
func TestErrors(t *testing.T) {
	tests := []struct {
		name string
		code int
		body string
		want string
	}{
		{"no such path", 404, "nothing", "the server could not find the requested resource"},
		{"broken", 500, "oops", `an error on the server ("unknown") has prevented the request from succeeding`},
		{"a status", 403, `{"kind":"Status","apiVersion":"v1","status":"Failure","message":"go away","reason":"Forbidden","code":403}`, "go away"},
		{"empty", 200, "", "0-length response with status code: 200 and content type: application/json"},
		{"no JSON", 200, "{", "couldn't get version/kind; json parse error: unexpected end of JSON input"},
		{"another kind", 200, `{"kind":"Pod","apiVersion":"v1"}`, "no kind \"Pod\" is registered for version \"v1\""},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, target := answering(t, func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				w.WriteHeader(tt.code)
				_, _ = io.WriteString(w, tt.body)
			})
			c := New(backend.Backends{})
			defer c.Close()
			err := c.Post(t.Context(), target, &admissionv1.AdmissionReview{}, &admissionv1.AdmissionReview{})
			if err == nil || !strings.HasPrefix(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
			var status *apierrors.StatusError
			if tt.code != 200 && (!errors.As(err, &status) || int(status.ErrStatus.Code) != tt.code) {
				t.Errorf("got %#v", err)
			}
		})
	}
}

func TestMisconfigured(t *testing.T) {
	c := New(backend.Backends{})
	for target, want := range map[Target]string{
		{}:                 "webhook configuration must have either service or URL",
		{URL: "https://["}: "Unparsable URL: ",
		{URL: "https://localhost", CABundle: "x"}: "unable to load root certificates: unable to parse bytes as PEM block",
	} {
		err := c.Post(t.Context(), target, &admissionv1.AdmissionReview{}, &admissionv1.AdmissionReview{})
		if err == nil || !strings.HasPrefix(err.Error(), want) {
			t.Errorf("%+v: %v", target, err)
		}
	}
}

func TestConnectionsAreKept(t *testing.T) {
	var connections atomic.Int32
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = io.WriteString(w, `{"kind":"AdmissionReview","apiVersion":"admission.k8s.io/v1"}`)
	}))
	s.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			connections.Add(1)
		}
	}
	s.StartTLS()
	defer s.Close()
	target := Target{URL: s.URL, CABundle: string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}))}
	c := New(backend.Backends{})
	defer c.Close()
	for range 3 {
		if err := c.Post(t.Context(), target, &admissionv1.AdmissionReview{}, &admissionv1.AdmissionReview{}); err != nil {
			t.Fatal(err)
		}
	}
	if n := connections.Load(); n != 1 {
		t.Errorf("%d connections", n)
	}
}
