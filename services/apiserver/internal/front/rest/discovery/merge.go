package discovery

import (
	"cmp"
	"slices"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/version"

	"coracle.local/services/apiserver/internal/aggregate"
)

// merge adds what other servers have, each where its priority says.
func (d *documents) merge(remote []aggregate.Version) {
	if len(remote) == 0 {
		return
	}
	priority := func(gv schema.GroupVersion) aggregate.Priority {
		for _, v := range remote {
			if v.GroupVersion == gv {
				return v.Priority
			}
		}
		return aggregate.PriorityOf(gv)
	}
	list := d.rest.list
	for _, v := range remote {
		if v.Group == "" {
			continue
		}
		i := slices.IndexFunc(list.Items, func(g apidiscoveryv2.APIGroupDiscovery) bool { return g.Name == v.Group })
		if i < 0 {
			i = len(list.Items)
			list.Items = append(list.Items, apidiscoveryv2.APIGroupDiscovery{ObjectMeta: metav1.ObjectMeta{Name: v.Group}})
		}
		g := &list.Items[i]
		// What another server has is not served here, whatever there is of it.
		g.Versions = slices.DeleteFunc(g.Versions, func(have apidiscoveryv2.APIVersionDiscovery) bool { return have.Version == v.Version })
		g.Versions = append(g.Versions, v.Discovery)
		slices.SortStableFunc(g.Versions, func(a, b apidiscoveryv2.APIVersionDiscovery) int {
			x, y := priority(schema.GroupVersion{Group: v.Group, Version: a.Version}), priority(schema.GroupVersion{Group: v.Group, Version: b.Version})
			return cmp.Or(cmp.Compare(y.Version, x.Version), version.CompareKubeAwareVersionStrings(b.Version, a.Version))
		})
	}
	slices.SortStableFunc(list.Items, func(a, b apidiscoveryv2.APIGroupDiscovery) int {
		return cmp.Or(cmp.Compare(highest(b, priority), highest(a, priority)), ties(a.Name, b.Name))
	})
	d.rest = tagged(list)
	d.groups = nil
	for _, g := range list.Items {
		var versions []schema.GroupVersion
		for _, v := range g.Versions {
			versions = append(versions, schema.GroupVersion{Group: g.Name, Version: v.Version})
		}
		d.groups = append(d.groups, groupOf(g.Name, versions))
	}
}

// highest is the priority of a group: the greatest of its versions.
func highest(g apidiscoveryv2.APIGroupDiscovery, priority func(schema.GroupVersion) aggregate.Priority) (most int32) {
	for _, v := range g.Versions {
		most = max(most, priority(schema.GroupVersion{Group: g.Name, Version: v.Version}).Group)
	}
	return most
}

// ties keeps groups of the table in their order, and orders others by name.
func ties(a, b string) int {
	if slices.Contains(groupOrder, a) || slices.Contains(groupOrder, b) {
		return 0
	}
	return cmp.Compare(a, b)
}
