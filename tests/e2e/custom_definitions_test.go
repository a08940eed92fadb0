package e2e

import (
	"fmt"
	"net/http"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/tests/fixture"
)

// widgets is a definition of two versions.
const widgets = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: widgets.example.com}
spec:
  group: example.com
  scope: Namespaced
  names: {plural: widgets, singular: widget, kind: Widget}
  versions:
  - name: v1
    served: true
    storage: true
    schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
  - name: v2
    served: true
    storage: false
    selectableFields: [{jsonPath: .spec.size}]
    schema:
      openAPIV3Schema:
        type: object
        x-kubernetes-preserve-unknown-fields: true
        properties: {spec: {type: object, properties: {size: {type: string}, color: {type: string, default: red}}}}
`

const widget = `{"apiVersion":"example.com/v1","kind":"Widget","metadata":{"name":"w"},"spec":{"size":"big"}}`

func TestCustomVersions(t *testing.T) {
	c := startCustoms(t)
	c.define(widgets)
	v1, v2 := c.in("example.com", "v1", "widgets"), c.in("example.com", "v2", "widgets")
	seen, err := v2.Watch(t.Context(), metav1.ListOptions{FieldSelector: "spec.size=big"})
	if err != nil {
		t.Fatal(err)
	}
	created, err := v1.Create(t.Context(), parsed(t, widget), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	e := <-seen.ResultChan()
	shown, ok := e.Object.(*unstructured.Unstructured)
	if !ok || e.Type != watch.Added || shown.GetAPIVersion() != "example.com/v2" {
		t.Fatalf("the second version was shown %+v", e)
	}
	if color, _, _ := unstructured.NestedString(shown.Object, "spec", "color"); color != "" {
		t.Errorf("a default of the second version was set on what is stored in the first: %q", color)
	}
	got, err := v2.Get(t.Context(), "w", metav1.GetOptions{})
	if err != nil || got.GetAPIVersion() != "example.com/v2" || got.GetResourceVersion() != created.GetResourceVersion() {
		t.Fatalf("%v, %v", got, err)
	}
	// Who applies in one version owns the fields in the other, too.
	force := true
	apply := func(r string, size string) error {
		config := fmt.Sprintf(`{"apiVersion":"example.com/%s","kind":"Widget","spec":{"size":%q}}`, r, size)
		_, err := c.in("example.com", r, "widgets").Patch(t.Context(), "w", types.ApplyPatchType, []byte(config), metav1.PatchOptions{FieldManager: r, Force: &force})
		force = false
		return err
	}
	if err := apply("v1", "small"); err != nil {
		t.Fatal(err)
	}
	if err := apply("v2", "other"); !apierrors.IsConflict(err) {
		t.Errorf("a field that is applied in the first version was taken in the second: %v", err)
	}
	seen.Stop()

	// The second version becomes the one that is stored: open watches end, and
	// what is written again is stored in it.
	open, err := v1.Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	crd := []byte(`[{"op":"replace","path":"/spec/versions/0/storage","value":false},{"op":"replace","path":"/spec/versions/1/storage","value":true}]`)
	if _, err := c.any.Resource(definitions).Patch(t.Context(), "widgets.example.com", types.JSONPatchType, crd, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	for range open.ResultChan() {
	}
	before, err := v1.Get(t.Context(), "w", metav1.GetOptions{})
	if err != nil || before.GetAPIVersion() != "example.com/v1" {
		t.Fatalf("%v, %v", before, err)
	}
	after, err := v1.Update(t.Context(), before, metav1.UpdateOptions{})
	if err != nil || after.GetResourceVersion() == before.GetResourceVersion() {
		t.Errorf("an object that is stored in an older version was not written anew: %v, %v", after, err)
	}
	// It came back with the default of the version that it is stored in.
	if after, err = v1.Update(t.Context(), after, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	again, err := v1.Update(t.Context(), after, metav1.UpdateOptions{})
	if err != nil || again.GetResourceVersion() != after.GetResourceVersion() {
		t.Errorf("it was written twice: %v, %v", again, err)
	}
	now, err := c.any.Resource(definitions).Get(t.Context(), "widgets.example.com", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if stored, _, _ := unstructured.NestedStringSlice(now.Object, "status", "storedVersions"); len(stored) != 2 {
		t.Errorf("stored versions %v", stored)
	}
}

// Objects go before their definition does, nothing is created meanwhile, and
// watches end.
func TestDefinitionsEnd(t *testing.T) {
	c := startCustoms(t)
	c.define(widgets)
	v1 := c.in("example.com", "v1", "widgets")
	held := parsed(t, widget)
	held.SetFinalizers([]string{"example.com/hold"})
	if _, err := v1.Create(t.Context(), held, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	seen, err := v1.Watch(t.Context(), metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	c.undefine("widgets.example.com")
	c.await("widgets.example.com", "Terminating", "True")
	other := parsed(t, widget)
	other.SetName("other")
	_, err = v1.Create(t.Context(), other, metav1.CreateOptions{})
	if want := `widgets.example.com "other" is forbidden: create not allowed while custom resource definition is terminating`; textOf(err) != want {
		t.Errorf("got  %v\nwant %s", err, want)
	}
	fixture.Eventually(t, 10*time.Second, "the object is marked", func() bool {
		now, err := v1.Get(t.Context(), "w", metav1.GetOptions{})
		return err == nil && now.GetDeletionTimestamp() != nil
	})
	if _, err := v1.Patch(t.Context(), "w", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	var last watch.EventType
	for e := range seen.ResultChan() {
		last = e.Type
	}
	if last != watch.Deleted {
		t.Errorf("the last event was %s", last)
	}
	fixture.Eventually(t, 10*time.Second, "the definition is gone", func() bool {
		_, err := c.any.Resource(definitions).Get(t.Context(), "widgets.example.com", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
	w := newWeb(t, c.cfg)
	fixture.Eventually(t, 10*time.Second, "nothing of the group is served", func() bool {
		return w.get("/apis/example.com", asJSON).code == http.StatusNotFound &&
			w.get("/apis/example.com/v1", asJSON).code == http.StatusNotFound &&
			w.get("/apis/example.com/v1/namespaces/default/widgets", asJSON).code == http.StatusNotFound
	})

	// The same once more finds nothing of before.
	c.define(strings.ReplaceAll(widgets, "scope: Namespaced", "scope: Cluster"))
	if l, err := c.any.Resource(widgetsV1).List(t.Context(), metav1.ListOptions{}); err != nil || len(l.Items) != 0 {
		t.Errorf("%v, %v", l, err)
	}
	if _, err := c.any.Resource(widgetsV1).Create(t.Context(), other, metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
}

var widgetsV1 = schema.GroupVersionResource{Group: "example.com", Version: "v1", Resource: "widgets"}

// Of two definitions that ask for one name the first has it, until it goes.
func TestConflictsOfNames(t *testing.T) {
	c := startCustoms(t)
	c.define(widgets)
	second := strings.NewReplacer("widgets", "gadgets", "singular: widget", "singular: gadget").Replace(widgets)
	if _, err := c.any.Resource(definitions).Create(t.Context(), parsed(t, second), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if reason := c.await("gadgets.example.com", "NamesAccepted", "False"); reason != "ListKindConflict" {
		t.Errorf("reason %s", reason)
	}
	c.await("gadgets.example.com", "Established", "False")
	if _, err := c.in("example.com", "v1", "gadgets").List(t.Context(), metav1.ListOptions{}); !apierrors.IsNotFound(err) {
		t.Errorf("objects without an accepted kind are served: %v", err)
	}
	c.undefine("widgets.example.com")
	c.await("gadgets.example.com", "Established", "True")
	if _, err := c.in("example.com", "v1", "gadgets").List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Error(err)
	}
}

// A cluster that starts again serves what was stored, whether it had been used
// or not.
func TestCustomResourcesAreKept(t *testing.T) {
	cfg := cluster.Config{DataDir: filepath.Join(t.TempDir(), "data"), Controllers: []string{"-*"}}
	first := fixture.Start(t, cfg)
	c := newCustoms(t, first.Config)
	c.define(widgets)
	created, err := c.in("example.com", "v1", "widgets").Create(t.Context(), parsed(t, widget), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	first.Stop()
	c = newCustoms(t, fixture.Start(t, cfg).Config)
	kept, err := c.in("example.com", "v2", "widgets").Get(t.Context(), "w", metav1.GetOptions{})
	if err != nil || kept.GetUID() != created.GetUID() || kept.GetResourceVersion() != created.GetResourceVersion() {
		t.Errorf("%v, %v", kept, err)
	}
	c.undefine("widgets.example.com")
	fixture.Eventually(t, 10*time.Second, "the definition is gone", func() bool {
		_, err := c.any.Resource(definitions).Get(t.Context(), "widgets.example.com", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

// Many definitions cost little.
func TestManyDefinitions(t *testing.T) {
	const many = 500
	c := startCustoms(t)
	before := heap()
	began := time.Now()
	var group sync.WaitGroup
	slots := make(chan struct{}, 16)
	for n := range many {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			text := strings.NewReplacer("crontabs", fmt.Sprintf("crontabs%d", n), "crontab,", fmt.Sprintf("crontab%d,", n),
				"CronTab", fmt.Sprintf("CronTab%d", n), "[ct]", fmt.Sprintf("[ct%d]", n)).Replace(crontabs)
			if _, err := c.any.Resource(definitions).Create(t.Context(), parsed(t, text), metav1.CreateOptions{}); err != nil {
				t.Error(err)
			}
		})
	}
	group.Wait()
	for n := range many {
		c.await(fmt.Sprintf("crontabs%d.stable.example.com", n), "Established", "True")
	}
	took := time.Since(began)
	idle := heap()
	for n := range many {
		u := parsed(t, crontab)
		u.SetKind(fmt.Sprintf("CronTab%d", n))
		if _, err := c.in("stable.example.com", "v1", fmt.Sprintf("crontabs%d", n)).Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	used := heap()
	t.Logf("%d definitions established in %v; memory a definition: %d KiB idle, %d KiB used", many, took, (idle-before)/many>>10, (used-before)/many>>10)
	if (idle-before)/many > 512<<10 {
		t.Error("an idle definition costs more than 0.5 MiB")
	}
}

func heap() int64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC()
	runtime.ReadMemStats(&m)
	return int64(m.HeapAlloc)
}
