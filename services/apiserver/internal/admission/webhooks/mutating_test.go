package webhooks

import (
	"encoding/json"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/auth/authtest"
)

// mutatingOn is a configuration with one webhook for each path, asked in order.
func mutatingOn(s *server, name string, change func(*admissionregistrationv1.MutatingWebhook), paths ...string) *admissionregistrationv1.MutatingWebhookConfiguration {
	c := &admissionregistrationv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, path := range paths {
		w := admissionregistrationv1.MutatingWebhook{
			Name: strings.TrimPrefix(path, "/") + ".example.com", ClientConfig: s.client(path), SideEffects: &none,
			Rules: rule("", "v1", "configmaps", "*"), AdmissionReviewVersions: []string{"v1"},
		}
		if change != nil {
			change(&w)
		}
		c.Webhooks = append(c.Webhooks, w)
	}
	return completed(c)
}

func TestMutation(t *testing.T) {
	s := serve(t, map[string]func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse{
		"/one": patching(`[{"op":"add","path":"/data/one","value":"1"}]`),
		"/two": func(q *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			var seen corev1.ConfigMap
			if err := json.Unmarshal(q.Object.Raw, &seen); err != nil || seen.Data["one"] != "1" || seen.Kind != "ConfigMap" || seen.APIVersion != "v1" {
				return &admissionv1.AdmissionResponse{Result: &metav1.Status{Message: "saw " + string(q.Object.Raw)}}
			}
			return patching(`[{"op":"add","path":"/data/two","value":"2"}]`)(q)
		},
	})
	c := authtest.New(namespace("ns", nil), mutatingOn(s, "a", nil, "/one"), mutatingOn(s, "b", nil, "/two"))
	p := NewMutating(config(t, c))
	c.Watch(p)
	a := created(configMap(map[string]string{"zero": "0"}))
	notes := map[string]string{}
	a.Annotate = func(key, value string) { notes[key] = value }
	a.AnnotateBody = a.Annotate
	if err := p.Admit(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	m := a.Object.(*corev1.ConfigMap)
	if len(m.Data) != 3 || m.Kind != "" {
		t.Errorf("became %v %v", m.TypeMeta, m.Data)
	}
	if want := `{"configuration":"b","webhook":"two.example.com","mutated":true}`; notes["mutation.webhook.admission.k8s.io/round_0_index_1"] != want {
		t.Errorf("noted %v", notes)
	}
	if want := `{"configuration":"a","webhook":"one.example.com","patch":[{"op":"add","path":"/data/one","value":"1"}],"patchType":"JSONPatch"}`; notes["patch.webhook.admission.k8s.io/round_0_index_0"] != want {
		t.Errorf("noted %v", notes)
	}
	q := s.asked[0].Request
	if q.Operation != "CREATE" || q.Name != "m" || q.Namespace != "ns" || q.UserInfo.Username != "alice" || *q.DryRun || q.RequestKind.Kind != "ConfigMap" ||
		q.Resource.Resource != "configmaps" || !strings.Contains(string(q.Options.Raw), `"kind":"CreateOptions","apiVersion":"meta.k8s.io/v1"`) {
		t.Errorf("asked %+v with options %s", q, q.Options.Raw)
	}
	if s.paths[0] != "/one?timeout=10s" {
		t.Errorf("called %s", s.paths[0])
	}
}

// What webhooks answer, and what clients get; messages are upstream's.
func TestMutationAnswers(t *testing.T) {
	patchType := admissionv1.PatchTypeJSONPatch
	tests := []struct {
		name   string
		answer func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse
		change func(*admissionregistrationv1.MutatingWebhook)
		code   int32
		want   string
	}{
		{name: "allowed", answer: ok},
		{name: "denied", answer: denying(nil), code: 400, want: `admission webhook "hook.example.com" denied the request without explanation`},
		{name: "denied with a reason", answer: denying(&metav1.Status{Reason: "Teapot", Code: 418}), code: 418, want: `admission webhook "hook.example.com" denied the request: Teapot`},
		{name: "denied with a message", answer: denying(&metav1.Status{Status: "Success", Message: "no", Code: 200}), code: 400, want: `admission webhook "hook.example.com" denied the request: no`},
		{
			name: "nothing", answer: func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse { return nil }, code: 500,
			want: `Internal error occurred: failed calling webhook "hook.example.com": received invalid webhook response: webhook response was absent`,
		},
		{name: "of another", answer: func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			return &admissionv1.AdmissionResponse{UID: "x", Allowed: true}
		}, code: 500, want: `received invalid webhook response: expected response.uid="`},
		{name: "patch without type", answer: func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			return &admissionv1.AdmissionResponse{Allowed: true, Patch: []byte("[]")}
		}, code: 500, want: "webhook returned response.patch but not response.patchType"},
		{name: "type without patch", answer: func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			return &admissionv1.AdmissionResponse{Allowed: true, PatchType: &patchType}
		}, code: 500, want: "webhook returned response.patchType but not response.patch"},
		{name: "no patch", answer: patching("[]")},
		{name: "nonsense", answer: patching("{"), code: 500, want: "received undecodable patch in webhook response"},
		{name: "impossible", answer: patching(`[{"op":"remove","path":"/nope"}]`), code: 500, want: "Internal error occurred: "},
		{name: "another kind", answer: patching(`[{"op":"replace","path":"/kind","value":"Secret"}]`), code: 500, want: "was made a"},
		{name: "ignored", change: func(w *admissionregistrationv1.MutatingWebhook) {
			w.FailurePolicy = ptr.To(admissionregistrationv1.Ignore)
		}},
		{name: "absent", code: 500, want: `failed calling webhook "hook.example.com": failed to call webhook: the server could not find the requested resource`},
		{
			name: "untrusted", answer: ok, change: func(w *admissionregistrationv1.MutatingWebhook) { w.ClientConfig.CABundle = nil }, code: 500,
			want: `failed calling webhook "hook.example.com": failed to call webhook: Post "https://127.0.0.1:`,
		},
		{
			name: "unknown forms", answer: ok, change: func(w *admissionregistrationv1.MutatingWebhook) { w.AdmissionReviewVersions = []string{"v9"} }, code: 500,
			want: "could not create admission objects: webhook does not accept known AdmissionReview versions (v1, v1beta1)",
		},
		{name: "older form", answer: patching(`[{"op":"add","path":"/data/a","value":"b"}]`), change: func(w *admissionregistrationv1.MutatingWebhook) {
			w.AdmissionReviewVersions = []string{"v1beta1", "v1"}
		}},
		{name: "a Service that is not there", answer: ok, change: func(w *admissionregistrationv1.MutatingWebhook) {
			w.ClientConfig = admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{Namespace: "ns", Name: "s"}}
		}, code: 500, want: `failed calling webhook "hook.example.com": failed to call webhook: Post "https://s.ns.svc:443/?timeout=10s": service "s" not found`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := serve(t, map[string]func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse{"/hook": tt.answer})
			c := authtest.New(namespace("ns", nil), mutatingOn(s, "c", tt.change, "/hook"))
			p := NewMutating(config(t, c))
			c.Watch(p)
			err := p.Admit(t.Context(), created(configMap(map[string]string{"z": "z"})))
			if (err != nil) != (tt.want != "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("got %v, want %q", err, tt.want)
			}
			if status, ok := err.(apierrors.APIStatus); err != nil && (!ok || status.Status().Code != tt.code) {
				t.Errorf("got %#v, want code %d", err, tt.code)
			}
		})
	}
}

