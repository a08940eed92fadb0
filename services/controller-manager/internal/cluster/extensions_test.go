package cluster_test

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap/zaptest"
	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"

	"coracle.local/libs/apitest"
	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
)

// front is the REST side of an API server with one custom resource, whose one
// object is watched without news.
type front struct {
	mu   sync.Mutex
	asks []string
}

func (f *front) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	f.mu.Lock()
	f.asks = append(f.asks, r.Method+" "+r.URL.Path)
	f.mu.Unlock()
	w.Header().Set("Content-Type", "application/json")
	verbs := []string{"delete", "deletecollection", "get", "list", "watch"}
	thing := metav1.PartialObjectMetadata{
		TypeMeta:   metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadata"},
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "x", UID: "u", ResourceVersion: "7"},
	}
	var answer any
	switch {
	case r.URL.Path == "/apis":
		answer = apidiscoveryv2.APIGroupDiscoveryList{Items: []apidiscoveryv2.APIGroupDiscovery{
			{ObjectMeta: metav1.ObjectMeta{Name: "apps"}, Versions: []apidiscoveryv2.APIVersionDiscovery{{Version: "v1", Resources: []apidiscoveryv2.APIResourceDiscovery{
				{Resource: "deployments", Scope: "Namespaced", ResponseKind: &metav1.GroupVersionKind{Kind: "Deployment"}, Verbs: verbs},
			}}}},
			{ObjectMeta: metav1.ObjectMeta{Name: "metrics.k8s.io"}, Versions: []apidiscoveryv2.APIVersionDiscovery{{Version: "v1beta1", Freshness: "Stale"}}},
			{ObjectMeta: metav1.ObjectMeta{Name: "example.com"}, Versions: []apidiscoveryv2.APIVersionDiscovery{
				{Version: "v2", Resources: []apidiscoveryv2.APIResourceDiscovery{
					{Resource: "things", Scope: "Namespaced", ResponseKind: &metav1.GroupVersionKind{Kind: "Thing"}, Verbs: verbs},
				}},
				{Version: "v1", Resources: []apidiscoveryv2.APIResourceDiscovery{
					{Resource: "things", Scope: "Namespaced", ResponseKind: &metav1.GroupVersionKind{Kind: "Thing"}, Verbs: verbs},
					{Resource: "readonly", Scope: "Cluster", ResponseKind: &metav1.GroupVersionKind{Kind: "ReadOnly"}, Verbs: []string{"get"}},
				}},
			}},
		}}
	case r.URL.Query().Get("watch") != "" && r.URL.Query().Get("sendInitialEvents") != "":
		w.WriteHeader(http.StatusUnprocessableEntity) // as servers do that do not know it
		answer = metav1.Status{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}, Status: "Failure", Reason: metav1.StatusReasonInvalid, Code: 422}
	case r.URL.Query().Get("watch") != "":
		w.WriteHeader(http.StatusOK)
		w.(http.Flusher).Flush()
		<-r.Context().Done()
		return
	case strings.HasSuffix(r.URL.Path, "/things"):
		answer = metav1.PartialObjectMetadataList{
			TypeMeta: metav1.TypeMeta{APIVersion: "meta.k8s.io/v1", Kind: "PartialObjectMetadataList"},
			ListMeta: metav1.ListMeta{ResourceVersion: "7"}, Items: []metav1.PartialObjectMetadata{thing},
		}
	default:
		answer = thing
	}
	_ = json.NewEncoder(w).Encode(answer)
}

func TestFindsWhatIsBeyondTheTable(t *testing.T) {
	f := &front{}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	api := apitest.New()
	g := cluster.NewGRPC(t.Context(), api.Connect(t), func() (*rest.Config, error) { return &rest.Config{Host: server.URL}, nil }, zaptest.NewLogger(t))
	seen := make(chan string, 10)
	beyond := g.Extensions()
	beyond.OnChange(func(k *kinds.Kind, before, after kinds.Object) { seen <- k.String() + " " + after.GetName() })
	beyond.OnKind(func(k *kinds.Kind) { seen <- k.String() })
	g.Open()
	run(t, g)
	for _, c := range beyond.Reads() {
		<-c.Synced()
	}
	if found, err := g.Discover(t.Context()); err != nil || len(found) != 0 || len(f.asks) != 0 {
		t.Fatalf("without definitions nobody is asked: %v, %v, %v", found, err, f.asks)
	}
	api.Seed(&apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: "things.example.com"}})
	for _, want := range []string{"things.example.com x", "things.example.com"} {
		select {
		case got := <-seen:
			if got != want {
				t.Fatalf("seen %q, want %q", got, want)
			}
		case <-time.After(30 * time.Second):
			t.Fatalf("%q was not seen", want)
		}
	}
	found, err := g.Discover(t.Context())
	if len(found) != 1 || found[0].APIVersion() != "example.com/v2" || !found[0].Namespaced {
		t.Fatalf("found %v", found)
	}
	if err == nil || !strings.Contains(err.Error(), "metrics.k8s.io/v1beta1: stale GroupVersion discovery: metrics.k8s.io/v1beta1") {
		t.Fatalf("error %v", err)
	}
	if caches := beyond.Caches(); len(caches) != 1 || caches[0].Kind() != found[0] {
		t.Fatalf("caches %v", caches)
	}
	if o, err := g.Get(t.Context(), found[0], "default", "x"); err != nil || o.GetUID() != "u" {
		t.Fatalf("%v, %v", o, err)
	}
	if all, err := g.List(t.Context(), found[0], "default"); err != nil || len(all) != 1 {
		t.Fatalf("%v, %v", all, err)
	}
}

// run fills the caches until the test ends.
func run(t *testing.T, g *cluster.GRPC) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- g.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
