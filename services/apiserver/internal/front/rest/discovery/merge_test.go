package discovery

import (
	"slices"
	"testing"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/services/apiserver/internal/aggregate"
	"coracle.local/services/apiserver/internal/catalog"
)

func TestOtherServersVersionsAreWhereTheirPrioritySays(t *testing.T) {
	d := build((&catalog.Catalog{}).Now())
	before := d.rest.etag
	version := func(group, version string, p aggregate.Priority) aggregate.Version {
		return aggregate.Version{
			GroupVersion: schema.GroupVersion{Group: group, Version: version}, Priority: p,
			Discovery: apidiscoveryv2.APIVersionDiscovery{Version: version},
		}
	}
	d.merge([]aggregate.Version{
		version("b.example.com", "v1beta1", aggregate.Priority{Group: 1000, Version: 15}),
		version("b.example.com", "v1", aggregate.Priority{Group: 1000, Version: 15}),
		version("a.example.com", "v1", aggregate.Priority{Group: 1000, Version: 15}),
		version("first.example.com", "v1", aggregate.Priority{Group: 17790, Version: 15}),
		version("autoscaling", "v3", aggregate.Priority{Group: 100, Version: 20}),
	})
	var names []string
	versions := map[string][]string{}
	for _, g := range d.groups {
		names = append(names, g.Name)
		for _, v := range g.Versions {
			versions[g.Name] = append(versions[g.Name], v.Version)
		}
	}
	if !slices.Equal(names[:4], []string{"apiregistration.k8s.io", "apps", "first.example.com", "events.k8s.io"}) {
		t.Errorf("begins with %v", names[:4])
	}
	if end := names[len(names)-2:]; !slices.Equal(end, []string{"a.example.com", "b.example.com"}) {
		t.Errorf("ends with %v", end)
	}
	if !slices.Equal(versions["b.example.com"], []string{"v1", "v1beta1"}) || !slices.Equal(versions["autoscaling"], []string{"v2", "v3", "v1"}) {
		t.Errorf("%v", versions)
	}
	if d.rest.etag == before {
		t.Error("the tag is the same")
	}
}
