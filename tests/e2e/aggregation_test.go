package e2e

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"
	"k8s.io/utils/ptr"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/libs/pki"
	"coracle.local/tests/fixture"
)

var things = schema.GroupVersionResource{Group: "ext.example.com", Version: "v1alpha1", Resource: "things"}

// extension is an API server of its own, as far as another one can see.
type extension struct {
	*httptest.Server
	authority *pki.Authority
	proxyCA   *x509.CertPool

	mu   sync.Mutex
	last http.Header
	ill  bool
}

// newExtension listens at this host's own address: endpoints may not be at
// loopback.
func newExtension(t *testing.T, keys string) *extension {
	t.Helper()
	ip, err := utilnet.ChooseHostInterface()
	if err != nil {
		t.Skipf("this host has no address beside loopback: %v", err)
	}
	e := &extension{proxyCA: x509.NewCertPool()}
	pem, err := os.ReadFile(filepath.Join(keys, "front-proxy-ca.crt"))
	if err != nil || !e.proxyCA.AppendCertsFromPEM(pem) {
		t.Fatalf("front proxy CA: %v", err)
	}
	if e.authority, err = pki.NewAuthority("ext", time.Time{}); err != nil {
		t.Fatal(err)
	}
	own, err := e.authority.Issue(pki.Request{CommonName: "ext", Server: true, Hosts: []string{"ext.default.svc"}})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", net.JoinHostPort(ip.String(), "0"))
	if err != nil {
		t.Fatal(err)
	}
	e.Server = &httptest.Server{
		Listener: l, Config: &http.Server{Handler: e, ReadHeaderTimeout: time.Minute},
		TLS: &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{own.TLS()}, ClientAuth: tls.RequireAndVerifyClientCert, ClientCAs: e.proxyCA},
	}
	e.StartTLS()
	t.Cleanup(e.Close)
	return e
}

func (e *extension) seen() http.Header {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.last
}

func (e *extension) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	ill := e.ill
	if strings.HasPrefix(r.URL.Path, "/apis/ext.example.com/v1alpha1/") {
		e.last = r.Header.Clone()
	}
	e.mu.Unlock()
	const root = "/apis/ext.example.com/v1alpha1"
	thing := `{"apiVersion":"ext.example.com/v1alpha1","kind":"Thing","metadata":{"name":"one","namespace":"default","resourceVersion":"7"}}`
	switch path := r.URL.Path; {
	case ill:
		http.Error(w, "ill", http.StatusInternalServerError)
	case path == "/apis" && strings.Contains(r.Header.Get("Accept"), "APIGroupDiscoveryList"):
		w.Header().Set("Content-Type", "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList")
		w.Header().Set("Etag", `"1"`)
		_, _ = io.WriteString(w, `{"kind":"APIGroupDiscoveryList","apiVersion":"apidiscovery.k8s.io/v2","items":[{"metadata":{"name":"ext.example.com"},"versions":[
			{"version":"v1alpha1","resources":[{"resource":"things","responseKind":{"group":"","version":"","kind":"Thing"},"scope":"Namespaced","singularResource":"thing","verbs":["get","list","watch"]}]}]}]}`)
	case path == root:
		reply(w, `{"kind":"APIResourceList","apiVersion":"v1","groupVersion":"ext.example.com/v1alpha1","resources":[{"name":"things","singularName":"thing","namespaced":true,"kind":"Thing","verbs":["get","list","watch"]}]}`)
	case path == root+"/namespaces/default/things" && r.URL.Query().Get("watch") != "":
		w.Header().Set("Content-Type", "application/json")
		_, _ = fmt.Fprintf(w, "{\"type\":\"ADDED\",\"object\":%s}\n", thing)
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	case path == root+"/namespaces/default/things":
		reply(w, `{"apiVersion":"ext.example.com/v1alpha1","kind":"ThingList","metadata":{"resourceVersion":"7"},"items":[`+thing+`]}`)
	case path == root+"/namespaces/default/things/one/echo":
		echo(w)
	case path == "/openapi/v3":
		reply(w, `{"paths":{"apis/ext.example.com/v1alpha1":{"serverRelativeURL":"/openapi/v3/apis/ext.example.com/v1alpha1?hash=ABC"}}}`)
	case path == "/openapi/v3"+root:
		reply(w, `{"openapi":"3.0.0","info":{"title":"ext"},"paths":{}}`)
	case path == "/openapi/v2":
		w.Header().Set("Etag", `"2"`)
		reply(w, `{"swagger":"2.0","info":{"title":"ext","version":"1"},"paths":{"`+root+`/things":{"get":{"responses":{"200":{"description":"OK","schema":{"$ref":"#/definitions/com.example.Thing"}}}}}},"definitions":{"com.example.Thing":{"type":"object"}}}`)
	default:
		http.NotFound(w, r)
	}
}

