package aggregate

import (
	"context"
	"net/http"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/proxy"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/transport"
	"k8s.io/streaming/pkg/httpstream"

	"coracle.local/services/apiserver/internal/auth"
)

// discoveryTimeout bounds requests for what a version has, which must not keep
// clients that ask for all of them.
const discoveryTimeout = 5 * time.Second

// HasGroup tells whether another server has a version of a group.
func (a *Aggregator) HasGroup(group string) bool {
	return a != nil && a.routes.Load().groups[group]
}

// ServeHTTP passes a request on to the server that has the version of its path;
// ok is false if there is none. The context carries the user.
func (a *Aggregator) ServeHTTP(w http.ResponseWriter, r *http.Request) (ok bool) {
	if a == nil {
		return false
	}
	routes := a.routes.Load()
	if len(routes.byVersion) == 0 {
		return false
	}
	gv, discovery, ok := versionOf(r.URL.Path)
	if !ok {
		return false
	}
	remote := routes.byVersion[gv]
	if remote == nil {
		return false
	}
	if discovery {
		ctx, cancel := context.WithTimeout(r.Context(), discoveryTimeout)
		defer cancel()
		r = r.WithContext(ctx)
	}
	remote.forward(w, r)
	return true
}

// versionOf reads the group and version of a path; discovery tells that there is
// no more to it.
func versionOf(path string) (gv schema.GroupVersion, discovery, ok bool) {
	parts := strings.SplitN(strings.TrimPrefix(path, "/"), "/", 4)
	switch {
	case len(parts) >= 3 && parts[0] == "apis":
		return schema.GroupVersion{Group: parts[1], Version: parts[2]}, len(parts) == 3 || parts[3] == "", parts[2] != ""
	case len(parts) >= 2 && parts[0] == "api":
		return schema.GroupVersion{Version: parts[1]}, len(parts) == 2 || parts[2] == "", true
	}
	return gv, false, false
}

// forward passes a request on, upgrades included, with the caller's identity in
// place of the credentials.
func (r *remote) forward(w http.ResponseWriter, q *http.Request) {
	switch {
	case !r.available:
		http.Error(w, "service unavailable", http.StatusServiceUnavailable)
		return
	case r.failed != nil:
		http.Error(w, r.failed.Error(), http.StatusInternalServerError)
		return
	}
	u := auth.User(q.Context())
	if u == nil {
		http.Error(w, "missing user", http.StatusInternalServerError)
		return
	}
	place, err := r.choose(q.Context())
	if err != nil {
		http.Error(w, "service unavailable", http.StatusServiceUnavailable)
		return
	}
	location := r.location(place.Address(), q.URL.Path)
	location.RawQuery = q.URL.Query().Encode()
	next := q.Clone(q.Context())
	next.URL, next.Host = location, location.Host
	withoutIdentity(next.Header)
	if id := w.Header().Get("Audit-Id"); id != "" {
		next.Header.Set("Audit-ID", id)
	}
	upgrade := httpstream.IsUpgradeRequest(q)
	if upgrade {
		// Upgrades go around the round tripper below.
		transport.SetAuthProxyHeaders(next, u.GetName(), u.GetUID(), u.GetGroups(), u.GetExtra())
	}
	h := proxy.NewUpgradeAwareHandler(location, r.as(u), true, upgrade, unavailable{})
	h.RejectForwardingRedirects = true
	h.ServeHTTP(w, next)
}

func (r *remote) as(u user.Info) http.RoundTripper {
	return transport.NewAuthProxyRoundTripper(u.GetName(), u.GetUID(), u.GetGroups(), u.GetExtra(), r.transport)
}

// withoutIdentity takes off what the client said about itself to this server.
func withoutIdentity(h http.Header) {
	h.Del("Authorization")
	for name := range h {
		if strings.HasPrefix(name, "Impersonate-") || strings.HasPrefix(name, "X-Remote-") {
			h.Del(name)
		}
	}
}

// unavailable answers when a server cannot be reached.
type unavailable struct{}

func (unavailable) Error(w http.ResponseWriter, _ *http.Request, err error) {
	http.Error(w, err.Error(), http.StatusServiceUnavailable)
}
