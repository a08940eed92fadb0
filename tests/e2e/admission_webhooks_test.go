package e2e

import (
	"context"
	"encoding/json"
	"net"
	"strconv"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	apiextensions "k8s.io/apiextensions-apiserver/pkg/client/clientset/clientset"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/utils/ptr"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/tests/fixture"
)

var loopbackIP = net.IPv4(127, 0, 0, 1)

// hooked is a cluster and what configures its webhooks.
type hooked struct {
	*fixture.Cluster
	ctx context.Context
	t   *testing.T
}

func (h hooked) at(t *testing.T) hooked { h.t = t; return h }

// mutating configures webhooks until the subtest ends.
func (h hooked) mutating(name string, w ...admissionregistrationv1.MutatingWebhook) {
	h.t.Helper()
	api := h.Clients.AdmissionregistrationV1().MutatingWebhookConfigurations()
	c := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: w}
	if _, err := api.Create(h.ctx, c, metav1.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = api.Delete(h.ctx, name, metav1.DeleteOptions{}) })
}

// validating configures webhooks until the subtest ends.
func (h hooked) validating(name string, w ...admissionregistrationv1.ValidatingWebhook) {
	h.t.Helper()
	api := h.Clients.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	c := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: w}
	if _, err := api.Create(h.ctx, c, metav1.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = api.Delete(h.ctx, name, metav1.DeleteOptions{}) })
}

func (h hooked) namespace(name string, labels map[string]string) {
	h.t.Helper()
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels}}
	if _, err := h.Clients.CoreV1().Namespaces().Create(h.ctx, ns, metav1.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
}

// denied fails the test unless an error says the text.
func (h hooked) denied(err error, text string) {
	h.t.Helper()
	if err == nil || !strings.Contains(err.Error(), text) {
		h.t.Errorf("got %v, want %q", err, text)
	}
}

func cm(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: name}, Data: data}
}

const anyOperation = admissionregistrationv1.OperationAll

// TestAdmissionWebhooks is what upstream's conformance tests ask of webhooks,
// without the nodes that those need.
func TestAdmissionWebhooks(t *testing.T) {
	h := hooked{fixture.Start(t, cluster.Config{}), context.Background(), t}
	t.Run("denials", h.denials)
	t.Run("mutations", h.mutations)
	t.Run("unreachable", h.unreachable)
	t.Run("connections", h.connections)
	t.Run("configurations", h.configurations)
	t.Run("custom resources", h.customResources)
	t.Run("definitions", h.crds)
	t.Run("service", h.service)
	t.Run("collections", h.collections)
}

