package audit

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestValidate(t *testing.T) {
	tests := []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"nothing", func(*Config) {}, ""},
		{"mode", func(c *Config) { c.Log.Delivery.Mode = "x" }, `invalid audit log mode x, allowed modes are "batch,blocking,blocking-strict"`},
		{"format", func(c *Config) { c.Log.Format = "x" }, `invalid audit log format x, allowed formats are "legacy,json"`},
		{"age", func(c *Config) { c.Log.MaxAge = -1 }, "--audit-log-maxage -1 can't be a negative number"},
		{"version", func(c *Config) { c.Log.Version = "x/v1" }, "invalid group version, allowed versions are"},
		{"batch", func(c *Config) { c.Webhook.ConfigFile = "x"; c.Webhook.Delivery.Batch.ThrottleQPS = 0 }, "invalid audit batch webhook throttle QPS 0, must be a positive number"},
		{"long", func(c *Config) { c.Log.Delivery.TruncateConfig.MaxBatchSize = 1 }, "invalid audit truncate log max batch size 1, must be greater than max event size (102400)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := DefaultConfig()
			c.Log.Path = "x"
			tt.change(&c)
			err := c.Validate()
			if tt.want == "" && err != nil || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestFile(t *testing.T) {
	dir := t.TempDir()
	c := DefaultConfig()
	c.PolicyFile, c.Log.Path, c.Log.Format = filepath.Join(dir, "policy.yaml"), filepath.Join(dir, "deep", "audit.log"), "legacy"
	if a, err := Open(Config{PolicyFile: "nowhere"}); a != nil || err != nil {
		t.Errorf("a policy without a place: %v, %v", a, err)
	}
	if _, err := Open(c); err == nil || !strings.Contains(err.Error(), "loading audit policy file: failed to read file path") {
		t.Errorf("without the file: %v", err)
	}
	if err := os.WriteFile(c.PolicyFile, []byte("apiVersion: audit.k8s.io/v1\nkind: Policy\nrules: [{level: Metadata}]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	a, err := Open(c)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	q, r := a.Receive(httptest.NewRequest(http.MethodGet, "/version", nil), "id-1", false, time.Now())
	if err := Begin(q.Context(), jane, maps); err != nil {
		t.Fatal(err)
	}
	r.Began(200)
	r.Done(nil)
	cancel()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	raw, err := os.ReadFile(c.Log.Path)
	lines := strings.Split(strings.TrimSpace(string(raw)), "\n")
	if err != nil || len(lines) != 2 || !strings.Contains(lines[1], `AUDIT: id="id-1" stage="ResponseComplete"`) || !strings.Contains(lines[1], `user="jane"`) {
		t.Errorf("%v, %s", err, raw)
	}
}
