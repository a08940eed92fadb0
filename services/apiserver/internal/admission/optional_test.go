package admission

import (
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	imagepolicyv1alpha1 "k8s.io/api/imagepolicy/v1alpha1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth/authtest"
)

// The plugins that are off unless somebody asks for them.

func namespaceWith(annotations map[string]string) *corev1.Namespace {
	ns := &corev1.Namespace{ObjectMeta: meta("", "ns")}
	ns.Annotations = annotations
	return ns
}

// configured returns the chain of one plugin with a configuration.
func configured(t *testing.T, name, configuration string, objects ...kinds.Object) *Chain {
	t.Helper()
	c := Config{Reader: authtest.New(objects...), Enable: []string{name}, Clock: clocktesting.NewFakeClock(start), Configuration: map[string][]byte{name: []byte(configuration)}}
	for _, p := range plugins() {
		if p.byDefault && p.name != name {
			c.Disable = append(c.Disable, p.name)
		}
	}
	if configuration == "" {
		c.Configuration = nil
	}
	chain, _, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	return chain
}

func (c *Chain) both(ctx context.Context, a *Attributes) error {
	if err := c.Admit(ctx, a); err != nil {
		return err
	}
	return c.Validate(ctx, a)
}

func TestNamespacesMadeAndMissed(t *testing.T) {
	var made []string
	p := &autoProvision{lookup{reader: authtest.New(namespaceWith(nil))}, func(_ context.Context, name string) error {
		made = append(made, name)
		return apierrors.NewAlreadyExists(kinds.For[*corev1.Namespace]().GroupResource(), name)
	}}
	for _, ns := range []string{"ns", "new"} {
		expect(t, p.Admit(t.Context(), create(&corev1.ConfigMap{ObjectMeta: meta(ns, "c")})), "")
	}
	dry := create(&corev1.ConfigMap{ObjectMeta: meta("dry", "c")})
	dry.DryRun = true
	expect(t, p.Admit(t.Context(), dry), "")
	if len(made) != 1 || made[0] != "new" {
		t.Errorf("made %q", made)
	}
	exists := &namespaceExists{p.lookup}
	expect(t, exists.Validate(t.Context(), remove(&corev1.ConfigMap{ObjectMeta: meta("gone", "c")})), `namespaces "gone" not found`)
	expect(t, exists.Validate(t.Context(), remove(&corev1.ConfigMap{ObjectMeta: meta("ns", "c")})), "")
}

func TestPodNodeSelector(t *testing.T) {
	const settings = `
podNodeSelectorPluginConfig:
  clusterDefaultNodeSelector: zone=a
  ns: zone=a,disk=ssd
`
	tests := []struct {
		name      string
		namespace *corev1.Namespace
		pod       map[string]string
		want      map[string]string
		refusal   string
	}{
		{name: "cluster's default", namespace: namespaceWith(nil), want: map[string]string{"zone": "a"}},
		{name: "namespace's own", namespace: namespaceWith(map[string]string{nodeSelectorAnnotation: "disk=ssd"}), want: map[string]string{"disk": "ssd"}},
		{name: "both", namespace: namespaceWith(nil), pod: map[string]string{"disk": "ssd"}, want: map[string]string{"zone": "a", "disk": "ssd"}},
		{name: "conflict", namespace: namespaceWith(nil), pod: map[string]string{"zone": "b"}, refusal: `pods "p" is forbidden: pod node label selector conflicts with its namespace node label selector`},
		{name: "not on the list", namespace: namespaceWith(nil), pod: map[string]string{"gpu": "1"}, refusal: "pod node label selector labels conflict with its namespace whitelist"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := podAsking("p", nil, nil)
			p.Spec.NodeSelector = test.pod
			expect(t, configured(t, "PodNodeSelector", settings, test.namespace).both(t.Context(), create(p)), test.refusal)
			if test.refusal == "" && !equality.Semantic.DeepEqual(p.Spec.NodeSelector, test.want) {
				t.Errorf("got %v", p.Spec.NodeSelector)
			}
		})
	}
}