func (h hooked) denials(t *testing.T) {
	h = h.at(t)
	answers := map[string]hookAnswer{"/": func(q *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		if strings.Contains(string(q.Object.Raw), "offending") || q.Operation == admissionv1.Delete && strings.Contains(string(q.OldObject.Raw), "precious") {
			return refused("the object contains unwanted data")(q)
		}
		return &admissionv1.AdmissionResponse{Allowed: true, Warnings: []string{"this is watched"}}
	}}
	hooks := serveHooks(t, loopbackIP, nil, answers)
	h.namespace("denials", nil)
	h.namespace("exempt", map[string]string{"skip": "yes"})
	w := validatingHook(hooks, "/", rulesOf("", "configmaps", anyOperation))
	w.NamespaceSelector, w.MatchConditions = selecting(), []admissionregistrationv1.MatchCondition{
		{Name: "not-leases", Expression: "request.resource.group != 'coordination.k8s.io'"}, {Name: "named", Expression: "request.name != 'unseen'"},
	}
	h.validating("denials", w)
	maps := h.Clients.CoreV1().ConfigMaps("denials")
	_, err := maps.Create(h.ctx, cm("bad", map[string]string{"a": "offending"}), metav1.CreateOptions{})
	h.denied(err, `admission webhook "validate.example.com" denied the request: the object contains unwanted data`)
	if !apierrors.IsForbidden(err) {
		t.Errorf("a denial is %v", err)
	}
	if _, err := maps.Create(h.ctx, cm("unseen", map[string]string{"a": "offending"}), metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	good, err := maps.Create(h.ctx, cm("good", map[string]string{"a": "precious"}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	good.Data["b"] = "offending"
	_, err = maps.Update(h.ctx, good, metav1.UpdateOptions{})
	h.denied(err, "unwanted data")
	_, err = maps.Patch(h.ctx, "good", types.MergePatchType, []byte(`{"data":{"b":"offending"}}`), metav1.PatchOptions{})
	h.denied(err, "unwanted data")
	h.denied(maps.Delete(h.ctx, "good", metav1.DeleteOptions{}), "unwanted data")
	if _, err := h.Clients.CoreV1().ConfigMaps("exempt").Create(h.ctx, cm("bad", map[string]string{"a": "offending"}), metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	_, warnings := writeRaw(t, h.Config, "POST", "/api/v1/namespaces/denials/configmaps", cm("watched", nil))
	if len(warnings) != 1 || !strings.Contains(warnings[0], "this is watched") {
		t.Errorf("warned %v", warnings)
	}
}

func (h hooked) mutations(t *testing.T) {
	h = h.at(t)
	hooks := serveHooks(t, loopbackIP, nil, map[string]hookAnswer{
		"/one": patched(`[{"op":"add","path":"/data/one","value":"yes"}]`),
		"/two": func(q *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			if !strings.Contains(string(q.Object.Raw), `"one":"yes"`) {
				return refused("the first webhook is missed")(q)
			}
			return patched(`[{"op":"add","path":"/data/two","value":"yes"}]`)(q)
		},
		"/pods": patched(`[{"op":"add","path":"/spec/initContainers","value":[{"name":"added","image":"example.com/added:1"}]}]`),
	})
	h.namespace("mutations", nil)
	one, two := mutatingHook(hooks, "/one", rulesOf("", "configmaps", "CREATE")), mutatingHook(hooks, "/two", rulesOf("", "configmaps", "CREATE"))
	two.Name = "two.example.com"
	one.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "mutations"}}
	two.NamespaceSelector = one.NamespaceSelector
	pods := mutatingHook(hooks, "/pods", rulesOf("", "pods", "CREATE"))
	pods.Name, pods.NamespaceSelector = "pods.example.com", one.NamespaceSelector
	h.mutating("mutations", one, two, pods)
	got, err := h.Clients.CoreV1().ConfigMaps("mutations").Create(h.ctx, cm("m", map[string]string{"zero": "yes"}), metav1.CreateOptions{})
	if err != nil || len(got.Data) != 3 {
		t.Errorf("%v, %v", got.Data, err)
	}
	skipped := cm("skipped", map[string]string{"zero": "yes"})
	skipped.Labels = map[string]string{"skip": "yes"}
	if got, err = h.Clients.CoreV1().ConfigMaps("mutations").Create(h.ctx, skipped, metav1.CreateOptions{}); err != nil || len(got.Data) != 1 {
		t.Errorf("%v, %v", got.Data, err)
	}
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/i:1"}}}}
	// The account that the pod runs as is made by a controller.
	var made *corev1.Pod
	fixture.Eventually(t, 10*time.Second, "a pod", func() bool {
		made, err = h.Clients.CoreV1().Pods("mutations").Create(h.ctx, pod, metav1.CreateOptions{})
		return err == nil
	})
	if len(made.Spec.InitContainers) != 1 || made.Spec.InitContainers[0].TerminationMessagePolicy != corev1.TerminationMessageReadFile ||
		made.Spec.InitContainers[0].ImagePullPolicy != corev1.PullIfNotPresent {
		t.Errorf("what is added lacks defaults: %+v", made.Spec.InitContainers)
	}
	generated, err := h.Clients.CoreV1().ConfigMaps("mutations").Create(h.ctx,
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{GenerateName: "g-"}, Data: map[string]string{"a": "b"}}, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	if err != nil || !strings.HasPrefix(generated.Name, "g-") {
		t.Errorf("%v, %v", generated, err)
	}
}

func (h hooked) unreachable(t *testing.T) {
	h = h.at(t)
	release := make(chan struct{})
	hooks := serveHooks(t, loopbackIP, nil, map[string]hookAnswer{"/slow": func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		<-release
		return &admissionv1.AdmissionResponse{Allowed: true}
	}})
	t.Cleanup(func() { close(release) })
	h.namespace("unreachable", map[string]string{"hook": "unreachable"})
	configure := func(name, path string, change func(*admissionregistrationv1.ValidatingWebhook)) {
		w := validatingHook(hooks, path, rulesOf("", "configmaps", "CREATE"))
		w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"hook": "unreachable"}}
		w.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"case": name}}
		change(&w)
		h.validating("unreachable-"+name, w)
	}
	configure("absent", "/nothing", func(*admissionregistrationv1.ValidatingWebhook) {})
	configure("ignored", "/nothing", func(w *admissionregistrationv1.ValidatingWebhook) {
		w.FailurePolicy = ptr.To(admissionregistrationv1.Ignore)
	})
	configure("slow", "/slow", func(w *admissionregistrationv1.ValidatingWebhook) { w.TimeoutSeconds = ptr.To[int32](1) })
	configure("untrusted", "/", func(w *admissionregistrationv1.ValidatingWebhook) { w.ClientConfig.CABundle = nil })
	for name, want := range map[string]string{
		"absent": `failed calling webhook "validate.example.com": failed to call webhook: the server could not find the requested resource`, "ignored": "",
		"slow": "/slow?timeout=1s\": context deadline exceeded", "untrusted": "tls: failed to verify certificate: x509: ",
	} {
		m := cm(name, nil)
		m.Labels = map[string]string{"case": name}
		_, err := h.Clients.CoreV1().ConfigMaps("unreachable").Create(h.ctx, m, metav1.CreateOptions{})
		if want == "" && err != nil {
			t.Errorf("%s: %v", name, err)
		} else if want != "" {
			h.denied(err, want)
		}
	}
}

