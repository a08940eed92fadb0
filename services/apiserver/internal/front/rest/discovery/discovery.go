// Package discovery tells clients what is served: groups, their versions, and
// the resources in them, one by one or all in one document.
package discovery

import (
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"slices"
	"sync/atomic"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/aggregate"
	"coracle.local/services/apiserver/internal/catalog"
	"coracle.local/services/apiserver/internal/custom"
	"coracle.local/services/apiserver/internal/front/rest/surface"
)

// groupOrder is upstream's, by the priority of groups: clients resolve names
// that several groups have by it. Others follow in the order of the table.
var groupOrder = []string{
	"apiregistration.k8s.io", "apps", "events.k8s.io", "authentication.k8s.io", "authorization.k8s.io", "autoscaling",
	"batch", "certificates.k8s.io", "networking.k8s.io", "policy", "rbac.authorization.k8s.io", "storage.k8s.io",
	"admissionregistration.k8s.io", "apiextensions.k8s.io", "scheduling.k8s.io", "coordination.k8s.io", "node.k8s.io",
	"discovery.k8s.io", "resource.k8s.io", "flowcontrol.apiserver.k8s.io", "storagemigration.k8s.io",
}

// Documents are the discovery documents of what a catalog has. Use New.
type Documents struct {
	address func() string
	catalog *catalog.Catalog
	remote  *aggregate.Aggregator
	last    atomic.Pointer[documents]
}

// documents are made when first asked for after a change, and never modified.
type documents struct {
	generation int64 // of the catalog
	remote     int64 // the generation of what other servers have
	groups     []metav1.APIGroup
	resources  map[schema.GroupVersion][]metav1.APIResource
	core, rest aggregated
}

// aggregated is everything in one document.
type aggregated struct {
	list *apidiscoveryv2.APIGroupDiscoveryList
	etag string
}

// New returns the documents. address is where clients reach the server, remote
// what other servers have, nil for nothing.
func New(address func() string, c *catalog.Catalog, remote *aggregate.Aggregator) *Documents {
	return &Documents{address: address, catalog: c, remote: remote}
}

// all are the documents of the present state.
func (d *Documents) all() *documents {
	now, remote := d.catalog.Now(), d.remote.Generation()
	if have := d.last.Load(); have != nil && have.generation == now.Generation && have.remote == remote {
		return have
	}
	made := build(now)
	made.remote = remote
	made.merge(d.remote.Versions())
	d.last.Store(made)
	return made
}

func build(now *catalog.State) *documents {
	v := viewOf(now)
	d := &documents{generation: now.Generation, resources: map[schema.GroupVersion][]metav1.APIResource{}}
	for gv, rows := range v.kinds {
		for _, k := range rows {
			d.resources[gv] = append(d.resources[gv], resourcesOf(k, now)...)
		}
	}
	for gv, list := range d.resources {
		if !v.kinds[gv][0].Custom() { // these are in order, and their subresources are in upstream's
			slices.SortFunc(list, func(a, b metav1.APIResource) int { return compare(a.Name, b.Name) })
		}
	}
	for _, group := range v.groups {
		d.groups = append(d.groups, groupOf(group, v.versions[group]))
	}
	d.core = v.aggregate([]string{""}, now)
	d.rest = v.aggregate(v.groups, now)
	return d
}

// view is the catalog by groups and versions.
type view struct {
	groups   []string // all but the core's, in order
	versions map[string][]schema.GroupVersion
	kinds    map[schema.GroupVersion][]*kinds.Kind
}

func viewOf(now *catalog.State) *view {
	v := &view{versions: map[string][]schema.GroupVersion{}, kinds: map[schema.GroupVersion][]*kinds.Kind{}}
	var rest []string
	for _, k := range now.All() {
		gv := k.GroupVersion()
		if v.kinds[gv] == nil {
			if v.versions[k.Group] == nil && k.Group != "" && !slices.Contains(groupOrder, k.Group) {
				rest = append(rest, k.Group)
			}
			v.versions[k.Group] = append(v.versions[k.Group], gv)
		}
		v.kinds[gv] = append(v.kinds[gv], k)
	}
	v.groups = slices.DeleteFunc(slices.Clone(groupOrder), func(group string) bool { return v.versions[group] == nil })
	v.groups = append(v.groups, rest...)
	return v
}

func groupOf(group string, versions []schema.GroupVersion) metav1.APIGroup {
	g := metav1.APIGroup{Name: group}
	for _, gv := range versions {
		g.Versions = append(g.Versions, metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version})
	}
	g.PreferredVersion = g.Versions[0]
	return g
}

