// Package health answers /healthz, /livez and /readyz, as a whole and check by
// check.
package health

import (
	"bytes"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"go.uber.org/zap"
)

// Check is one thing that must be well.
type Check struct {
	Name  string
	Check func(*http.Request) error
}

// Checks are those of each endpoint. Ping is added to all of them.
type Checks struct {
	Healthz, Livez, Readyz []Check
	Log                    *zap.Logger
}

func (c *Checks) of(endpoint string) []Check {
	ping := Check{Name: "ping", Check: func(*http.Request) error { return nil }}
	switch endpoint {
	case "healthz":
		return append([]Check{ping}, c.Healthz...)
	case "livez":
		return append([]Check{ping}, c.Livez...)
	case "readyz":
		return append([]Check{ping}, c.Readyz...)
	}
	return nil
}

// Paths are all that is served.
func (c *Checks) Paths() []string {
	var out []string
	for _, endpoint := range []string{"healthz", "livez", "readyz"} {
		out = append(out, "/"+endpoint)
		for _, check := range c.of(endpoint) {
			out = append(out, "/"+endpoint+"/"+check.Name)
		}
	}
	return out
}

// Serve answers a request. ok is false, and nothing is written, if nothing is
// checked at its path.
func (c *Checks) Serve(w http.ResponseWriter, r *http.Request) (ok bool) {
	endpoint, name, single := strings.Cut(strings.Trim(r.URL.Path, "/"), "/")
	checks := c.of(endpoint)
	if checks == nil {
		return false
	}
	if !single {
		c.all(w, r, endpoint, checks)
		return true
	}
	for _, check := range checks {
		if check.Name == name {
			c.one(w, r, check)
			return true
		}
	}
	return false
}

func (c *Checks) one(w http.ResponseWriter, r *http.Request, check Check) {
	if err := check.Check(r); err != nil {
		http.Error(w, fmt.Sprintf("internal server error: %v", err), http.StatusInternalServerError)
		return
	}
	plain(w, "ok")
}

// all runs every check that the query does not exclude. Why one failed is for
// the log: anybody may ask.
func (c *Checks) all(w http.ResponseWriter, r *http.Request, endpoint string, checks []Check) {
	query := r.URL.Query()
	excluded := query["exclude"]
	unknown := slices.Clone(excluded)
	failed := false
	var report bytes.Buffer
	for _, check := range checks {
		if slices.Contains(excluded, check.Name) {
			unknown = slices.DeleteFunc(unknown, func(name string) bool { return name == check.Name })
			fmt.Fprintf(&report, "[+]%s excluded: ok\n", check.Name)
			continue
		}
		if err := check.Check(r); err != nil {
			failed = true
			c.Log.Debug("health check failed", zap.String("endpoint", endpoint), zap.String("check", check.Name), zap.Error(err))
			fmt.Fprintf(&report, "[-]%s failed: reason withheld\n", check.Name)
			continue
		}
		fmt.Fprintf(&report, "[+]%s ok\n", check.Name)
	}
	if len(unknown) > 0 {
		slices.Sort(unknown)
		for i, name := range unknown {
			unknown[i] = strconv.Quote(name)
		}
		fmt.Fprintf(&report, "warn: some health checks cannot be excluded: no matches for %s\n", strings.Join(unknown, ","))
	}
	if failed {
		http.Error(w, report.String()+endpoint+" check failed", http.StatusInternalServerError)
		return
	}
	if _, verbose := query["verbose"]; !verbose {
		plain(w, "ok")
		return
	}
	plain(w, report.String()+endpoint+" check passed\n")
}

func plain(w http.ResponseWriter, text string) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	// An error here is the client's going away.
	_, _ = w.Write([]byte(text))
}