func (h hooked) connections(t *testing.T) {
	h = h.at(t)
	hooks := serveHooks(t, loopbackIP, nil, map[string]hookAnswer{"/": func(q *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		if q.Kind.Kind != "PodAttachOptions" || q.SubResource != "attach" || !strings.Contains(string(q.Object.Raw), `"stdin":true`) {
			return refused("asked about " + q.Kind.Kind + string(q.Object.Raw))(q)
		}
		return refused("attaching to pods is not allowed")(q)
	}})
	w := validatingHook(hooks, "/", rulesOf("", "pods/attach", "CONNECT"))
	w.ObjectSelector = nil // options have no labels that it could select
	h.validating("connections", w)
	err := h.Clients.CoreV1().RESTClient().Post().Namespace("default").Resource("pods").Name("p").SubResource("attach").
		Param("stdin", "true").Do(h.ctx).Error()
	h.denied(err, "attaching to pods is not allowed")
}

// configurations: no webhook can keep anybody from removing webhooks.
func (h hooked) configurations(t *testing.T) {
	h = h.at(t)
	hooks := serveHooks(t, loopbackIP, nil, map[string]hookAnswer{"/no": refused("never"), "/change": patched(`[{"op":"add","path":"/metadata/labels","value":{"changed":"yes"}}]`)})
	h.validating("configurations", validatingHook(hooks, "/no", rulesOf("admissionregistration.k8s.io", "*", anyOperation)))
	h.mutating("configurations", mutatingHook(hooks, "/change", rulesOf("admissionregistration.k8s.io", "*", anyOperation)))
	api := h.Clients.AdmissionregistrationV1().MutatingWebhookConfigurations()
	dummy, err := api.Create(h.ctx, &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "dummy"}}, metav1.CreateOptions{})
	if err != nil || dummy.Labels != nil {
		t.Errorf("%v, %v", dummy.Labels, err)
	}
	if err := api.Delete(h.ctx, "dummy", metav1.DeleteOptions{}); err != nil || hooks.times() != 0 {
		t.Errorf("%v", err)
	}
	bad := mutatingHook(hooks, "/change", rulesOf("", "pods", anyOperation))
	bad.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "bad", Expression: "... [] bad expression"}}
	_, err = api.Create(h.ctx, &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "bad"}, Webhooks: []admissionregistrationv1.MutatingWebhook{bad}}, metav1.CreateOptions{})
	h.denied(err, "compilation failed")
}

func hookedDefinition(plural, kind string, schemas map[string]apiextensionsv1.JSONSchemaProps, stored string) *apiextensionsv1.CustomResourceDefinition {
	crd := &apiextensionsv1.CustomResourceDefinition{ObjectMeta: metav1.ObjectMeta{Name: plural + ".hooks.example.com"}}
	crd.Spec = apiextensionsv1.CustomResourceDefinitionSpec{
		Group: "hooks.example.com", Scope: apiextensionsv1.NamespaceScoped,
		Names: apiextensionsv1.CustomResourceDefinitionNames{Plural: plural, Kind: kind},
	}
	for _, name := range []string{"v1", "v2"} {
		s, ok := schemas[name]
		if !ok {
			continue
		}
		crd.Spec.Versions = append(crd.Spec.Versions, apiextensionsv1.CustomResourceDefinitionVersion{
			Name: name, Served: true, Storage: name == stored, Schema: &apiextensionsv1.CustomResourceValidation{OpenAPIV3Schema: &s},
		})
	}
	return crd
}

func dataSchema(known ...string) apiextensionsv1.JSONSchemaProps {
	data := apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{}}
	for _, name := range known {
		data.Properties[name] = apiextensionsv1.JSONSchemaProps{Type: "string"}
	}
	return apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"data": data}}
}

