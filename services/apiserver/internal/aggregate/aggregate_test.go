package aggregate

import (
	"context"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/backend"
	"coracle.local/services/apiserver/internal/cache"
	"coracle.local/services/apiserver/internal/catalog"
)

// cluster is the objects of a test, and takes what is written.
type cluster struct {
	service *corev1.Service
	slices  []*discoveryv1.EndpointSlice
	observe map[*kinds.Kind]func(*cache.Item, bool)
	written []string
}

func (c *cluster) Observe(k *kinds.Kind, f func(*cache.Item, bool)) {
	if c.observe == nil {
		c.observe = map[*kinds.Kind]func(*cache.Item, bool){}
	}
	c.observe[k] = f
}

func (c *cluster) Pod(context.Context, string, string) (*corev1.Pod, error) {
	return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "pods"}, "x")
}

func (c *cluster) Service(_ context.Context, _, name string) (*corev1.Service, error) {
	if c.service == nil {
		return nil, apierrors.NewNotFound(schema.GroupResource{Resource: "services"}, name)
	}
	return c.service, nil
}

func (c *cluster) EndpointSlices(context.Context, string, string) ([]*discoveryv1.EndpointSlice, error) {
	return c.slices, nil
}

// show tells the aggregator of an object, as the cache does.
func (c *cluster) show(t *testing.T, s *apiregistrationv1.APIService, gone bool) {
	t.Helper()
	k := kinds.For[*apiregistrationv1.APIService]()
	raw, err := s.Marshal()
	if err != nil {
		t.Fatal(err)
	}
	c.observe[k](cache.NewItem(k, "", s.Name, raw, 1, nil), gone)
}

func (c *cluster) Create(_ context.Context, s *apiregistrationv1.APIService) error {
	c.written = append(c.written, "create "+s.Name)
	return nil
}

func (c *cluster) Update(_ context.Context, name, subresource string, change func(*apiregistrationv1.APIService)) error {
	s := &apiregistrationv1.APIService{}
	change(s)
	reason := ""
	if len(s.Status.Conditions) > 0 {
		reason = " " + s.Status.Conditions[0].Reason
	}
	c.written = append(c.written, strings.TrimSpace("update "+subresource+" "+name+reason))
	return nil
}

func (c *cluster) Delete(_ context.Context, s *apiregistrationv1.APIService) error {
	c.written = append(c.written, "delete "+s.Name)
	return nil
}

func newAggregator(c *cluster) *Aggregator {
	return New(Config{Log: zap.NewNop(), Objects: c, Catalog: &catalog.Catalog{}, Writer: c, Backends: backend.Backends{Objects: c}})
}

func remoteService() *apiregistrationv1.APIService {
	return &apiregistrationv1.APIService{
		ObjectMeta: metav1.ObjectMeta{Name: "v1.ext.example.com"},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: "ext.example.com", Version: "v1", GroupPriorityMinimum: 1000, VersionPriority: 15,
			Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: "ext", Port: ptr.To(int32(443))},
		},
	}
}

func TestConditions(t *testing.T) {
	service := &corev1.Service{Spec: corev1.ServiceSpec{Type: corev1.ServiceTypeClusterIP, Ports: []corev1.ServicePort{{Name: "https", Port: 443}}}}
	slice := func(ready bool) *discoveryv1.EndpointSlice {
		return &discoveryv1.EndpointSlice{
			Endpoints: []discoveryv1.Endpoint{{Addresses: []string{"127.0.0.1"}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}}},
			Ports:     []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: ptr.To(int32(1))}},
		}
	}
	other := service.DeepCopy()
	other.Spec.Ports[0].Port = 80
	tests := []struct {
		name            string
		service         *corev1.Service
		slices          []*discoveryv1.EndpointSlice
		reason, message string
	}{
		{"no service", nil, nil, "ServiceNotFound", `service/ext in "default" is not present`},
		{"another port", other, nil, "ServicePortError", `service/ext in "default" is not listening on port 443`},
		{"no endpoints", service, nil, "EndpointsNotFound", `cannot find endpointslices for service/ext in "default"`},
		{"none ready", service, []*discoveryv1.EndpointSlice{slice(false)}, "MissingEndpoints", `endpointslices for service/ext in "default" have no addresses with port name "https"`},
		{"nobody listens", service, []*discoveryv1.EndpointSlice{slice(true)}, "FailedDiscoveryCheck", `failing or missing response from https://127.0.0.1:1/apis/ext.example.com/v1: Get "https://127.0.0.1:1/apis/ext.example.com/v1": dial tcp 127.0.0.1:1: connect: connection refused`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := newAggregator(&cluster{service: tt.service, slices: tt.slices})
			s := remoteService()
			got, _ := a.remote(s, nil).examine(t.Context(), s)
			if got.Status != apiregistrationv1.ConditionFalse || got.Reason != tt.reason || got.Message != tt.message {
				t.Errorf("%s %s: %q", got.Status, got.Reason, got.Message)
			}
		})
	}
}

