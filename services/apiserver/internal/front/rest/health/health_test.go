package health

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"testing"

	"go.uber.org/zap"
)

func TestServe(t *testing.T) {
	checks := &Checks{
		Livez:  []Check{{"etcd", func(*http.Request) error { return nil }}},
		Readyz: []Check{{"etcd", func(*http.Request) error { return nil }}, {"cache", func(*http.Request) error { return errors.New("secret") }}},
		Log:    zap.NewNop(),
	}
	tests := []struct {
		path string
		code int
		body string
	}{
		{"/healthz", 200, "ok"},
		{"/livez?verbose", 200, "[+]ping ok\n[+]etcd ok\nlivez check passed\n"},
		{"/livez/etcd", 200, "ok"},
		{"/readyz", 500, "[+]ping ok\n[+]etcd ok\n[-]cache failed: reason withheld\nreadyz check failed\n"},
		{"/readyz?exclude=cache", 200, "ok"},
		{"/readyz?exclude=cache&exclude=zz&exclude=aa&verbose", 200, "[+]ping ok\n[+]etcd ok\n[+]cache excluded: ok\nwarn: some health checks cannot be excluded: no matches for \"aa\",\"zz\"\nreadyz check passed\n"},
		{"/readyz/cache", 500, "internal server error: secret\n"},
		{"/readyz/nope", 404, ""},
		{"/other", 404, ""},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			w := httptest.NewRecorder()
			if !checks.Serve(w, httptest.NewRequest(http.MethodGet, tt.path, http.NoBody)) {
				w.Code = http.StatusNotFound
			}
			if w.Code != tt.code || w.Body.String() != tt.body {
				t.Errorf("got %d %q, want %d %q", w.Code, w.Body, tt.code, tt.body)
			}
		})
	}
	if !slices.Contains(checks.Paths(), "/readyz/cache") {
		t.Errorf("paths %v", checks.Paths())
	}
}