// defined serves a definition until the subtest ends, and returns its objects.
func (h hooked) defined(crd *apiextensionsv1.CustomResourceDefinition, version string) dynamic.ResourceInterface {
	h.t.Helper()
	api := apiextensions.NewForConfigOrDie(h.Config).ApiextensionsV1().CustomResourceDefinitions()
	if _, err := api.Create(h.ctx, crd, metav1.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() { _ = api.Delete(h.ctx, crd.Name, metav1.DeleteOptions{}) })
	objects := dynamic.NewForConfigOrDie(h.Config).Resource(schema.GroupVersionResource{Group: crd.Spec.Group, Version: version, Resource: crd.Spec.Names.Plural}).Namespace("default")
	fixture.Eventually(h.t, 10*time.Second, "a definition that is served", func() bool {
		_, err := objects.List(h.ctx, metav1.ListOptions{})
		return err == nil
	})
	return objects
}

func thing(kind, version, name string, data map[string]any) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "hooks.example.com/" + version, "kind": kind, "metadata": map[string]any{"name": name}, "data": data,
	}}
}

func (h hooked) customResources(t *testing.T) {
	h = h.at(t)
	schemas := map[string]apiextensionsv1.JSONSchemaProps{"v1": dataSchema("one", "two"), "v2": dataSchema("one", "two")}
	things := h.defined(hookedDefinition("things", "Thing", schemas, "v1"), "v1")
	hooks := serveHooks(t, loopbackIP, nil, map[string]hookAnswer{
		"/add": patched(`[{"op":"add","path":"/data/two","value":"yes"},{"op":"add","path":"/data/unknown","value":"yes"}]`),
		"/judge": func(q *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			raw := string(q.Object.Raw)
			if q.Operation == admissionv1.Delete {
				raw = string(q.OldObject.Raw)
			}
			if strings.Contains(raw, `"one":"bad"`) || q.Operation == admissionv1.Delete && strings.Contains(raw, `"one":"kept"`) {
				return refused("the thing contains unwanted data")(q)
			}
			return &admissionv1.AdmissionResponse{Allowed: true}
		},
	})
	h.mutating("things", mutatingHook(hooks, "/add", rulesOf("hooks.example.com", "things", "CREATE")))
	h.validating("things", validatingHook(hooks, "/judge", rulesOf("hooks.example.com", "things", anyOperation)))
	_, err := things.Create(h.ctx, thing("Thing", "v1", "bad", map[string]any{"one": "bad"}), metav1.CreateOptions{})
	h.denied(err, "the thing contains unwanted data")
	made, err := things.Create(h.ctx, thing("Thing", "v1", "good", map[string]any{"one": "kept"}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if data, _ := json.Marshal(made.Object["data"]); string(data) != `{"one":"kept","two":"yes"}` {
		t.Errorf("the webhook and pruning made %s", data)
	}
	_, err = things.Patch(h.ctx, "good", types.MergePatchType, []byte(`{"data":{"one":"bad"}}`), metav1.PatchOptions{})
	h.denied(err, "unwanted data")
	h.denied(things.Delete(h.ctx, "good", metav1.DeleteOptions{}), "unwanted data")

	// A webhook of one version is asked about the others.
	second := mutatingHook(hooks, "/add", rulesOf("hooks.example.com", "things", "CREATE"))
	second.Rules[0].APIVersions, second.Name = []string{"v2"}, "second.example.com"
	h.mutating("things-v2", second)
	hooks.times()
	if _, err := things.Create(h.ctx, thing("Thing", "v1", "again", map[string]any{"one": "x"}), metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
	hooks.mu.Lock()
	defer hooks.mu.Unlock()
	for _, q := range hooks.asked {
		if q.Kind.Version == "v2" && (q.RequestKind.Version != "v1" || !strings.Contains(string(q.Object.Raw), `"apiVersion":"hooks.example.com/v2"`)) {
			t.Errorf("asked about %s as %v", q.Object.Raw, q.RequestKind)
		}
	}
	if len(hooks.asked) != 3 {
		t.Errorf("asked %d times", len(hooks.asked))
	}
}

func (h hooked) crds(t *testing.T) {
	h = h.at(t)
	hooks := serveHooks(t, loopbackIP, nil, map[string]hookAnswer{"/": refused("the crd contains unwanted label")})
	w := validatingHook(hooks, "/", rulesOf("apiextensions.k8s.io", "customresourcedefinitions", "CREATE"))
	w.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"wanted": "no"}}
	h.validating("crds", w)
	crd := hookedDefinition("nots", "Not", map[string]apiextensionsv1.JSONSchemaProps{"v1": dataSchema()}, "v1")
	crd.Labels = map[string]string{"wanted": "no"}
	_, err := apiextensions.NewForConfigOrDie(h.Config).ApiextensionsV1().CustomResourceDefinitions().Create(h.ctx, crd, metav1.CreateOptions{})
	h.denied(err, "the crd contains unwanted label")
}

// service: a webhook behind a Service is reached by its endpoints.
func (h hooked) service(t *testing.T) {
	h = h.at(t)
	ip, err := utilnet.ChooseHostInterface()
	if err != nil {
		t.Skipf("this host has no address that an endpoint may have: %v", err)
	}
	h.namespace("service", nil)
	hooks := serveHooks(t, ip, []string{"hook.service.svc"}, map[string]hookAnswer{"/path": refused("by the service")})
	_, text, err := net.SplitHostPort(hooks.address)
	if err != nil {
		t.Fatal(err)
	}
	port, err := strconv.ParseInt(text, 10, 32)
	if err != nil {
		t.Fatal(err)
	}
	w := validatingHook(hooks, "", rulesOf("", "configmaps", "CREATE"))
	w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": "service"}}
	w.ClientConfig.URL, w.ClientConfig.Service = nil, &admissionregistrationv1.ServiceReference{Namespace: "service", Name: "hook", Path: ptr.To("/path")}
	h.validating("service", w)
	create := func() error {
		_, err := h.Clients.CoreV1().ConfigMaps("service").Create(h.ctx, cm("m", nil), metav1.CreateOptions{})
		return err
	}
	h.denied(create(), `failed calling webhook "validate.example.com": failed to call webhook: Post "https://hook.service.svc:443/path?timeout=10s": service "hook" not found`)
	serveBehind(h.ctx, t, h.Clients, ip, int32(port))
	h.denied(create(), `admission webhook "validate.example.com" denied the request: by the service`)
}

// serveBehind makes the Service hook of an address.
func serveBehind(ctx context.Context, t *testing.T, c kubernetes.Interface, ip net.IP, port int32) {
	t.Helper()
	s := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "hook"}, Spec: corev1.ServiceSpec{Ports: []corev1.ServicePort{{Port: 443}}}}
	if _, err := c.CoreV1().Services("service").Create(ctx, s, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta:  metav1.ObjectMeta{Name: "hook", Labels: map[string]string{discoveryv1.LabelServiceName: "hook"}},
		AddressType: discoveryv1.AddressTypeIPv4, Endpoints: []discoveryv1.Endpoint{{Addresses: []string{ip.String()}}},
		Ports: []discoveryv1.EndpointPort{{Name: ptr.To(""), Port: &port}},
	}
	if _, err := c.DiscoveryV1().EndpointSlices("service").Create(ctx, slice, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
}