func reply(w http.ResponseWriter, body string) {
	w.Header().Set("Content-Type", "application/json")
	_, _ = io.WriteString(w, body)
}

// echo turns the connection into one that says back what it hears.
func echo(w http.ResponseWriter) {
	c, rw, err := http.NewResponseController(w).Hijack()
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	defer func() { _ = c.Close() }()
	_, _ = io.WriteString(c, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	_, _ = io.Copy(c, rw)
}

// install makes the Service, its endpoint and the APIService.
func (e *extension) install(t *testing.T, c *fixture.Cluster, registrations dynamic.ResourceInterface) {
	t.Helper()
	ctx := t.Context()
	at := e.Listener.Addr().(*net.TCPAddr)
	_, err := c.Clients.CoreV1().Services("default").Create(ctx, &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{Name: "ext"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Name: "https", Port: 443}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	awaitCondition(t, registrations, "EndpointsNotFound", `cannot find endpointslices for service/ext in "default"`)
	_, err = c.Clients.DiscoveryV1().EndpointSlices("default").Create(ctx, &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "ext", Labels: map[string]string{discoveryv1.LabelServiceName: "ext"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{at.IP.String()}}},
		Ports: []discoveryv1.EndpointPort{{Name: ptr.To("https"), Port: ptr.To(int32(at.Port))}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
}

func awaitCondition(t *testing.T, registrations dynamic.ResourceInterface, reason, message string) {
	t.Helper()
	var last apiregistrationv1.APIServiceCondition
	fixture.Eventually(t, 15*time.Second, "condition "+reason, func() bool {
		o, err := registrations.Get(t.Context(), "v1alpha1.ext.example.com", metav1.GetOptions{})
		if err != nil {
			return false
		}
		raw, _ := json.Marshal(o.Object["status"])
		var status apiregistrationv1.APIServiceStatus
		if json.Unmarshal(raw, &status) != nil || len(status.Conditions) == 0 {
			return false
		}
		last = status.Conditions[0]
		return last.Reason == reason
	})
	if !strings.Contains(last.Message, message) {
		t.Errorf("%s: %q, want %q", reason, last.Message, message)
	}
}

func apiService(e *extension) *unstructured.Unstructured {
	raw, _ := json.Marshal(&apiregistrationv1.APIService{
		TypeMeta: metav1.TypeMeta{APIVersion: "apiregistration.k8s.io/v1", Kind: "APIService"}, ObjectMeta: metav1.ObjectMeta{Name: "v1alpha1.ext.example.com"},
		Spec: apiregistrationv1.APIServiceSpec{
			Group: "ext.example.com", Version: "v1alpha1", GroupPriorityMinimum: 2000, VersionPriority: 15, CABundle: e.authority.CertPEM,
			Service: &apiregistrationv1.ServiceReference{Namespace: "default", Name: "ext"},
		},
	})
	o := &unstructured.Unstructured{}
	_ = o.UnmarshalJSON(raw)
	return o
}

func TestAggregation(t *testing.T) {
	c := fixture.Start(t, cluster.Config{})
	e := newExtension(t, c.Keys)
	ctx := t.Context()
	clients := dynamic.NewForConfigOrDie(c.Config)
	registrations := clients.Resource(schema.GroupVersionResource{Group: "apiregistration.k8s.io", Version: "v1", Resource: "apiservices"})

	t.Run("of built-in versions", func(t *testing.T) {
		fixture.Eventually(t, 10*time.Second, "registered: apps", func() bool {
			_, err := registrations.Get(ctx, "v1.apps", metav1.GetOptions{})
			return err == nil
		})
		o, err := registrations.Get(ctx, "v1.apps", metav1.GetOptions{})
		if err != nil || o.GetLabels()["kube-aggregator.kubernetes.io/automanaged"] != "onstart" {
			t.Fatalf("%v, %v", o, err)
		}
	})

	t.Run("of custom resources", func(t *testing.T) { checkCustomRegistration(t, clients, registrations) })

	if _, err := registrations.Create(ctx, apiService(e), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	awaitCondition(t, registrations, "ServiceNotFound", `service/ext in "default" is not present`)
	_, err := clients.Resource(things).Namespace("default").List(ctx, metav1.ListOptions{})
	if !apierrors.IsServiceUnavailable(err) {
		t.Errorf("before it is available: %v", err)
	}
	e.install(t, c, registrations)
	awaitCondition(t, registrations, "Passed", "all checks passed")

	t.Run("identity", func(t *testing.T) { checkIdentity(t, c, e) })
	t.Run("watch", func(t *testing.T) {
		w, err := clients.Resource(things).Namespace("default").Watch(ctx, metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		defer w.Stop()
		if event := <-w.ResultChan(); event.Type != "ADDED" {
			t.Errorf("%v", event)
		}
	})
	t.Run("upgrade", func(t *testing.T) { checkUpgrade(t, c, e) })
	t.Run("discovery", func(t *testing.T) { checkDiscovery(t, c, "Current") })
	t.Run("openapi", func(t *testing.T) { checkOpenAPI(t, c) })

	e.mu.Lock()
	e.ill = true
	e.mu.Unlock()
	// Any change of the object has it looked at again.
	_, err = registrations.Patch(ctx, "v1alpha1.ext.example.com", "application/merge-patch+json", []byte(`{"metadata":{"labels":{"a":"b"}}}`), metav1.PatchOptions{})
	if err != nil {
		t.Fatal(err)
	}
	awaitCondition(t, registrations, "FailedDiscoveryCheck", "bad status from https://"+e.Listener.Addr().String()+"/apis/ext.example.com/v1alpha1: 500")
	t.Run("stale discovery", func(t *testing.T) { checkDiscovery(t, c, "Stale") })
	if err := registrations.Delete(ctx, "v1alpha1.ext.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	fixture.Eventually(t, 10*time.Second, "gone from discovery", func() bool {
		_, err := c.Clients.Discovery().ServerResourcesForGroupVersion("ext.example.com/v1alpha1")
		return apierrors.IsNotFound(err)
	})
}

func checkCustomRegistration(t *testing.T, clients dynamic.Interface, registrations dynamic.ResourceInterface) {
	definitions := clients.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	schema := map[string]any{"openAPIV3Schema": map[string]any{"type": "object"}}
	definition := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": map[string]any{"name": "toys.play.example.com"},
		"spec": map[string]any{
			"group": "play.example.com", "scope": "Namespaced", "names": map[string]any{"plural": "toys", "kind": "Toy"},
			"versions": []any{map[string]any{"name": "v1", "served": true, "storage": true, "schema": schema}},
		},
	}}
	if _, err := definitions.Create(t.Context(), definition, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	fixture.Eventually(t, 10*time.Second, "registered and available", func() bool {
		o, err := registrations.Get(t.Context(), "v1.play.example.com", metav1.GetOptions{})
		if err != nil {
			return false
		}
		conditions, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
		return o.GetLabels()["kube-aggregator.kubernetes.io/automanaged"] == "true" && len(conditions) == 1 && conditions[0].(map[string]any)["reason"] == "Local"
	})
	if err := definitions.Delete(t.Context(), "toys.play.example.com", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	fixture.Eventually(t, 10*time.Second, "no longer registered", func() bool {
		_, err := registrations.Get(t.Context(), "v1.play.example.com", metav1.GetOptions{})
		return apierrors.IsNotFound(err)
	})
}

func checkIdentity(t *testing.T, c *fixture.Cluster, e *extension) {
	other := rest.CopyConfig(c.Config)
	other.Impersonate = rest.ImpersonationConfig{UserName: "jane", UID: "u1", Groups: []string{"system:masters", "dev"}, Extra: map[string][]string{"scopes/x": {"a", "b"}}}
	list, err := dynamic.NewForConfigOrDie(other).Resource(things).Namespace("default").List(t.Context(), metav1.ListOptions{})
	if err != nil || len(list.Items) != 1 {
		t.Fatalf("%v, %v", list, err)
	}
	h := e.seen()
	if h.Get("X-Remote-User") != "jane" || h.Get("X-Remote-Uid") != "u1" || !slices.Contains(h.Values("X-Remote-Group"), "dev") ||
		!slices.Equal(h.Values("X-Remote-Extra-Scopes%2fx"), []string{"a", "b"}) {
		t.Errorf("headers %v", h)
	}
	for name := range h {
		if name == "Authorization" || strings.HasPrefix(name, "Impersonate-") {
			t.Errorf("%s is passed on", name)
		}
	}
	// Who may do nothing here is refused here.
	nobody := rest.CopyConfig(c.Config)
	nobody.Impersonate = rest.ImpersonationConfig{UserName: "nobody"}
	if _, err := dynamic.NewForConfigOrDie(nobody).Resource(things).Namespace("default").List(t.Context(), metav1.ListOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("nobody: %v", err)
	}
}

func checkUpgrade(t *testing.T, c *fixture.Cluster, e *extension) {
	config, err := rest.TLSConfigFor(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	config.NextProtos = []string{"http/1.1"}
	dialer := tls.Dialer{Config: config}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	conn, err := dialer.DialContext(ctx, "tcp", strings.TrimPrefix(c.REST, "https://"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	_, _ = fmt.Fprintf(conn, "GET /apis/ext.example.com/v1alpha1/namespaces/default/things/one/echo HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n")
	r := bufio.NewReader(conn)
	answer, err := http.ReadResponse(r, nil) //nolint:bodyclose // what follows is the connection's, which is closed
	if err != nil || answer.StatusCode != http.StatusSwitchingProtocols {
		t.Fatalf("%v, %v", answer, err)
	}
	_, _ = fmt.Fprint(conn, "hello\n")
	if line, err := r.ReadString('\n'); line != "hello\n" || err != nil {
		t.Errorf("%q, %v", line, err)
	}
	if e.seen().Get("X-Remote-User") != "kubernetes-admin" {
		t.Errorf("headers %v", e.seen())
	}
}

func checkDiscovery(t *testing.T, c *fixture.Cluster, freshness string) {
	ctx := t.Context()
	groups, err := c.Clients.Discovery().ServerGroups()
	if err != nil {
		t.Fatal(err)
	}
	if groups.Groups[len(groups.Groups)-1].Name != "ext.example.com" {
		t.Errorf("%v", groups.Groups)
	}
	get := func(path string, accept string) string {
		raw, err := c.Clients.(*kubernetes.Clientset).RESTClient().Get().AbsPath(path).SetHeader("Accept", accept).DoRaw(ctx)
		if err != nil && freshness == "Current" {
			t.Errorf("%s: %v", path, err)
		}
		return string(raw)
	}
	const aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
	fixture.Eventually(t, 10*time.Second, freshness+" in the aggregated document", func() bool {
		return strings.Contains(get("/apis", aggregated), `{"version":"v1alpha1","resources":[{"resource":"things","responseKind":{"group":"","version":"","kind":"Thing"},"scope":"Namespaced","singularResource":"thing","verbs":["get","list","watch"]}],"freshness":"`+freshness+`"}`)
	})
	if got := get("/apis/ext.example.com", "application/json"); !strings.Contains(got, `"preferredVersion":{"groupVersion":"ext.example.com/v1alpha1","version":"v1alpha1"}`) {
		t.Errorf("group: %s", got)
	}
	if got := get("/apis/ext.example.com/v1alpha1", "application/json"); freshness == "Current" && !strings.Contains(got, `"name":"things"`) {
		t.Errorf("resources: %s", got)
	}
}

func checkOpenAPI(t *testing.T, c *fixture.Cluster) {
	client := c.Clients.(*kubernetes.Clientset).RESTClient()
	fixture.Eventually(t, 10*time.Second, "in the index of version 3", func() bool {
		raw, err := client.Get().AbsPath("/openapi/v3").DoRaw(t.Context())
		return err == nil && strings.Contains(string(raw), `"apis/ext.example.com/v1alpha1":{"serverRelativeURL":"/openapi/v3/apis/ext.example.com/v1alpha1?hash=ABC"}`) &&
			strings.Contains(string(raw), `"apis/apps/v1"`)
	})
	raw, err := client.Get().AbsPath("/openapi/v3/apis/ext.example.com/v1alpha1").DoRaw(t.Context())
	if err != nil || !strings.Contains(string(raw), `"title":"ext"`) {
		t.Errorf("%s, %v", raw, err)
	}
	document, err := c.Clients.Discovery().OpenAPISchema() // protobuf
	if err != nil {
		t.Fatal(err)
	}
	var paths, types []string
	for _, p := range document.Paths.Path {
		paths = append(paths, p.Name)
	}
	for _, d := range document.Definitions.AdditionalProperties {
		types = append(types, d.Name)
	}
	if !slices.Contains(paths, "/apis/ext.example.com/v1alpha1/things") || !slices.Contains(types, "com.example.Thing") || !slices.Contains(types, "io.k8s.api.core.v1.Pod") {
		t.Error(errors.New("version 2 is not merged"))
	}
}
