package catalog_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/catalog"
	"coracle.local/services/apiserver/internal/custom"
)

func entry(t *testing.T, group, plural string, versions ...string) *catalog.Entry {
	t.Helper()
	crd := &apiextensionsv1.CustomResourceDefinition{}
	crd.Name = plural + "." + group
	crd.Spec.Group, crd.Spec.Scope = group, apiextensionsv1.NamespaceScoped
	crd.Spec.Names = apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Kind: "Kind" + plural}
	for i, v := range versions {
		crd.Spec.Versions = append(crd.Spec.Versions, apiextensionsv1.CustomResourceDefinitionVersion{Name: v, Served: true, Storage: i == 0})
	}
	d, err := custom.Compile(crd, custom.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return &catalog.Entry{Name: crd.Name, Definition: d}
}

func TestZeroHasTheTable(t *testing.T) {
	var c catalog.Catalog
	pods := kinds.For[*corev1.Pod]()
	if c.ByResource(pods.GroupVersionResource()) != pods || c.ByKind(pods.GroupVersionKind()) != pods || len(c.All()) != len(kinds.All()) {
		t.Error("the kinds of the table are not found")
	}
	if !c.HasGroup("apps") || c.HasGroup("example.com") {
		t.Error("groups")
	}
}

func TestSetAndRemove(t *testing.T) {
	var c catalog.Catalog
	var seen []int64
	c.Observe(func(s *catalog.State) { seen = append(seen, s.Generation) })
	c.Set(entry(t, "example.com", "bars", "v1alpha1", "v1", "v1beta1"), entry(t, "a.example.com", "foos", "v1"))
	var order []string
	for _, k := range c.Now().Custom {
		order = append(order, k.GroupVersionResource().String())
	}
	want := []string{"a.example.com/v1, Resource=foos", "example.com/v1, Resource=bars", "example.com/v1beta1, Resource=bars", "example.com/v1alpha1, Resource=bars"}
	if !slices.Equal(order, want) {
		t.Errorf("order %v", order)
	}
	bars := schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "bars"}
	k := c.ByResource(bars)
	if k == nil || c.ByKind(k.GroupVersionKind()) != k || custom.Of(k) != c.Entry("bars.example.com").Definition || !c.HasGroup("example.com") {
		t.Fatalf("bars are %v", k)
	}
	going := *c.Entry("bars.example.com")
	going.Terminating = true
	c.Set(&going)
	if !c.Terminating(k) || c.ByResource(bars) != k {
		t.Error("a definition that goes is served and takes nothing new")
	}
	c.Remove("bars.example.com")
	if c.ByResource(bars) != nil || c.HasGroup("example.com") || c.Terminating(k) || len(c.Now().Entries()) != 1 {
		t.Error("bars are still there")
	}
	if !slices.Equal(seen, []int64{1, 2, 3}) {
		t.Errorf("observed %v", seen)
	}
}

func TestBuiltInVersionsTakeNothing(t *testing.T) {
	var c catalog.Catalog
	c.Set(entry(t, "networking.k8s.io", "routes", "v1", "v1alpha7"))
	if c.ByResource(schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1", Resource: "routes"}) != nil {
		t.Error("a built-in version got a custom resource")
	}
	if c.ByResource(schema.GroupVersionResource{Group: "networking.k8s.io", Version: "v1alpha7", Resource: "routes"}) == nil {
		t.Error("a version of its own is not served")
	}
}
