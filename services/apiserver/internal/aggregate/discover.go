package aggregate

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/transport"
)

// most bounds a document of another server.
const most = 64 << 20

// Version is what is known of a version that another server has.
type Version struct {
	schema.GroupVersion
	Priority Priority
	// Discovery is marked stale if the server did not answer lately.
	Discovery apidiscoveryv2.APIVersionDiscovery
}

// Generation grows with each change of what Versions returns.
func (a *Aggregator) Generation() int64 {
	if a == nil {
		return 0
	}
	return a.generation.Load()
}

// Versions are all that other servers have. They are shared: do not modify them.
func (a *Aggregator) Versions() []Version {
	if a == nil {
		return nil
	}
	var out []Version
	for gv, r := range a.routes.Load().byVersion {
		out = append(out, Version{GroupVersion: gv, Priority: r.priority, Discovery: r.known.Load().discovery})
	}
	slices.SortFunc(out, func(a, b Version) int { return strings.Compare(a.String(), b.String()) })
	return out
}

// learn asks the server what it serves, and tells whether that is news. Of one
// that cannot be reached the last answer stays, marked stale.
func (r *remote) learn(ctx context.Context, reachable bool) bool {
	before := r.known.Load()
	next := *before
	fresh := false
	if reachable {
		ctx, cancel := context.WithTimeout(ctx, patience)
		defer cancel()
		fresh = r.discover(ctx, &next) == nil
		r.learnOpenAPI(ctx, &next)
	}
	next.discovery.Freshness = apidiscoveryv2.DiscoveryFreshnessStale
	if fresh {
		next.discovery.Freshness = apidiscoveryv2.DiscoveryFreshnessCurrent
	}
	if next.etag == before.etag && next.etag != "" && next.discovery.Freshness == before.discovery.Freshness && next.openapi.same(&before.openapi) {
		return false
	}
	r.known.Store(&next)
	return true
}

// discover reads the server's discovery: the aggregated document if it has one.
func (r *remote) discover(ctx context.Context, next *knowledge) error {
	a, err := r.get(ctx, "/apis", discovery.AcceptV2, next.etag)
	switch {
	case err != nil:
		return err
	case a.code == http.StatusNotModified:
		return nil
	case a.code == http.StatusServiceUnavailable:
		return fmt.Errorf("service %s/%s:%d returned non-success response code: %d", r.service.namespace, r.service.name, r.service.port, a.code)
	case a.code == http.StatusOK && isAggregated(a.header.Get("Content-Type")):
		var list apidiscoveryv2.APIGroupDiscoveryList
		if err := json.Unmarshal(a.body, &list); err != nil {
			return fmt.Errorf("read the discovery of %s: %w", r.name, err)
		}
		next.discovery, next.etag = r.find(&list), a.header.Get("Etag")
		return nil
	}
	if a, err = r.get(ctx, r.path(), "application/json", ""); err != nil {
		return err
	}
	if a.code != http.StatusOK {
		return fmt.Errorf("failed to download legacy discovery for %s: %d", r.path(), a.code)
	}
	var list metav1.APIResourceList
	if err := json.Unmarshal(a.body, &list); err != nil {
		return fmt.Errorf("read the discovery of %s: %w", r.name, err)
	}
	next.discovery, next.etag = fromLegacy(r.version, &list), ""
	return nil
}

func isAggregated(contentType string) bool {
	_, params, err := mime.ParseMediaType(contentType)
	return err == nil && params["g"] == "apidiscovery.k8s.io" && params["v"] == "v2" && params["as"] == "APIGroupDiscoveryList"
}

// find picks the version out of a server's document.
func (r *remote) find(list *apidiscoveryv2.APIGroupDiscoveryList) apidiscoveryv2.APIVersionDiscovery {
	for _, g := range list.Items {
		if g.Name != r.version.Group {
			continue
		}
		for _, v := range g.Versions {
			if v.Version != r.version.Version {
				continue
			}
			for i := range v.Resources {
				// Some clients do not bear their absence.
				if v.Resources[i].ResponseKind == nil {
					v.Resources[i].ResponseKind = &metav1.GroupVersionKind{}
				}
				for j := range v.Resources[i].Subresources {
					if v.Resources[i].Subresources[j].ResponseKind == nil {
						v.Resources[i].Subresources[j].ResponseKind = &metav1.GroupVersionKind{}
					}
				}
			}
			return v
		}
	}
	return apidiscoveryv2.APIVersionDiscovery{Version: r.version.Version}
}

// fromLegacy makes the newer form of an older list.
func fromLegacy(gv schema.GroupVersion, list *metav1.APIResourceList) apidiscoveryv2.APIVersionDiscovery {
	out := apidiscoveryv2.APIVersionDiscovery{Version: gv.Version}
	at := map[string]int{}
	for _, r := range list.APIResources {
		kind := metav1.GroupVersionKind{Group: r.Group, Version: r.Version, Kind: r.Kind}
		if kind.Group == "" && kind.Version == "" {
			kind.Group, kind.Version = gv.Group, gv.Version
		}
		parent, sub, isSub := strings.Cut(r.Name, "/")
		i, known := at[parent]
		if !known {
			i = len(out.Resources)
			at[parent] = i
			out.Resources = append(out.Resources, apidiscoveryv2.APIResourceDiscovery{
				Resource: parent, ResponseKind: &metav1.GroupVersionKind{}, Scope: apidiscoveryv2.ScopeCluster,
			})
		}
		resource := &out.Resources[i]
		if r.Namespaced {
			resource.Scope = apidiscoveryv2.ScopeNamespace
		}
		if isSub {
			resource.Subresources = append(resource.Subresources, apidiscoveryv2.APISubresourceDiscovery{Subresource: sub, ResponseKind: &kind, Verbs: r.Verbs})
			continue
		}
		resource.ResponseKind, resource.SingularResource, resource.Verbs = &kind, r.SingularName, r.Verbs
		resource.ShortNames, resource.Categories = r.ShortNames, r.Categories
	}
	return out
}

// answer is a document of another server.
type answer struct {
	code   int
	header http.Header
	body   []byte
}

// get asks the server for a document on this server's own behalf.
func (r *remote) get(ctx context.Context, path, accept, etag string) (*answer, error) {
	if r.failed != nil {
		return nil, r.failed
	}
	place, err := r.choose(ctx)
	if err != nil {
		return nil, err
	}
	q, err := http.NewRequestWithContext(ctx, http.MethodGet, r.location(place.Address(), "").String()+path, http.NoBody)
	if err != nil {
		return nil, err
	}
	q.Header.Set("Accept", accept)
	if etag != "" {
		q.Header.Set("If-None-Match", etag)
	}
	transport.SetAuthProxyHeaders(q, aggregatorUser, "", []string{masters}, nil)
	got, err := r.transport.RoundTrip(q)
	if err != nil {
		return nil, err
	}
	defer func() { _ = got.Body.Close() }()
	body, err := io.ReadAll(io.LimitReader(got.Body, most))
	return &answer{got.StatusCode, got.Header, body}, err
}
