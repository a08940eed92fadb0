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
	"sync"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
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

// Documents are the discovery documents of the table of kinds. Use New.
type Documents struct {
	address func() string
	all     func() *documents
}

// documents are made once, when first asked for, and never modified.
type documents struct {
	groups     []metav1.APIGroup
	resources  map[schema.GroupVersion][]metav1.APIResource
	core, rest aggregated
}

// aggregated is everything in one document.
type aggregated struct {
	list *apidiscoveryv2.APIGroupDiscoveryList
	etag string
}

// New returns the documents. address is where clients reach the server.
func New(address func() string) *Documents {
	return &Documents{address: address, all: sync.OnceValue(build)}
}

func build() *documents {
	d := &documents{resources: map[schema.GroupVersion][]metav1.APIResource{}}
	for _, k := range kinds.All() {
		gv := k.GroupVersion()
		d.resources[gv] = append(d.resources[gv], resourcesOf(k)...)
	}
	for _, list := range d.resources {
		slices.SortFunc(list, func(a, b metav1.APIResource) int { return compare(a.Name, b.Name) })
	}
	for _, group := range groups() {
		d.groups = append(d.groups, groupOf(group))
	}
	d.core = aggregate([]string{""})
	d.rest = aggregate(groups())
	return d
}

// groups are the names of all groups but the core's, in order.
func groups() []string {
	served := map[string]bool{}
	var rest []string
	for _, gv := range kinds.GroupVersions() {
		if gv.Group != "" && !served[gv.Group] && !slices.Contains(groupOrder, gv.Group) {
			rest = append(rest, gv.Group)
		}
		served[gv.Group] = true
	}
	out := slices.DeleteFunc(slices.Clone(groupOrder), func(group string) bool { return !served[group] })
	return append(out, rest...)
}

// versions of a group, the preferred one first.
func versions(group string) (out []schema.GroupVersion) {
	for _, gv := range kinds.GroupVersions() {
		if gv.Group == group {
			out = append(out, gv)
		}
	}
	return out
}

func groupOf(group string) metav1.APIGroup {
	g := metav1.APIGroup{Name: group}
	for _, gv := range versions(group) {
		g.Versions = append(g.Versions, metav1.GroupVersionForDiscovery{GroupVersion: gv.String(), Version: gv.Version})
	}
	g.PreferredVersion = g.Versions[0]
	return g
}

// resourcesOf lists a kind's resource and its subresources.
func resourcesOf(k *kinds.Kind) []metav1.APIResource {
	r := metav1.APIResource{
		Name: k.Plural, SingularName: k.Singular, Namespaced: k.Namespaced, Kind: k.Kind,
		Verbs: k.Verbs, ShortNames: k.ShortNames, Categories: k.Categories,
	}
	if k.Stored() {
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

// storageHash lets clients see when a resource's storage version changes.
func storageHash(k *kinds.Kind) string {
	if k.StoredAs != nil {
		k = k.StoredAs
	}
	sum := sha256.Sum256([]byte(k.Group + "/" + k.StorageVersion + "/" + k.Kind))
	return base64.StdEncoding.EncodeToString(sum[:8])
}

func aggregate(groups []string) aggregated {
	list := &apidiscoveryv2.APIGroupDiscoveryList{}
	for _, group := range groups {
		g := apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: group}}
		for _, gv := range versions(group) {
			v := apidiscoveryv2.APIVersionDiscovery{Version: gv.Version, Freshness: apidiscoveryv2.DiscoveryFreshnessCurrent}
			for _, k := range kinds.All() {
				if k.GroupVersion() == gv {
					v.Resources = append(v.Resources, aggregateKind(k))
				}
			}
			slices.SortFunc(v.Resources, func(a, b apidiscoveryv2.APIResourceDiscovery) int { return compare(a.Resource, b.Resource) })
			g.Versions = append(g.Versions, v)
		}
		list.Items = append(list.Items, g)
	}
	// Structs of strings always marshal.
	raw, _ := json.Marshal(list)
	return aggregated{list: list, etag: fmt.Sprintf("%q", fmt.Sprintf("%X", sha512.Sum512(raw)))}
}

func aggregateKind(k *kinds.Kind) apidiscoveryv2.APIResourceDiscovery {
	r := apidiscoveryv2.APIResourceDiscovery{
		Resource: k.Plural, SingularResource: k.Singular, ResponseKind: &metav1.GroupVersionKind{Kind: k.Kind},
		Scope: apidiscoveryv2.ScopeCluster, Verbs: k.Verbs, ShortNames: k.ShortNames, Categories: k.Categories,
	}
	if k.Namespaced {
		r.Scope = apidiscoveryv2.ScopeNamespace
	}
	for _, name := range k.Subresources {
		s := surface.Of(k, name)
		sub := apidiscoveryv2.APISubresourceDiscovery{Subresource: name, ResponseKind: &metav1.GroupVersionKind{Kind: s.Kind.Kind}, Verbs: s.Verbs}
		if s.Kind.Group != k.Group {
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