func TestMutatingDeletionIsRefused(t *testing.T) {
	s := serve(t, map[string]func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse{"/hook": patching(`[{"op":"add","path":"/data/a","value":"b"}]`)})
	c := authtest.New(namespace("ns", nil), mutatingOn(s, "c", nil, "/hook"))
	p := NewMutating(config(t, c))
	c.Watch(p)
	a := created(configMap(nil))
	a.Operation, a.Old, a.Object, a.Options = admission.Delete, a.Object, nil, &metav1.DeleteOptions{}
	err := p.Admit(t.Context(), a)
	if want := `admission webhook "hook.example.com" attempted to modify the object, which is not supported for this operation`; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("got %v", err)
	}
	if q := s.asked[0].Request; len(q.Object.Raw) > 0 && string(q.Object.Raw) != "null" || !strings.Contains(string(q.OldObject.Raw), `"kind":"ConfigMap"`) {
		t.Errorf("asked about %s and %s", q.Object.Raw, q.OldObject.Raw)
	}
}

func TestDryRun(t *testing.T) {
	s := serve(t, map[string]func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse{"/hook": ok})
	for effects, want := range map[admissionregistrationv1.SideEffectClass]string{
		"None": "", "NoneOnDryRun": "", "Some": `admission webhook "hook.example.com" does not support dry run`, "Unknown": "does not support dry run",
	} {
		c := authtest.New(namespace("ns", nil), mutatingOn(s, "c", func(w *admissionregistrationv1.MutatingWebhook) { w.SideEffects = &effects }, "/hook"))
		p := NewMutating(config(t, c))
		c.Watch(p)
		a := created(configMap(nil))
		a.DryRun = true
		err := p.Admit(t.Context(), a)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", effects, err)
		}
	}
}