func TestPodTolerationRestriction(t *testing.T) {
	const settings = `
apiVersion: podtolerationrestriction.admission.k8s.io/v1alpha1
kind: Configuration
default: [{key: team, operator: Exists}]
whitelist: [{key: team, operator: Exists}, {key: node.kubernetes.io/memory-pressure, operator: Exists}]
`
	tests := []struct {
		name      string
		namespace *corev1.Namespace
		pod       *corev1.Pod
		keys      string
		refusal   string
	}{
		{name: "cluster's default", namespace: namespaceWith(nil), pod: podAsking("p", nil, nil), keys: "team"},
		{name: "no best effort", namespace: namespaceWith(nil), pod: podAsking("p", amounts{"cpu": "1"}, nil), keys: "team,node.kubernetes.io/memory-pressure"},
		{name: "namespace has none", namespace: namespaceWith(map[string]string{defaultTolerationsAnnotation: ""}), pod: podAsking("p", nil, nil)},
		{
			name: "namespace's own", namespace: namespaceWith(map[string]string{defaultTolerationsAnnotation: `[{"key":"x","operator":"Exists"}]`, whitelistAnnotation: `[{"key":"y"}]`}),
			pod: podAsking("p", nil, nil), refusal: "pod tolerations (possibly merged with namespace default tolerations) conflict with its namespace whitelist",
		},
		{
			name: "cluster's list", namespace: namespaceWith(map[string]string{defaultTolerationsAnnotation: `[{"key":"x","operator":"Exists"}]`}),
			pod: podAsking("p", nil, nil), refusal: "conflict with its cluster whitelist",
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			expect(t, configured(t, "PodTolerationRestriction", settings, test.namespace).both(t.Context(), create(test.pod)), test.refusal)
			var keys []string
			for _, toleration := range test.pod.Spec.Tolerations {
				keys = append(keys, toleration.Key)
			}
			if got := strings.Join(keys, ","); test.refusal == "" && got != test.keys {
				t.Errorf("got %s", got)
			}
		})
	}
}

func TestExtendedResourceToleration(t *testing.T) {
	p := podAsking("p", amounts{"cpu": "1", "example.com/gpu": "1", "a.example.com/x": "1"}, nil)
	p.Spec.Tolerations = []corev1.Toleration{{Key: "example.com/gpu", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule}}
	expect(t, extendedResourceToleration{}.Admit(t.Context(), create(p)), "")
	if len(p.Spec.Tolerations) != 2 || p.Spec.Tolerations[1].Key != "a.example.com/x" {
		t.Errorf("got %v", p.Spec.Tolerations)
	}
}

func TestAntiAffinityTopology(t *testing.T) {
	apart := func(key string) *corev1.Pod {
		p := podAsking("p", nil, nil)
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: key}}}}
		return p
	}
	expect(t, antiAffinityTopology{}.Validate(t.Context(), create(apart("kubernetes.io/hostname"))), "")
	expect(t, antiAffinityTopology{}.Validate(t.Context(), create(apart("zone"))),
		"affinity.PodAntiAffinity.RequiredDuringScheduling has TopologyKey zone but only key kubernetes.io/hostname is allowed")
}

func TestEventRateLimit(t *testing.T) {
	chain := configured(t, "EventRateLimit", `
apiVersion: eventratelimit.admission.k8s.io/v1alpha1
kind: Configuration
limits: [{type: Namespace, qps: 1, burst: 2, cacheSize: 10}, {type: Server, qps: 1, burst: 3}]
`)
	event := func(ns string) *Attributes { return create(&corev1.Event{ObjectMeta: meta(ns, "e")}) }
	expect(t, chain.Validate(t.Context(), event("a")), "")
	expect(t, chain.Validate(t.Context(), event("a")), "")
	dry := event("a")
	dry.DryRun = true
	expect(t, chain.Validate(t.Context(), dry), "")
	err := chain.Validate(t.Context(), event("a"))
	expect(t, err, "limit reached on type Namespace for key a")
	if !apierrors.IsTooManyRequests(err) {
		t.Errorf("reason %s", apierrors.ReasonForError(err))
	}
	expect(t, chain.Validate(t.Context(), event("b")), "limit reached on type Server for key")
	expect(t, chain.Validate(t.Context(), create(&corev1.ConfigMap{ObjectMeta: meta("a", "c")})), "")
}

func TestOwnerReferences(t *testing.T) {
	owned := func(block bool) *corev1.ConfigMap {
		c := &corev1.ConfigMap{ObjectMeta: meta("ns", "c")}
		c.OwnerReferences = []metav1.OwnerReference{{APIVersion: "apps/v1", Kind: "ReplicaSet", Name: "rs", UID: "rs", BlockOwnerDeletion: &block}}
		return c
	}
	strange := owned(true)
	strange.OwnerReferences[0].Kind = "Strange"
	free := &corev1.ConfigMap{ObjectMeta: meta("ns", "c")}

	tests := []struct {
		name    string
		allowed allowOnly
		request *Attributes
		refusal string
	}{
		{name: "no owner", request: update(free, free)},
		{name: "a new object", request: create(owned(false))},
		{name: "an object that is not mine", request: update(owned(false), free), refusal: "cannot set an ownerRef on a resource you can't delete"},
		{name: "an object of mine", allowed: allowOnly{"delete", "c"}, request: update(owned(false), free)},
		{name: "blocking", request: create(owned(true)), refusal: "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on"},
		{name: "blocking what I may finalize", allowed: allowOnly{"update", "rs"}, request: create(owned(true))},
		{name: "finalizing anything", allowed: allowOnly{"update", "*"}, request: create(owned(true))},
		{name: "blocked before", allowed: allowOnly{"delete", "c"}, request: update(owned(true), owned(true))},
		{name: "unknown kind", request: create(strange), refusal: `cannot set blockOwnerDeletion in this case because cannot find RESTMapping for APIVersion apps/v1 Kind Strange: no matches for kind "Strange" in version "apps/v1"`},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			expect(t, newOwnerReferences(Config{Authorizer: test.allowed}).Validate(t.Context(), test.request), test.refusal)
		})
	}
}

