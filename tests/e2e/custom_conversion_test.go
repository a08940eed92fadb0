package e2e

import (
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/watch"
)

// sizes is a webhook that calls a field of widgets size in v1 and dimension in v2.
func sizes(w http.ResponseWriter, r *http.Request) {
	var review map[string]any
	if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	request, _ := review["request"].(map[string]any)
	objects, _ := request["objects"].([]any)
	for _, o := range objects {
		u := &unstructured.Unstructured{Object: o.(map[string]any)}
		spec, _ := u.Object["spec"].(map[string]any)
		if size, ok := spec["size"]; ok && request["desiredAPIVersion"] == "example.com/v2" {
			spec["dimension"] = size
			delete(spec, "size")
		} else if dimension, ok := spec["dimension"]; ok && request["desiredAPIVersion"] == "example.com/v1" {
			spec["size"] = dimension
			delete(spec, "dimension")
		}
		u.Object["apiVersion"] = request["desiredAPIVersion"]
	}
	_ = json.NewEncoder(w).Encode(map[string]any{
		"apiVersion": review["apiVersion"], "kind": review["kind"],
		"response": map[string]any{"uid": request["uid"], "convertedObjects": objects, "result": map[string]any{"status": "Success"}},
	})
}

// Objects are converted by whoever reads them: in lists, watches and selectors of
// another version than the one that is stored.
func TestConversionByWebhook(t *testing.T) {
	c := startCustoms(t)
	hook := httptest.NewTLSServer(http.HandlerFunc(sizes))
	defer hook.Close()
	bundle := base64.StdEncoding.EncodeToString(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: hook.Certificate().Raw}))
	text := strings.ReplaceAll(widgets, ".spec.size", ".spec.dimension")
	text = strings.ReplaceAll(text, "properties: {size:", "properties: {dimension:")
	c.define(text + fmt.Sprintf(`  conversion:
    strategy: Webhook
    webhook: {conversionReviewVersions: [v1], clientConfig: {url: %q, caBundle: %s}}
`, hook.URL, bundle))
	v1, v2 := c.in("example.com", "v1", "widgets"), c.in("example.com", "v2", "widgets")
	seen, err := v2.Watch(t.Context(), metav1.ListOptions{FieldSelector: "spec.dimension=big"})
	if err != nil {
		t.Fatal(err)
	}
	defer seen.Stop()
	for name, size := range map[string]string{"w1": "big", "w2": "small"} {
		u := parsed(t, widget)
		u.SetName(name)
		_ = unstructured.SetNestedField(u.Object, size, "spec", "size")
		if _, err := v1.Create(t.Context(), u, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	dimension := func(u *unstructured.Unstructured) string {
		s, _, _ := unstructured.NestedString(u.Object, "spec", "dimension")
		return s
	}
	e := <-seen.ResultChan()
	if u, ok := e.Object.(*unstructured.Unstructured); !ok || e.Type != watch.Added || u.GetName() != "w1" || dimension(u) != "big" {
		t.Errorf("watched %+v", e)
	}
	l, err := v2.List(t.Context(), metav1.ListOptions{FieldSelector: "spec.dimension=small"})
	if err != nil || len(l.Items) != 1 || dimension(&l.Items[0]) != "small" {
		t.Errorf("listed %+v, %v", l, err)
	}
	u := parsed(t, strings.ReplaceAll(strings.ReplaceAll(widget, "v1", "v2"), "size", "dimension"))
	u.SetName("w3")
	created, err := v2.Create(t.Context(), u, metav1.CreateOptions{})
	if err != nil || dimension(created) != "big" {
		t.Fatalf("created %v, %v", created, err)
	}
	if stored, err := v1.Get(t.Context(), "w3", metav1.GetOptions{}); err != nil || dimension(stored) != "" {
		t.Errorf("in the first version it is %v, %v", stored, err)
	}

	if e := <-seen.ResultChan(); e.Type != watch.Added {
		t.Errorf("watched %+v", e) // w3, whose form in v2 is known from here on
	}

	// What was converted once need not be again; what was not cannot be shown.
	hook.Close()
	if _, err := v2.List(t.Context(), metav1.ListOptions{}); err != nil {
		t.Errorf("what was converted before is not shown: %v", err)
	}
	fresh := parsed(t, widget)
	fresh.SetName("w4")
	if _, err := v1.Create(t.Context(), fresh, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := v2.Get(t.Context(), "w4", metav1.GetOptions{}); err == nil || !strings.Contains(err.Error(), "conversion webhook for example.com/v1, Kind=Widget failed") {
		t.Errorf("without its webhook an object is converted: %v", err)
	}
	if _, err := v1.Get(t.Context(), "w4", metav1.GetOptions{}); err != nil {
		t.Error(err)
	}
}