func TestScaleIsShownAndSet(t *testing.T) {
	s := serve(t, map[string]func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse{"/hook": patching(`[{"op":"replace","path":"/spec/replicas","value":7}]`)})
	c := authtest.New(namespace("ns", nil), mutatingOn(s, "c", func(w *admissionregistrationv1.MutatingWebhook) {
		w.Rules = rule("apps", "v1", "deployments/scale", "UPDATE")
	}, "/hook"))
	p := NewMutating(config(t, c))
	c.Watch(p)
	d := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "d"}, Spec: appsv1.DeploymentSpec{Replicas: ptr.To[int32](3)}}
	a := created(d)
	a.Operation, a.Subresource, a.Old = admission.Update, "scale", d.DeepCopy()
	if err := p.Admit(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if q := s.asked[0].Request; q.Kind.Kind != "Scale" || q.Resource.Resource != "deployments" || q.SubResource != "scale" || !strings.Contains(string(q.Object.Raw), `"replicas":3`) {
		t.Errorf("asked %+v", q)
	}
	if *d.Spec.Replicas != 7 {
		t.Errorf("set %d", *d.Spec.Replicas)
	}
}

func TestReinvocation(t *testing.T) {
	add := func(key string) func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
		return func(q *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			if strings.Contains(string(q.Object.Raw), `"`+key+`"`) {
				return ok(q)
			}
			return patching(`[{"op":"add","path":"/data/` + key + `","value":"x"}]`)(q)
		}
	}
	s := serve(t, map[string]func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse{"/never": add("a"), "/needed": add("b"), "/last": add("c")})
	c := authtest.New(namespace("ns", nil),
		mutatingOn(s, "c", func(w *admissionregistrationv1.MutatingWebhook) {
			if !strings.HasPrefix(w.Name, "never") {
				w.ReinvocationPolicy = ptr.To(admissionregistrationv1.IfNeededReinvocationPolicy)
			}
		}, "/never", "/needed", "/last"))
	p := NewMutating(config(t, c))
	c.Watch(p)
	chain := &admission.Chain{Mutators: []admission.Mutator{p}}
	if err := chain.Admit(t.Context(), created(configMap(map[string]string{"z": "z"}))); err != nil {
		t.Fatal(err)
	}
	// The last one has seen the object as it is, so nobody asks it again.
	if got := strings.ReplaceAll(strings.Join(s.paths, " "), "?timeout=10s", ""); got != "/never /needed /last /needed" {
		t.Errorf("asked %s", got)
	}
}

func TestEventsAreEquivalent(t *testing.T) {
	s := serve(t, map[string]func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse{"/hook": patching(`[{"op":"replace","path":"/note","value":"changed"}]`)})
	c := authtest.New(namespace("ns", nil), mutatingOn(s, "c", func(w *admissionregistrationv1.MutatingWebhook) {
		w.Rules = rule("events.k8s.io", "v1", "events", "CREATE")
	}, "/hook"))
	p := NewMutating(config(t, c))
	c.Watch(p)
	e := &corev1.Event{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "e"}, Message: "text", InvolvedObject: corev1.ObjectReference{Kind: "Pod", Name: "p"}}
	a := created(e)
	if err := p.Admit(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	q := s.asked[0].Request
	if q.Kind.Group != "events.k8s.io" || q.RequestKind.Group != "" || q.Resource.Group != "events.k8s.io" || !strings.Contains(string(q.Object.Raw), `"note":"text"`) {
		t.Errorf("asked %+v: %s", q, q.Object.Raw)
	}
	if a.Object.(*corev1.Event).Message != "changed" {
		t.Errorf("became %+v", a.Object)
	}
}

// The hot path has no configuration.
func TestNothingIsAsked(t *testing.T) {
	p := NewMutating(Config{})
	a := created(configMap(nil))
	if n := testing.AllocsPerRun(10, func() { _ = p.Admit(t.Context(), a) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
	_ = kinds.All()
}
