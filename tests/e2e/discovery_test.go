package e2e

import (
	"crypto/tls"
	"net/http"
	"strings"
	"testing"

	apidiscoveryv2 "k8s.io/api/apidiscovery/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/rest"

	"coracle.local/libs/kinds"
)

// TestDiscovery finds every kind of the table in both forms of discovery.
func TestDiscovery(t *testing.T) {
	c, _ := bare(t)
	w := newWeb(t, c.Config)
	const aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	told := map[string]apidiscoveryv2.APIResourceDiscovery{}
	for _, path := range []string{"/api", "/apis"} {
		list := as[apidiscoveryv2.APIGroupDiscoveryList](w.get(path, aggregated))
		for _, g := range list.Items {
			for _, v := range g.Versions {
				for _, r := range v.Resources {
					told[strings.Trim(g.Name+"/"+v.Version, "/")+" "+r.Resource] = r
				}
			}
		}
	}
	client, err := discovery.NewDiscoveryClientForConfig(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	for _, k := range kinds.All() {
		r, ok := told[k.APIVersion()+" "+k.Plural]
		if !ok || r.ResponseKind.Kind != k.Kind || strings.Join(r.Verbs, ",") != strings.Join(k.Verbs, ",") || (r.Scope == apidiscoveryv2.ScopeNamespace) != k.Namespaced {
			t.Errorf("%s is told as %+v", k.GroupVersionKind(), r)
		}
		if len(r.Subresources) != len(k.Subresources) {
			t.Errorf("%s: subresources %v, want %v", k, r.Subresources, k.Subresources)
		}
	}
	for _, gv := range kinds.GroupVersions() {
		if list, err := client.ServerResourcesForGroupVersion(gv.String()); err != nil || len(list.APIResources) == 0 {
			t.Errorf("%s: %v", gv, err)
		}
	}
	// A document that did not change is not sent again.
	first := w.get("/apis", aggregated)
	again := w.send(http.MethodGet, "/apis", "", map[string]string{"Accept": aggregated, "If-None-Match": first.header.Get("Etag")})
	if again.is(http.StatusNotModified); len(again.body) > 0 {
		t.Errorf("sent %d bytes", len(again.body))
	}
}

func TestOpenAPIDocuments(t *testing.T) {
	c, _ := bare(t)
	client, err := discovery.NewDiscoveryClientForConfig(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	v2, err := client.OpenAPISchema()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]bool{}
	for _, d := range v2.GetDefinitions().GetAdditionalProperties() {
		names[d.GetName()] = true
	}
	paths, err := client.OpenAPIV3().Paths()
	if err != nil {
		t.Fatal(err)
	}
	for _, gv := range kinds.GroupVersions() {
		path := "apis/" + gv.String()
		if gv.Group == "" {
			path = "api/" + gv.Version
		}
		document, ok := paths[path]
		if !ok {
			t.Errorf("no document of %s", gv)
			continue
		}
		if b, err := document.Schema("application/json"); err != nil || !strings.HasPrefix(string(b), `{"openapi":"3.0.0"`) {
			t.Errorf("document of %s: %.40q (%v)", gv, b, err)
		}
	}
	if !names["io.k8s.api.core.v1.Pod"] || !names["io.k8s.api.apps.v1.Deployment"] {
		t.Errorf("%d definitions lack Pod or Deployment", len(names))
	}
}

// TestPathsBesideResources asks as nobody in particular: what tells that the
// server is well is for everybody, and nothing else.
func TestPathsBesideResources(t *testing.T) {
	c, _ := bare(t)
	admin, nobody := newWeb(t, c.Config), newWeb(t, rest.AnonymousClientConfig(c.Config))
	for _, path := range []string{"/healthz", "/livez", "/readyz", "/readyz?verbose", "/version"} {
		nobody.get(path, "*/*").is(http.StatusOK)
	}
	if text := string(nobody.get("/readyz?verbose", "*/*").body); !strings.Contains(text, "[+]etcd ok\n") || !strings.HasSuffix(text, "readyz check passed\n") {
		t.Errorf("readyz says %q", text)
	}
	if v := as[version.Info](nobody.get("/version", asJSON)); v.GitVersion != "v1.37.2" || v.Major != "1" || v.Minor != "37" {
		t.Errorf("version %+v", v)
	}
	for _, path := range []string{"/metrics", "/api", "/apis/apps/v1", "/openapi/v2", "/debug/pprof/heap", "/nope"} {
		nobody.get(path, asJSON).refuses(http.StatusForbidden, metav1.StatusReasonForbidden,
			`forbidden: User "system:anonymous" cannot get path "`+path+`"`)
	}
	nobody.get("/api/v1/nodes", asJSON).refuses(http.StatusForbidden, metav1.StatusReasonForbidden,
		`nodes is forbidden: User "system:anonymous" cannot list resource "nodes" in API group "" at the cluster scope`)
	if text := string(admin.get("/metrics", "*/*").is(http.StatusOK).body); !strings.Contains(text, "apiserver_request_total{") {
		t.Errorf("metrics lack requests: %.200q", text)
	}
	admin.get("/readyz/nope", "*/*").is(http.StatusNotFound)
	admin.get("/openid/v1/jwks", "*/*").is(http.StatusOK)
}

// TestUnknownCredentials are not anonymous: they are refused.
func TestUnknownCredentials(t *testing.T) {
	c, _ := bare(t)
	cfg := rest.AnonymousClientConfig(c.Config)
	cfg.BearerToken = "made-up"
	newWeb(t, cfg).get("/healthz", asJSON).refuses(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized")
	// So is a certificate of another authority, at the latest when it asks.
	stranger, err := tls.X509KeyPair(strangers(t))
	if err != nil {
		t.Fatal(err)
	}
	transport := &http.Transport{TLSClientConfig: &tls.Config{
		MinVersion: tls.VersionTLS12, InsecureSkipVerify: true,
		// The server tells which authorities it knows; this client shows its own all the same.
		GetClientCertificate: func(*tls.CertificateRequestInfo) (*tls.Certificate, error) { return &stranger, nil },
	}}
	defer transport.CloseIdleConnections()
	w := &web{t, &http.Client{Transport: transport}, c.REST}
	w.get("/healthz", asJSON).refuses(http.StatusUnauthorized, metav1.StatusReasonUnauthorized, "Unauthorized")
}
