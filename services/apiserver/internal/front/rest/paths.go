package rest

import (
	"encoding/json"
	"net/http"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"

	"k8s.io/apimachinery/pkg/version"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/front/rest/respond"
)

// path answers what is not about a resource.
func (c *call) path() error {
	path := c.r.URL.Path
	if c.Aggregate.ServeHTTP(c.w, c.r) {
		return nil
	}
	switch trimmed := strings.TrimSuffix(path, "/"); {
	case trimmed == "":
		return c.indented(map[string]any{"paths": c.paths()})
	case c.Checks.Serve(c.w, c.r):
		return nil
	case trimmed == "/version":
		if c.r.Method != http.MethodGet {
			return respond.MethodNotAllowed()
		}
		return c.indented(c.Version)
	case path == "/metrics":
		c.scrape.ServeHTTP(c.w, c.r)
		return nil
	case strings.HasPrefix(path, "/openapi/v2"), strings.HasPrefix(path, "/openapi/v3"):
		c.openapi.ServeHTTP(c.w, c.r)
		return nil
	case c.OpenID != nil && (trimmed == "/.well-known/openid-configuration" || trimmed == "/openid/v1/jwks"):
		c.OpenID.ServeHTTP(c.w, c.r)
		return nil
	case path == "/api/v1/watch", path == "/api/v1/proxy":
		http.Error(c.w, `Internal Server Error: "`+path+`": failed to create RequestInfo: unable to determine kind and namespace from url, `+path, http.StatusInternalServerError)
		return nil
	}
	if known, served := c.discovered(path); known {
		return served
	}
	return c.extra()
}

// discovered answers paths of discovery. known is false if the path is none, or
// of a group that is not served here.
func (c *call) discovered(path string) (known bool, err error) {
	parts := strings.Split(strings.Trim(path, "/"), "/")
	if strings.Contains(path, "//") || (parts[0] != "api" && parts[0] != "apis") {
		return false, nil
	}
	if parts[0] == "apis" && len(parts) > 1 && !c.Catalog.HasGroup(parts[1]) && !c.Aggregate.HasGroup(parts[1]) {
		return false, nil
	}
	if c.r.Method != http.MethodGet && c.r.Method != http.MethodHead {
		return true, respond.MethodNotAllowed()
	}
	if !c.discovery.Serve(c.respond, c.w, c.r) {
		if parts[0] == "apis" && len(parts) > 1 && !slices.ContainsFunc(kinds.GroupVersions(), groupIs(parts[1])) {
			return false, nil // a group of custom resources alone
		}
		return true, respond.NotFound()
	}
	return true, nil
}

// extra passes the request on to what is mounted beside, if anything.
func (c *call) extra() error {
	if c.Extra != nil {
		c.Extra.ServeHTTP(c.w, c.r)
		return nil
	}
	http.NotFound(c.w, c.r)
	return nil
}

// paths lists what is served, as / tells it.
func (c *call) paths() []string {
	out := []string{"/api", "/apis", "/metrics", "/openapi/v2", "/openapi/v3", "/version"}
	out = append(out, c.Checks.Paths()...)
	for _, k := range c.Catalog.All() {
		if k.Group == "" {
			out = append(out, "/api/"+k.Version)
			continue
		}
		out = append(out, "/apis/"+k.Group, "/apis/"+k.APIVersion())
	}
	for _, v := range c.Aggregate.Versions() {
		out = append(out, "/apis/"+v.Group, "/apis/"+v.String())
	}
	if c.OpenID != nil {
		out = append(out, "/.well-known/openid-configuration", "/openid/v1/jwks")
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (c *call) indented(v any) error {
	raw, err := json.MarshalIndent(v, "", "  ")
	if err != nil {
		return err
	}
	c.respond.Content(c.w, c.r, "application/json", http.StatusOK, raw)
	return nil
}

// Version is what this build is: upstream's version, whose behaviour it has,
// with the commit and the compiler of its own.
func Version() version.Info {
	v := version.Info{
		Major: "1", Minor: "37", EmulationMajor: "1", EmulationMinor: "37", MinCompatibilityMajor: "1", MinCompatibilityMinor: "36",
		GitVersion: "v1.37.2", GitTreeState: "clean", BuildDate: "1970-01-01T00:00:00Z",
		GoVersion: runtime.Version(), Compiler: runtime.Compiler, Platform: runtime.GOOS + "/" + runtime.GOARCH,
	}
	if build, ok := debug.ReadBuildInfo(); ok {
		for _, s := range build.Settings {
			switch s.Key {
			case "vcs.revision":
				v.GitCommit = s.Value
			case "vcs.time":
				v.BuildDate = s.Value
			case "vcs.modified":
				if s.Value == "true" {
					v.GitTreeState = "dirty"
				}
			}
		}
	}
	return v
}
