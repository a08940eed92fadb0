package discovery

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/catalog"
	"coracle.local/services/apiserver/internal/front/rest/respond"
)

func get(t *testing.T, path string, headers ...string) *httptest.ResponseRecorder {
	t.Helper()
	r := httptest.NewRequest(http.MethodGet, path, http.NoBody)
	for i := 0; i < len(headers); i += 2 {
		r.Header.Set(headers[i], headers[i+1])
	}
	w := httptest.NewRecorder()
	if !New(func() string { return "10.0.0.1:6443" }, &catalog.Catalog{}, nil).Serve(respond.New(), w, r) {
		w.Code = http.StatusNotFound
	}
	return w
}

func decode[T any](t *testing.T, w *httptest.ResponseRecorder) (out T) {
	t.Helper()
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil {
		t.Fatalf("%v: %s", err, w.Body)
	}
	return out
}

func TestRoots(t *testing.T) {
	tests := []struct{ path, want string }{
		{"/api", `{"kind":"APIVersions","versions":["v1"],"serverAddressByClientCIDRs":[{"clientCIDR":"0.0.0.0/0","serverAddress":"10.0.0.1:6443"}]}`},
		{"/apis/apps", `{"kind":"APIGroup","apiVersion":"v1","name":"apps","versions":[{"groupVersion":"apps/v1","version":"v1"}],"preferredVersion":{"groupVersion":"apps/v1","version":"v1"}}`},
		{"/apis/autoscaling/", `{"kind":"APIGroup","apiVersion":"v1","name":"autoscaling","versions":[{"groupVersion":"autoscaling/v2","version":"v2"},{"groupVersion":"autoscaling/v1","version":"v1"}],"preferredVersion":{"groupVersion":"autoscaling/v2","version":"v2"}}`},
		{"/apis/node.k8s.io/v1", `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"node.k8s.io/v1","resources":[{"name":"runtimeclasses","singularName":"runtimeclass","namespaced":false,"kind":"RuntimeClass","verbs":["create","delete","deletecollection","get","list","patch","update","watch"],"storageVersionHash":"WQTu1GL3T2Q="}]}`},
	}
	for _, tt := range tests {
		t.Run(tt.path, func(t *testing.T) {
			if got := strings.TrimSpace(get(t, tt.path).Body.String()); got != tt.want {
				t.Errorf("got  %s\nwant %s", got, tt.want)
			}
		})
	}
	for _, path := range []string{"/api/v2", "/apis/nope", "/apis/apps/v2"} {
		if w := get(t, path); w.Code != http.StatusNotFound {
			t.Errorf("%s is served", path)
		}
	}
}

func TestEveryKindIsDiscovered(t *testing.T) {
	found := map[string]bool{}
	for _, gv := range kinds.GroupVersions() {
		path := "/apis/" + gv.String()
		if gv.Group == "" {
			path = "/api/" + gv.Version
		}
		list := decode[metav1.APIResourceList](t, get(t, path))
		if list.GroupVersion != gv.String() || !slices.IsSortedFunc(list.APIResources, func(a, b metav1.APIResource) int { return strings.Compare(a.Name, b.Name) }) {
			t.Errorf("%s: %s, or not sorted", path, list.GroupVersion)
		}
		for _, r := range list.APIResources {
			found[gv.String()+" "+r.Name] = true
		}
	}
	for _, k := range kinds.All() {
		for _, name := range append([]string{""}, k.Subresources...) {
			resource := strings.TrimSuffix(k.Plural+"/"+name, "/")
			if !found[k.APIVersion()+" "+resource] {
				t.Errorf("%s %s is not discovered", k.APIVersion(), resource)
			}
		}
	}
}

func TestSubresourcesOfOtherGroups(t *testing.T) {
	list := decode[metav1.APIResourceList](t, get(t, "/api/v1"))
	want := map[string]string{
		"pods/eviction": "policy/v1 Eviction create", "replicationcontrollers/scale": "autoscaling/v1 Scale get,patch,update",
		"serviceaccounts/token": "authentication.k8s.io/v1 TokenRequest create", "pods/exec": "/ PodExecOptions create,get",
		"pods/log": "/ Pod get", "nodes/proxy": "/ NodeProxyOptions create,delete,get,patch,update", "namespaces/finalize": "/ Namespace update",
	}
	for _, r := range list.APIResources {
		if w, ok := want[r.Name]; ok {
			if got := r.Group + "/" + r.Version + " " + r.Kind + " " + strings.Join(r.Verbs, ","); got != w {
				t.Errorf("%s: %s, want %s", r.Name, got, w)
			}
			delete(want, r.Name)
		}
	}
	if len(want) > 0 {
		t.Errorf("not there: %v", want)
	}
}

func TestGroupsAreInUpstreamsOrder(t *testing.T) {
	list := decode[metav1.APIGroupList](t, get(t, "/apis"))
	var names []string
	for _, g := range list.Groups {
		names = append(names, g.Name)
	}
	if !slices.Equal(names, groupOrder) {
		t.Errorf("got %v", names)
	}
}

func TestAggregated(t *testing.T) {
	const accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList,application/json;g=apidiscovery.k8s.io;v=v2beta1;as=APIGroupDiscoveryList,application/json"
	w := get(t, "/apis", "Accept", accept)
	if got := w.Header().Get("Content-Type"); got != "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList" {
		t.Errorf("type %q", got)
	}
	list := decode[apidiscoveryv2.APIGroupDiscoveryList](t, w)
	if list.Kind != "APIGroupDiscoveryList" || len(list.Items) != len(groupOrder) {
		t.Errorf("%s of %d", list.Kind, len(list.Items))
	}
	etag := w.Header().Get("Etag")
	if again := get(t, "/apis", "Accept", accept, "If-None-Match", etag); again.Code != http.StatusNotModified || etag == "" {
		t.Errorf("etag %q: %d", etag, again.Code)
	}
	core := decode[apidiscoveryv2.APIGroupDiscoveryList](t, get(t, "/api", "Accept", accept))
	if len(core.Items) != 1 || core.Items[0].Name != "" || len(core.Items[0].Versions[0].Resources) != 17 {
		t.Errorf("core: %+v", core.Items)
	}

	binary := get(t, "/api", "Accept", "application/vnd.kubernetes.protobuf;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
	var envelope runtime.Unknown
	if err := envelope.Unmarshal(binary.Body.Bytes()[4:]); err != nil {
		t.Fatal(err)
	}
	var inProtobuf apidiscoveryv2.APIGroupDiscoveryList
	if err := inProtobuf.Unmarshal(envelope.Raw); err != nil || len(inProtobuf.Items) != 1 {
		t.Errorf("%d, %v", len(inProtobuf.Items), err)
	}
}

func TestPlainIsPreferredWhereItComesFirst(t *testing.T) {
	w := get(t, "/apis", "Accept", "application/json;q=1,application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList;q=0.5")
	if decode[metav1.TypeMeta](t, w).Kind != "APIGroupList" {
		t.Errorf("got %.100s", w.Body)
	}
}