func TestDeclaredFeatures(t *testing.T) {
	node := &corev1.Node{ObjectMeta: meta("", "n")}
	old := podAsking("p", nil, nil)
	old.Spec.NodeName, old.Generation = "n", 1
	old.Spec.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("1")}}
	p := old.DeepCopy()
	p.Generation = 2
	p.Spec.Resources.Requests["cpu"] = resource.MustParse("2")
	check := func(refusal string) {
		t.Helper()
		plugin := newDeclaredFeatures(Config{Reader: authtest.New(node)})
		expect(t, plugin.Validate(t.Context(), update(p, old).sub("resize")), refusal)
	}
	check(`pod update requires features InPlacePodLevelResourcesVerticalScaling which are not available on node "n"`)
	node.Status.DeclaredFeatures = []string{"InPlacePodLevelResourcesVerticalScaling"}
	check("")
}

func TestPodSecurityConfigured(t *testing.T) {
	const settings = `
apiVersion: pod-security.admission.config.k8s.io/v1
kind: PodSecurityConfiguration
defaults: {enforce: baseline}
exemptions: {usernames: [root], namespaces: [kube-system], runtimeClasses: [vm]}
`
	ns, system := namespaceWith(nil), &corev1.Namespace{ObjectMeta: meta("", "kube-system")}
	hostile := func(ns string) *corev1.Pod {
		p := podAsking("p", nil, nil)
		p.Namespace, p.Spec.HostNetwork = ns, true
		return p
	}
	chain := configured(t, "PodSecurity", settings, ns, system)
	const refusal = `violates PodSecurity "baseline:latest": host namespaces (hostNetwork=true)`
	expect(t, chain.Validate(t.Context(), create(hostile("ns"))), refusal)
	expect(t, chain.Validate(t.Context(), create(hostile("kube-system"))), "")
	expect(t, chain.Validate(t.Context(), create(hostile("ns")).by(authtest.User("root"))), "")
	vm := hostile("ns")
	vm.Spec.RuntimeClassName = ptr.To("vm")
	expect(t, chain.Validate(t.Context(), create(vm)), "")

	labelled := system.DeepCopy()
	labelled.Labels = map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}
	a := update(labelled, system)
	warnings := a.warnings()
	expect(t, chain.Validate(t.Context(), a), "")
	if len(*warnings) != 1 || (*warnings)[0] != `namespace "kube-system" is exempt from Pod Security, and the policy (enforce=restricted:latest) will be ignored` {
		t.Errorf("warnings %q", *warnings)
	}
}

func TestImagePolicy(t *testing.T) {
	asked := 0
	hook := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked++
		var review imagepolicyv1alpha1.ImageReview
		if err := json.NewDecoder(r.Body).Decode(&review); err != nil {
			t.Error(err)
		}
		review.Status.Allowed = review.Spec.Containers[0].Image != "bad"
		if !review.Status.Allowed {
			review.Status.Reason = "it is bad"
		}
		if review.Spec.Containers[0].Image == "broken" {
			w.WriteHeader(http.StatusTeapot)
		}
		_ = json.NewEncoder(w).Encode(review)
	}))
	defer hook.Close()
	kubeconfig := filepath.Join(t.TempDir(), "hook.yaml")
	const text = `
apiVersion: v1
kind: Config
clusters: [{name: h, cluster: {server: URL, insecure-skip-tls-verify: true}}]
contexts: [{name: h, context: {cluster: h}}]
current-context: h
`
	if err := os.WriteFile(kubeconfig, []byte(strings.Replace(text, "URL", hook.URL, 1)), 0o600); err != nil {
		t.Fatal(err)
	}
	pod := func(image string) *Attributes {
		p := podAsking("p", nil, nil)
		p.Spec.Containers[0].Image = image
		return create(p)
	}
	chain := configured(t, "ImagePolicyWebhook", `{imagePolicy: {kubeConfigFile: `+kubeconfig+`, allowTTL: 60, denyTTL: 1, retryBackoff: 1}}`)
	expect(t, chain.Validate(t.Context(), pod("good")), "")
	expect(t, chain.Validate(t.Context(), pod("good")), "")
	expect(t, chain.Validate(t.Context(), pod("bad")), `pods "p" is forbidden: image policy webhook backend denied one or more images: it is bad`)
	if asked != 2 {
		t.Errorf("asked %d times", asked)
	}
	expect(t, chain.Validate(t.Context(), pod("broken")), "error contacting webhook: 418")
	open := configured(t, "ImagePolicyWebhook", `{imagePolicy: {kubeConfigFile: `+kubeconfig+`, defaultAllow: true}}`)
	a := pod("broken")
	expect(t, open.Validate(t.Context(), a), "")
	if a.Object.GetAnnotations()[failedOpen] != "true" {
		t.Errorf("annotations %v", a.Object.GetAnnotations())
	}
}

