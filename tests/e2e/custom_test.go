package e2e

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/yaml"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/tests/fixture"
)

var definitions = schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"}

// customs defines and uses custom resources, by client-go's dynamic client.
type customs struct {
	t   *testing.T
	any dynamic.Interface
	cfg *rest.Config
}

func newCustoms(t *testing.T, cfg *rest.Config) *customs {
	t.Helper()
	client, err := dynamic.NewForConfig(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &customs{t, client, cfg}
}

func startCustoms(t *testing.T) *customs {
	t.Helper()
	return newCustoms(t, fixture.Start(t, cluster.Config{Controllers: []string{"-*"}}).Config)
}

// textOf is an error's text, empty for none.
func textOf(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func parsed(t *testing.T, text string) *unstructured.Unstructured {
	t.Helper()
	u := &unstructured.Unstructured{}
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		t.Fatal(err)
	}
	return u
}

// define creates a definition and waits until it is established.
func (c *customs) define(text string) *unstructured.Unstructured {
	c.t.Helper()
	crd, err := c.any.Resource(definitions).Create(c.t.Context(), parsed(c.t, text), metav1.CreateOptions{})
	if err != nil {
		c.t.Fatal(err)
	}
	c.await(crd.GetName(), "Established", "True")
	return crd
}

// await waits for a condition of a definition and returns its reason.
func (c *customs) await(name, condition, status string) (reason string) {
	c.t.Helper()
	fixture.Eventually(c.t, 10*time.Second, fmt.Sprintf("%s of %s is %s", condition, name, status), func() bool {
		crd, err := c.any.Resource(definitions).Get(c.t.Context(), name, metav1.GetOptions{})
		if err != nil {
			return false
		}
		conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
		return slices.ContainsFunc(conditions, func(v any) bool {
			m, _ := v.(map[string]any)
			reason, _ = m["reason"].(string)
			return m["type"] == condition && m["status"] == status
		})
	})
	return reason
}

func (c *customs) undefine(name string) {
	c.t.Helper()
	if err := c.any.Resource(definitions).Delete(c.t.Context(), name, metav1.DeleteOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

// in is the resource of a version in the default namespace.
func (c *customs) in(group, version, resource string) dynamic.ResourceInterface {
	return c.any.Resource(schema.GroupVersionResource{Group: group, Version: version, Resource: resource}).Namespace("default")
}

const crontabs = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: crontabs.stable.example.com}
spec:
  group: stable.example.com
  scope: Namespaced
  names: {plural: crontabs, singular: crontab, kind: CronTab, shortNames: [ct], categories: [all]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas, labelSelectorPath: .status.selector}
    additionalPrinterColumns:
    - {name: Spec, type: string, jsonPath: .spec.cronSpec}
    selectableFields: [{jsonPath: .spec.image}]
    schema:
      openAPIV3Schema:
        type: object
        properties:
          spec:
            type: object
            properties:
              cronSpec: {type: string, default: daily}
              image: {type: string}
              replicas: {type: integer, maximum: 10}
          status:
            type: object
            properties:
              replicas: {type: integer}
              selector: {type: string}
`

const crontab = `
apiVersion: stable.example.com/v1
kind: CronTab
metadata: {name: my, labels: {a: b}}
spec: {image: img, replicas: 3}
`

const crontabPath = "/apis/stable.example.com/v1/namespaces/default/crontabs"

func (c *customs) crontabs() dynamic.ResourceInterface {
	return c.in("stable.example.com", "v1", "crontabs")
}

// A definition is usable as soon as it says that it is established.
func TestCustomResourcesAreUsableAtOnce(t *testing.T) {
	c := startCustoms(t)
	began := time.Now()
	c.define(crontabs)
	if _, err := c.crontabs().Create(t.Context(), parsed(t, crontab), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Logf("from the definition's creation to the first object: %v", time.Since(began))

	d := discovery.NewDiscoveryClientForConfigOrDie(c.cfg)
	list, err := d.ServerResourcesForGroupVersion("stable.example.com/v1")
	if err != nil || len(list.APIResources) != 3 || !slices.Equal(list.APIResources[0].ShortNames, []string{"ct"}) || list.APIResources[0].Categories[0] != "all" {
		t.Errorf("discovered %+v, %v", list, err)
	}
	groups, resources, err := d.ServerGroupsAndResources()
	if err != nil || !slices.ContainsFunc(groups, func(g *metav1.APIGroup) bool { return g.Name == "stable.example.com" }) ||
		!slices.ContainsFunc(resources, func(l *metav1.APIResourceList) bool { return l.GroupVersion == "stable.example.com/v1" }) {
		t.Errorf("aggregated discovery lacks the group: %v", err)
	}
}

func TestCustomResourceLife(t *testing.T) {
	c := startCustoms(t)
	c.define(crontabs)
	all := c.crontabs()
	created, err := all.Create(t.Context(), parsed(t, crontab), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if spec, _, _ := unstructured.NestedString(created.Object, "spec", "cronSpec"); spec != "daily" || created.GetGeneration() != 1 {
		t.Errorf("created %v", created.Object)
	}
	setReplicas := func(u *unstructured.Unstructured, n int64) {
		_ = unstructured.SetNestedField(u.Object, n, "spec", "replicas")
	}

	t.Run("update", func(t *testing.T) {
		next := created.DeepCopy()
		setReplicas(next, 4)
		updated, err := all.Update(t.Context(), next, metav1.UpdateOptions{})
		if err != nil || updated.GetGeneration() != 2 {
			t.Fatalf("%v, %v", updated, err)
		}
		again, err := all.Update(t.Context(), updated, metav1.UpdateOptions{})
		if err != nil || again.GetResourceVersion() != updated.GetResourceVersion() {
			t.Errorf("an update that changes nothing was written: %v", err)
		}
		setReplicas(next, 5)
		if _, err := all.Update(t.Context(), next, metav1.UpdateOptions{}); !apierrors.IsConflict(err) {
			t.Errorf("an old version was written: %v", err)
		}
		setReplicas(again, 11)
		_, err = all.Update(t.Context(), again, metav1.UpdateOptions{})
		if want := `CronTab.stable.example.com "my" is invalid: spec.replicas: Invalid value: 11: spec.replicas in body should be less than or equal to 10`; textOf(err) != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
	t.Run("status", func(t *testing.T) {
		now, err := all.Get(t.Context(), "my", metav1.GetOptions{})
		if err != nil {
			t.Fatal(err)
		}
		setReplicas(now, 9)
		_ = unstructured.SetNestedMap(now.Object, map[string]any{"replicas": int64(1)}, "status")
		updated, err := all.UpdateStatus(t.Context(), now, metav1.UpdateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		spec, _, _ := unstructured.NestedInt64(updated.Object, "spec", "replicas")
		status, _, _ := unstructured.NestedInt64(updated.Object, "status", "replicas")
		if spec != 4 || status != 1 || updated.GetGeneration() != 2 {
			t.Errorf("spec %d, status %d, generation %d", spec, status, updated.GetGeneration())
		}
	})
	t.Run("scale", func(t *testing.T) {
		scale, err := all.Patch(t.Context(), "my", types.MergePatchType, []byte(`{"spec":{"replicas":7}}`), metav1.PatchOptions{}, "scale")
		if n, _, _ := unstructured.NestedInt64(scale.Object, "spec", "replicas"); err != nil || n != 7 || scale.GetAPIVersion() != "autoscaling/v1" {
			t.Errorf("%v, %v", scale, err)
		}
	})
	t.Run("patches", func(t *testing.T) {
		for kind, patch := range map[types.PatchType]string{
			types.JSONPatchType:  `[{"op":"replace","path":"/spec/image","value":"json"}]`,
			types.MergePatchType: `{"spec":{"image":"application/merge-patch+json"}}`,
			types.ApplyPatchType: `{"apiVersion":"stable.example.com/v1","kind":"CronTab","spec":{"image":"apply"}}`,
		} {
			force := true
			o := metav1.PatchOptions{FieldManager: "me"}
			if kind == types.ApplyPatchType {
				o.Force = &force
			}
			patched, err := all.Patch(t.Context(), "my", kind, []byte(patch), o)
			if err != nil {
				t.Errorf("%s: %v", kind, err)
				continue
			}
			if n, _, _ := unstructured.NestedInt64(patched.Object, "spec", "replicas"); n != 7 {
				t.Errorf("%s: %v", kind, patched.Object)
			}
		}
		_, err := all.Patch(t.Context(), "my", types.StrategicMergePatchType, []byte(`{"spec":{}}`), metav1.PatchOptions{})
		if want := "the body of the request was in an unknown format - accepted media types include: application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml"; textOf(err) != want {
			t.Errorf("got  %v\nwant %s", err, want)
		}
	})
	t.Run("selectors", func(t *testing.T) {
		for options, want := range map[metav1.ListOptions]int{
			{LabelSelector: "a=b"}: 1, {LabelSelector: "a=c"}: 0, {FieldSelector: "metadata.name=my"}: 1,
			{FieldSelector: "spec.image!=img"}: 1, {FieldSelector: "spec.image=img"}: 0,
		} {
			if l, err := all.List(t.Context(), options); err != nil || len(l.Items) != want {
				t.Errorf("%+v: %v, %v", options, l, err)
			}
		}
		if _, err := all.List(t.Context(), metav1.ListOptions{FieldSelector: "spec.other=1"}); textOf(err) != "field label not supported: spec.other" {
			t.Errorf("a field that is not selectable: %v", err)
		}
	})
	t.Run("delete", func(t *testing.T) {
		patch := []byte(`{"metadata":{"finalizers":["example.com/hold"]}}`)
		if _, err := all.Patch(t.Context(), "my", types.MergePatchType, patch, metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if err := all.Delete(t.Context(), "my", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		held, err := all.Get(t.Context(), "my", metav1.GetOptions{})
		if err != nil || held.GetDeletionTimestamp() == nil {
			t.Fatalf("%v, %v", held, err)
		}
		if _, err := all.Patch(t.Context(), "my", types.MergePatchType, []byte(`{"metadata":{"finalizers":null}}`), metav1.PatchOptions{}); err != nil {
			t.Fatal(err)
		}
		if _, err := all.Get(t.Context(), "my", metav1.GetOptions{}); !apierrors.IsNotFound(err) {
			t.Errorf("the object is still there: %v", err)
		}
	})
}

// What a definition cannot be asked for is refused in upstream's words.
func TestCustomResourceRefusals(t *testing.T) {
	c := startCustoms(t)
	c.define(crontabs)
	w := newWeb(t, c.cfg)
	body := `{"apiVersion":"stable.example.com/v1","kind":"CronTab","metadata":{"name":"x","foo":1},"spec":{"image":"a","image":"b","bar":1}}`
	tests := []struct {
		name, method, path, body string
		header                   map[string]string
		code                     int
		message                  string
	}{
		{"strict", http.MethodPost, crontabPath + "?fieldValidation=Strict", body, nil, 400, `CronTab in version "v1" cannot be handled as a CronTab: strict decoding error: duplicate field "spec.image", unknown field "metadata.foo", unknown field "spec.bar"`},
		{"another version", http.MethodPost, crontabPath, `{"apiVersion":"stable.example.com/v2","kind":"CronTab","metadata":{"name":"x"}}`, nil, 400, "the API version in the data (stable.example.com/v2) does not match the expected API version (stable.example.com/v1)"},
		{"no such subresource", http.MethodGet, crontabPath + "/x/log", "", nil, 404, `crontabs.stable.example.com "x" not found`},
		{"no such method", http.MethodPost, crontabPath + "/x/status", "{}", nil, 405, `create is not supported on resources of kind "crontabs.stable.example.com"`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := w.send(tt.method, tt.path, tt.body, tt.header)
			var s metav1.Status
			a.into(&s)
			if a.code != tt.code || s.Message != tt.message {
				t.Errorf("code %d\ngot  %s\nwant %s", a.code, s.Message, tt.message)
			}
		})
	}
	a := w.get(crontabPath, asProtobuf)
	if want := "only the following media types are accepted: application/json, application/yaml"; a.code != 406 || !strings.Contains(string(a.body), want) {
		t.Errorf("a list in protobuf: %d %q", a.code, a.body)
	}
	if a := w.send(http.MethodGet, "/apis/stable.example.com/v1/crontabs/x", "", nil); a.code != 404 || string(a.body) != "404 page not found\n" {
		t.Errorf("a path without its namespace: %d %s", a.code, a.body)
	}
	a = w.post(crontabPath, body)
	if got := a.header.Values("Warning"); a.code != 201 || len(got) != 3 {
		t.Errorf("%d with warnings %q", a.code, got)
	}
}

func TestCustomShapes(t *testing.T) {
	c := startCustoms(t)
	c.define(crontabs)
	w := newWeb(t, c.cfg)
	for n := range 3 {
		u := parsed(t, crontab)
		u.SetName(fmt.Sprintf("c%d", n))
		if _, err := c.crontabs().Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	table := as[metav1.Table](w.send(http.MethodGet, crontabPath, "", map[string]string{"Accept": asTable}))
	if len(table.ColumnDefinitions) != 2 || len(table.Rows) != 3 || table.Rows[0].Cells[1] != "daily" {
		t.Errorf("table %+v", table)
	}
	partial := as[metav1.PartialObjectMetadataList](w.send(http.MethodGet, crontabPath, "", map[string]string{"Accept": asList}))
	if len(partial.Items) != 3 || partial.Items[2].Name != "c2" || partial.Items[0].Labels["a"] != "b" || partial.Items[0].UID == "" {
		t.Errorf("metadata %+v", partial)
	}
	page := as[unstructured.UnstructuredList](w.send(http.MethodGet, crontabPath+"?limit=2", "", nil))
	if len(page.Items) != 2 || page.GetContinue() == "" || page.GetKind() != "CronTabList" || page.Items[0].GetKind() != "CronTab" {
		t.Errorf("page %+v", page)
	}
	rest := as[unstructured.UnstructuredList](w.send(http.MethodGet, crontabPath+"?limit=2&continue="+page.GetContinue(), "", nil))
	if len(rest.Items) != 1 || rest.GetContinue() != "" {
		t.Errorf("rest %+v", rest)
	}
	s := w.watch(crontabPath+"?watch=1&allowWatchBookmarks=true&sendInitialEvents=true&resourceVersionMatch=NotOlderThan", asMetadata)
	for n := range 3 {
		s.sees("ADDED", fmt.Sprintf("c%d", n))
	}
	if o := s.sees("BOOKMARK", ""); o.Annotations[metav1.InitialEventsAnnotationKey] != "true" {
		t.Errorf("the end of the initial events is %+v", o)
	}
	if err := c.crontabs().DeleteCollection(t.Context(), metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "a=b"}); err != nil {
		t.Fatal(err)
	}
	for range 3 {
		if e := s.next(); e.Type != "DELETED" {
			t.Errorf("%s %s", e.Type, e.Object)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := c.crontabs().List(ctx, metav1.ListOptions{}); err == nil {
		t.Error("a request that was cancelled was answered")
	}
}