func TestRegistration(t *testing.T) {
	wanted := apiService(schema.GroupVersion{Group: "apps", Version: "v1"}, priorities[schema.GroupVersion{Group: "apps", Version: "v1"}], onStart)
	changed := wanted.DeepCopy()
	changed.Spec.VersionPriority++
	foreign := changed.DeepCopy()
	foreign.Labels = nil
	obsolete := apiService(schema.GroupVersion{Group: "old.example.com", Version: "v1"}, customPriority, always)
	tests := []struct {
		name           string
		wanted, have   *apiregistrationv1.APIService
		before, synced bool
		want           []string
	}{
		{"new", wanted, nil, false, false, []string{"create v1.apps"}},
		{"deleted by somebody later", wanted, nil, true, true, nil},
		{"as it should be", wanted, wanted, true, false, nil},
		{"of an earlier release", wanted, changed, true, false, []string{"update  v1.apps"}},
		{"changed by somebody later", wanted, changed, true, true, nil},
		{"somebody's own", wanted, foreign, true, false, nil},
		{"no longer served", nil, obsolete, true, false, []string{"delete v1.old.example.com"}},
		{"custom, deleted by somebody", obsolete, nil, true, true, []string{"create v1.old.example.com"}},
		{"remote", nil, remoteService(), true, false, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := &cluster{}
			if err := newAggregator(c).reconcile(t.Context(), tt.wanted, tt.have, tt.before, tt.synced); err != nil {
				t.Fatal(err)
			}
			if !slices.Equal(c.written, tt.want) {
				t.Errorf("got %q", c.written)
			}
		})
	}
}

func TestEveryVersionHasAPriority(t *testing.T) {
	services := builtIn()
	for _, gv := range kinds.GroupVersions() {
		if services[gv.Version+"."+gv.Group] == nil && gv.Group != "apiregistration.k8s.io" {
			t.Errorf("%s has none", gv)
		}
	}
}

func TestRoutes(t *testing.T) {
	c := &cluster{}
	a := newAggregator(c)
	s := remoteService()
	const group = "ext.example.com"
	if a.HasGroup(group) {
		t.Fatal("there is one")
	}
	c.show(t, s, false)
	before := a.Generation()
	if !a.HasGroup(group) || len(a.Versions()) != 1 || a.Versions()[0].Discovery.Freshness != "Stale" {
		t.Errorf("%+v", a.Versions())
	}
	first := a.remotes[s.Name]
	s.Labels = map[string]string{"a": "b"}
	c.show(t, s, false)
	if a.remotes[s.Name].connection != first.connection {
		t.Error("a label costs the connections")
	}
	s.Spec.InsecureSkipTLSVerify = true
	c.show(t, s, false)
	if a.remotes[s.Name].connection == first.connection {
		t.Error("connections that were verified serve unverified")
	}
	c.show(t, s, true)
	if a.HasGroup(group) || a.Generation() == before {
		t.Error("it is still there")
	}
	if ok := (*Aggregator)(nil).HasGroup(group); ok {
		t.Error("without an aggregator")
	}
}

func TestVersionOfAPath(t *testing.T) {
	tests := map[string]struct {
		gv        string
		discovery bool
	}{
		"/apis/g/v1": {"g/v1", true}, "/apis/g/v1/": {"g/v1", true}, "/apis/g/v1/things": {"g/v1", false},
		"/api/v1": {"v1", true}, "/api/v1/pods": {"v1", false}, "/apis/g": {"", false}, "/healthz": {"", false}, "/apis": {"", false},
	}
	for path, want := range tests {
		gv, discovery, ok := versionOf(path)
		if ok != (want.gv != "") || ok && (gv.String() != want.gv || discovery != want.discovery) {
			t.Errorf("%s: %s %t %t", path, gv, discovery, ok)
		}
	}
}

func TestLegacyDiscovery(t *testing.T) {
	got := fromLegacy(schema.GroupVersion{Group: "g", Version: "v1"}, &metav1.APIResourceList{APIResources: []metav1.APIResource{
		{Name: "things/status", Namespaced: true, Kind: "Thing", Verbs: []string{"get"}},
		{Name: "things", SingularName: "thing", Namespaced: true, Kind: "Thing", Verbs: []string{"get", "list"}, ShortNames: []string{"th"}},
		{Name: "things/scale", Namespaced: true, Group: "autoscaling", Version: "v1", Kind: "Scale"},
	}})
	if len(got.Resources) != 1 {
		t.Fatalf("%+v", got)
	}
	r := got.Resources[0]
	if r.Resource != "things" || r.SingularResource != "thing" || r.Scope != "Namespaced" || r.ResponseKind.Group != "g" || len(r.Subresources) != 2 ||
		r.Subresources[1].ResponseKind.Group != "autoscaling" || r.Subresources[0].Subresource != "status" {
		t.Errorf("%+v", r)
	}
}