// collections: configurations are listed and deleted together, and what they
// say holds from the moment that they are written.
func (h hooked) collections(t *testing.T) {
	h = h.at(t)
	hooks := serveHooks(t, loopbackIP, nil, map[string]hookAnswer{"/": refused("no")})
	h.namespace("collections", map[string]string{"hook": "collections"})
	w := validatingHook(hooks, "/", rulesOf("", "configmaps", "CREATE"))
	w.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"hook": "collections"}}
	api := h.Clients.AdmissionregistrationV1().ValidatingWebhookConfigurations()
	for _, name := range []string{"collections-1", "collections-2"} {
		c := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{"of": "collections"}}, Webhooks: []admissionregistrationv1.ValidatingWebhook{w}}
		if _, err := api.Create(h.ctx, c, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	create := func() error {
		_, err := h.Clients.CoreV1().ConfigMaps("collections").Create(h.ctx, cm("m", nil), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	h.denied(create(), "denied the request: no")
	if list, err := api.List(h.ctx, metav1.ListOptions{LabelSelector: "of=collections"}); err != nil || len(list.Items) != 2 {
		t.Errorf("%v", err)
	}
	patch := []byte(`{"webhooks":[{"name":"validate.example.com","rules":[{"operations":["UPDATE"],"apiGroups":[""],"apiVersions":["*"],"resources":["configmaps"]}]}]}`)
	if _, err := api.Patch(h.ctx, "collections-1", types.StrategicMergePatchType, patch, metav1.PatchOptions{}); err != nil {
		t.Error(err)
	}
	h.denied(create(), "denied the request: no")
	if err := api.DeleteCollection(h.ctx, metav1.DeleteOptions{}, metav1.ListOptions{LabelSelector: "of=collections"}); err != nil {
		t.Error(err)
	}
	if err := create(); err != nil {
		t.Error(err)
	}
}
