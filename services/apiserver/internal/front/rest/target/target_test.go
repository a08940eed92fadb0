package target

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParse(t *testing.T) {
	tests := []struct {
		name, method, url string
		want              Target
	}{
		{"root", "GET", "/", Target{Verb: "get", Path: "/"}},
		{"version", "GET", "/api/v1", Target{Verb: "get", Path: "/api/v1"}},
		{"version with slash", "GET", "/api/v1/", Target{Verb: "get", Path: "/api/v1/"}},
		{"group", "GET", "/apis/apps/v1", Target{Verb: "get", Path: "/apis/apps/v1"}},
		{"watch alone", "GET", "/api/v1/watch", Target{Verb: "get", Path: "/api/v1/watch"}},
		{"health", "GET", "/healthz/ping", Target{Verb: "get", Path: "/healthz/ping"}},
		{"list", "GET", "/api/v1/namespaces/a/pods?labelSelector=x%3Dy", Target{
			IsResource: true, Verb: "list", Version: "v1", Namespace: "a", Resource: "pods", LabelSelector: "x=y",
		}},
		{"list of all namespaces", "GET", "/apis/apps/v1/deployments", Target{
			IsResource: true, Verb: "list", Group: "apps", Version: "v1", Resource: "deployments",
		}},
		{"get", "GET", "/api/v1/namespaces/a/pods/p", Target{
			IsResource: true, Verb: "get", Version: "v1", Namespace: "a", Resource: "pods", Name: "p",
		}},
		{"head", "HEAD", "/api/v1/nodes/n", Target{IsResource: true, Verb: "get", Version: "v1", Resource: "nodes", Name: "n"}},
		{"subresource", "PUT", "/api/v1/namespaces/a/pods/p/status", Target{
			IsResource: true, Verb: "update", Version: "v1", Namespace: "a", Resource: "pods", Name: "p", Subresource: "status",
		}},
		{"proxy with path", "POST", "/api/v1/namespaces/a/services/s:80/proxy/x/y", Target{
			IsResource: true, Verb: "create", Version: "v1", Namespace: "a", Resource: "services", Name: "s:80", Subresource: "proxy", Rest: "x/y",
		}},
		{"namespace", "DELETE", "/api/v1/namespaces/a", Target{
			IsResource: true, Verb: "delete", Version: "v1", Namespace: "a", Resource: "namespaces", Name: "a",
		}},
		{"namespace's subresource", "PUT", "/api/v1/namespaces/a/finalize", Target{
			IsResource: true, Verb: "update", Version: "v1", Namespace: "a", Resource: "namespaces", Name: "a", Subresource: "finalize",
		}},
		{"namespaces", "GET", "/api/v1/namespaces", Target{IsResource: true, Verb: "list", Version: "v1", Resource: "namespaces"}},
		{"watch", "GET", "/api/v1/pods?watch=1&fieldSelector=spec.nodeName%3Dn", Target{
			IsResource: true, Verb: "watch", Version: "v1", Resource: "pods", FieldSelector: "spec.nodeName=n",
		}},
		{"not to watch", "GET", "/api/v1/pods?watch=false", Target{IsResource: true, Verb: "list", Version: "v1", Resource: "pods"}},
		{"watch of one", "GET", "/api/v1/namespaces/a/secrets?watch=true&fieldSelector=metadata.name%3Ds", Target{
			IsResource: true, Verb: "watch", Version: "v1", Namespace: "a", Resource: "secrets", Name: "s", FieldSelector: "metadata.name=s",
		}},
		{"older watch", "GET", "/api/v1/watch/namespaces/a/pods?fieldSelector=a%3Db", Target{
			IsResource: true, Verb: "watch", Version: "v1", Namespace: "a", Resource: "pods", Prefixed: true,
		}},
		{"older watch of one", "GET", "/apis/apps/v1/watch/namespaces/a/deployments/d", Target{
			IsResource: true, Verb: "watch", Group: "apps", Version: "v1", Namespace: "a", Resource: "deployments", Name: "d", Prefixed: true,
		}},
		{"deletecollection", "DELETE", "/api/v1/namespaces/a/pods?labelSelector=x", Target{
			IsResource: true, Verb: "deletecollection", Version: "v1", Namespace: "a", Resource: "pods", LabelSelector: "x",
		}},
		{"no verb", "OPTIONS", "/api/v1/pods", Target{IsResource: true, Version: "v1", Resource: "pods"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := httptest.NewRequest(tt.method, tt.url, http.NoBody)
			tt.want.Path = r.URL.Path
			if diff := cmp.Diff(tt.want, Parse(r)); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestAttributesCarryWhatIsSelected(t *testing.T) {
	r := httptest.NewRequest("GET", "/api/v1/pods?fieldSelector=spec.nodeName%3Dn&labelSelector=,,", http.NoBody)
	parsed := Parse(r)
	a := parsed.Attributes()
	if len(a.FieldSelectorRequirements) != 1 || a.FieldSelectorRequirements[0].Value != "n" {
		t.Errorf("field requirements %v", a.FieldSelectorRequirements)
	}
	if a.LabelSelectorParsingErr == nil {
		t.Error("a broken label selector is not reported")
	}
}