func TestReadConfiguration(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("limits.yaml", "limits")
	read := func(name, text string) map[string][]byte {
		t.Helper()
		c, err := ReadConfiguration(write(name, text))
		if err != nil {
			t.Fatal(err)
		}
		return c
	}
	c := read("all.yaml", `
apiVersion: apiserver.config.k8s.io/v1
kind: AdmissionConfiguration
plugins:
- {name: EventRateLimit, path: limits.yaml}
- {name: ResourceQuota, configuration: {apiVersion: apiserver.config.k8s.io/v1, kind: ResourceQuotaConfiguration}}
- {name: PodSecurity}
`)
	if string(c["EventRateLimit"]) != "limits" || !strings.Contains(string(c["ResourceQuota"]), "ResourceQuotaConfiguration") || len(c["PodSecurity"]) != 0 {
		t.Errorf("got %q", c)
	}
	alone := "podNodeSelectorPluginConfig: {clusterDefaultNodeSelector: a=b}"
	if c := read("alone.yaml", alone); string(c["PodNodeSelector"]) != alone {
		t.Errorf("got %q", c)
	}
	for text, want := range map[string]string{
		"apiVersion: v1\nkind: Pod": `no kind "Pod" is registered for version "v1"`,
		"a: b":                      "Object 'Kind' is missing",
		"apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugin: []":                         "strict decoding error",
		"apiVersion: apiserver.config.k8s.io/v1\nkind: AdmissionConfiguration\nplugins: [{name: X, path: absent}]": "couldn't open admission plugin configuration",
	} {
		_, err := ReadConfiguration(write("wrong.yaml", text))
		expect(t, err, want)
	}
	_, err := ReadConfiguration(filepath.Join(dir, "absent"))
	expect(t, err, "unable to read admission control configuration")
}

func TestWrongSettings(t *testing.T) {
	for name, test := range map[string]struct{ configuration, want string }{
		"ResourceQuota":            {"{apiVersion: v1, kind: X}", `couldn't init admission plugin "ResourceQuota": no kind "X" is registered for version "v1"`},
		"PodSecurity":              {"apiVersion: pod-security.admission.config.k8s.io/v1\nkind: PodSecurityConfiguration\ndefaults: {enforce: x}", "must be one of"},
		"EventRateLimit":           {"{apiVersion: eventratelimit.admission.k8s.io/v1alpha1, kind: Configuration, limits: [{type: X}]}", `[limits[0].type: Unsupported value: "X": supported values: "Namespace", "Server", "SourceAndObject", "User", limits[0].burst: Invalid value: 0: must be positive, limits[0].qps: Invalid value: 0: must be positive]`},
		"ImagePolicyWebhook":       {"{imagePolicy: {allowTTL: 1000000}}", "valid value is between 1s and 30m0s, got 277h46m40s"},
		"PodTolerationRestriction": {"{apiVersion: podtolerationrestriction.admission.k8s.io/v1alpha1, kind: Configuration, x: y}", "strict decoding error"},
	} {
		_, _, err := New(Config{Reader: authtest.New(), Enable: []string{name}, Configuration: map[string][]byte{name: []byte(test.configuration)}})
		expect(t, err, test.want)
	}
	limited, _, err := New(Config{Reader: newQuotaStore(), Configuration: map[string][]byte{"ResourceQuota": []byte(
		"{apiVersion: apiserver.config.k8s.io/v1, kind: ResourceQuotaConfiguration, limitedResources: [{resource: configmaps, matchContains: [configmaps]}]}")}})
	if err != nil {
		t.Fatal(err)
	}
	for _, v := range limited.Validators {
		if p, ok := v.(*resourceQuota); ok {
			expect(t, p.Validate(t.Context(), create(&corev1.ConfigMap{ObjectMeta: meta("ns", "c")})), "insufficient quota to consume: configmaps,count/configmaps")
			return
		}
	}
	t.Error("no plugin")
}