// resourcesOf lists a kind's resource and its subresources.
func resourcesOf(k *kinds.Kind, now *catalog.State) []metav1.APIResource {
	r := metav1.APIResource{
		Name: k.Plural, SingularName: k.Singular, Namespaced: k.Namespaced, Kind: k.Kind,
		Verbs: verbsOf(k, now), ShortNames: k.ShortNames, Categories: k.Categories,
	}
	if k.Stored() && hashed(k) {
		r.StorageVersionHash = storageHash(k)
	}
	out := []metav1.APIResource{r}
	for _, name := range k.Subresources {
		s := surface.Of(k, name)
		sub := metav1.APIResource{Name: k.Plural + "/" + name, Namespaced: k.Namespaced, Kind: s.Kind.Kind, Verbs: s.Verbs}
		if s.Kind.Group != k.Group {
			sub.Group, sub.Version = s.Kind.Group, s.Kind.Version
		}
		out = append(out, sub)
	}
	return out
}

// verbsOf are a kind's verbs as discovery lists them. Those of custom resources
// are in upstream's order.
func verbsOf(k *kinds.Kind, now *catalog.State) []string {
	switch {
	case !k.Custom():
		return k.Verbs
	case now.Terminating(k):
		return []string{"delete", "deletecollection", "get", "list", "watch"}
	}
	return []string{"delete", "deletecollection", "get", "list", "patch", "create", "update", "watch"}
}

// hashed tells whether clients are told of the kind's storage version: not where
// that is a version of a custom resource which is not served.
func hashed(k *kinds.Kind) bool {
	d := custom.Of(k)
	return d == nil || slices.Contains(d.Kinds(), d.Storage())
}

// storageHash lets clients see when a resource's storage version changes.
func storageHash(k *kinds.Kind) string {
	if k.StoredAs != nil {
		k = k.StoredAs
	}
	sum := sha256.Sum256([]byte(k.Group + "/" + k.StorageVersion + "/" + k.Kind))
	return base64.StdEncoding.EncodeToString(sum[:8])
}

func (view *view) aggregate(groups []string, now *catalog.State) aggregated {
	list := &apidiscoveryv2.APIGroupDiscoveryList{}
	for _, group := range groups {
		g := apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: group}}
		for _, gv := range view.versions[group] {
			v := apidiscoveryv2.APIVersionDiscovery{Version: gv.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
			for _, k := range view.kinds[gv] {
				v.Resources = append(v.Resources, aggregateKind(k, now))
			}
			slices.SortFunc(v.Resources, func(a, b apidiscoveryv2.APIResourceDiscovery) int { return compare(a.Resource, b.Resource) })
			g.Versions = append(g.Versions, v)
		}
		list.Items = append(list.Items, g)
	}
	return tagged(list)
}

// tagged is a document with the tag that clients know its version by.
func tagged(list *apidiscoveryv2.APIGroupDiscoveryList) aggregated {
	// Structs of strings always marshal.
	raw, _ := json.Marshal(list)
	return aggregated{list: list, etag: fmt.Sprintf("%q", fmt.Sprintf("%X", sha512.Sum512(raw)))}
}

func aggregateKind(k *kinds.Kind, now *catalog.State) apidiscoveryv2.APIResourceDiscovery {
	r := apidiscoveryv2.APIResourceDiscovery{
		Resource: k.Plural, SingularResource: k.Singular, ResponseKind: &metav1.GroupVersionKind{Kind: k.Kind},
		Scope: apidiscoveryv2.ScopeCluster, Verbs: verbsOf(k, now), ShortNames: k.ShortNames, Categories: k.Categories,
	}
	if k.Namespaced {
		r.Scope = apidiscoveryv2.ScopeNamespace
	}
	if k.Custom() {
		r.ResponseKind.Group, r.ResponseKind.Version = k.Group, k.Version
	}
	for _, name := range k.Subresources {
		s := surface.Of(k, name)
		sub := apidiscoveryv2.APISubresourceDiscovery{Subresource: name, ResponseKind: &metav1.GroupVersionKind{Kind: s.Kind.Kind}, Verbs: s.Verbs}
		if s.Kind.Group != k.Group || k.Custom() {
			sub.ResponseKind.Group, sub.ResponseKind.Version = s.Kind.Group, s.Kind.Version
		}
		r.Subresources = append(r.Subresources, sub)
	}
	return r
}

func compare(a, b string) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
