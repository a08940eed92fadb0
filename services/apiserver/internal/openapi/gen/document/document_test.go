package document

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
)

func TestOperationsHaveUpstreamsNames(t *testing.T) {
	// From upstream's document: client generators make their functions of these.
	want := map[string]string{
		"GET /api/v1/namespaces/{namespace}/pods":           "listCoreV1NamespacedPod",
		"POST /api/v1/namespaces/{namespace}/pods":          "createCoreV1NamespacedPod",
		"DELETE /api/v1/namespaces/{namespace}/pods":        "deleteCoreV1CollectionNamespacedPod",
		"GET /api/v1/namespaces/{namespace}/pods/{name}":    "readCoreV1NamespacedPod",
		"PUT /api/v1/namespaces/{namespace}/pods/{name}":    "replaceCoreV1NamespacedPod",
		"PATCH /api/v1/namespaces/{namespace}/pods/{name}":  "patchCoreV1NamespacedPod",
		"DELETE /api/v1/namespaces/{namespace}/pods/{name}": "deleteCoreV1NamespacedPod",
		"GET /api/v1/pods":                                             "listCoreV1PodForAllNamespaces",
		"GET /api/v1/watch/pods":                                       "watchCoreV1PodListForAllNamespaces",
		"GET /api/v1/watch/namespaces/{namespace}/pods":                "watchCoreV1NamespacedPodList",
		"GET /api/v1/watch/namespaces/{namespace}/pods/{name}":         "watchCoreV1NamespacedPod",
		"GET /api/v1/namespaces/{namespace}/pods/{name}/log":           "readCoreV1NamespacedPodLog",
		"PUT /api/v1/namespaces/{namespace}/pods/{name}/status":        "replaceCoreV1NamespacedPodStatus",
		"POST /api/v1/namespaces/{namespace}/pods/{name}/binding":      "createCoreV1NamespacedPodBinding",
		"POST /api/v1/namespaces/{namespace}/pods/{name}/eviction":     "createCoreV1NamespacedPodEviction",
		"GET /api/v1/namespaces/{namespace}/pods/{name}/exec":          "connectCoreV1GetNamespacedPodExec",
		"POST /api/v1/namespaces/{namespace}/pods/{name}/portforward":  "connectCoreV1PostNamespacedPodPortforward",
		"PUT /api/v1/namespaces/{namespace}/pods/{name}/proxy/{path}":  "connectCoreV1PutNamespacedPodProxyWithPath",
		"PATCH /api/v1/namespaces/{namespace}/pods/{name}/resize":      "patchCoreV1NamespacedPodResize",
		"GET /api/v1/namespaces/{namespace}/pods/{name}/proxy/{path}":  "connectCoreV1GetNamespacedPodProxyWithPath",
		"HEAD /api/v1/namespaces/{namespace}/pods/{name}/proxy/{path}": "connectCoreV1HeadNamespacedPodProxyWithPath",
	}
	got := map[string]string{}
	for _, r := range kindRoutes("/api/v1/", kinds.For[*corev1.Pod]()) {
		at := r.Method() + " " + r.Path()
		if got[at] != "" {
			t.Errorf("%s is there twice", at)
		}
		id, tags, err := operationID(r)
		if err != nil || len(tags) != 1 || tags[0] != "core_v1" {
			t.Errorf("%s is tagged %v (%v)", at, tags, err)
		}
		got[at] = id
	}
	for at, operation := range want {
		if got[at] != operation {
			t.Errorf("%s is %q, want %s", at, got[at], operation)
		}
	}
}

func TestOptionsBecomeParameters(t *testing.T) {
	got := map[string]string{}
	for _, p := range fromOptions(&metav1.ListOptions{}, "watch") {
		got[p.Name()] = p.DataType()
		if p.Description() == "" {
			t.Errorf("%s is not described", p.Name())
		}
	}
	for name, want := range map[string]string{"limit": "integer", "labelSelector": "string", "allowWatchBookmarks": "boolean", "sendInitialEvents": "boolean"} {
		if got[name] != want {
			t.Errorf("%s is %q, want %q", name, got[name], want)
		}
	}
	if _, there := got["watch"]; there {
		t.Error("a parameter that is not wanted is there")
	}
}

func TestArticles(t *testing.T) {
	for kind, want := range map[string]string{"Pod": " a ", "Ingress": " an ", "Endpoints": " ", "StorageClass": " a "} {
		if got := article(kind); got != want {
			t.Errorf("%s: %q", kind, got)
		}
	}
}

func TestEveryOperationIsDescribed(t *testing.T) {
	for _, k := range kinds.All() {
		for _, r := range kindRoutes(rootOf(k.GroupVersion()), k) {
			if r.Description() == "" || len(r.Produces()) == 0 || r.OperationName() == "" {
				t.Errorf("%s %s is described by nothing: %+v", r.Method(), r.Path(), r)
			}
			if slices.Contains(r.Consumes(), "") {
				t.Errorf("%s %s takes a nameless type", r.Method(), r.Path())
			}
		}
	}
}
