package webhooks

import (
	"slices"
	"strings"
	"testing"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/auth/authtest"
)

func validatingOn(s *server, name string, change func(*admissionregistrationv1.ValidatingWebhook), paths ...string) *admissionregistrationv1.ValidatingWebhookConfiguration {
	c := &admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: name}}
	for _, path := range paths {
		w := admissionregistrationv1.ValidatingWebhook{
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

// Which requests a webhook that denies everything is asked about.
func TestWhatIsAsked(t *testing.T) {
	labelled := configMap(nil)
	labelled.Labels = map[string]string{"color": "red"}
	selector := func(key, value string) *metav1.LabelSelector {
		return &metav1.LabelSelector{MatchLabels: map[string]string{key: value}}
	}
	condition := func(expression string) func(*admissionregistrationv1.ValidatingWebhook) {
		return func(w *admissionregistrationv1.ValidatingWebhook) {
			w.MatchConditions = []admissionregistrationv1.MatchCondition{{Name: "c", Expression: expression}}
		}
	}
	rules := func(r []admissionregistrationv1.RuleWithOperations) func(*admissionregistrationv1.ValidatingWebhook) {
		return func(w *admissionregistrationv1.ValidatingWebhook) { w.Rules = r }
	}
	scoped := func(s admissionregistrationv1.ScopeType) func(*admissionregistrationv1.ValidatingWebhook) {
		return func(w *admissionregistrationv1.ValidatingWebhook) {
			w.Rules = rule("*", "*", "*", "*")
			w.Rules[0].Scope = &s
		}
	}
	eviction := created(&policyv1.Eviction{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}})
	eviction.Kind, eviction.Subresource = kinds.For[*corev1.Pod](), "eviction"
	exec := &admission.Attributes{
		Kind: kinds.For[*corev1.Pod](), Namespace: "ns", Name: "p", Subresource: "exec", Operation: admission.Connect,
		Options: &corev1.PodExecOptions{Command: []string{"ls"}}, User: authtest.User("alice"),
	}
	review := created(&authorizationv1.SelfSubjectAccessReview{})
	configuration := created(&admissionregistrationv1.ValidatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: "c"}})
	tests := []struct {
		name   string
		a      *admission.Attributes
		change func(*admissionregistrationv1.ValidatingWebhook)
		asked  bool
		want   string // part of another refusal
	}{
		{name: "the resource", a: created(configMap(nil)), asked: true},
		{name: "another resource", a: created(&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "s"}})},
		{name: "another operation", a: created(configMap(nil)), change: rules(rule("", "v1", "configmaps", "UPDATE", "DELETE"))},
		{name: "another version", a: created(configMap(nil)), change: rules(rule("", "v2", "configmaps", "*"))},
		{name: "another group", a: created(configMap(nil)), change: rules(rule("apps", "v1", "configmaps", "*"))},
		{name: "wildcards", a: created(configMap(nil)), change: rules(rule("*", "*", "*/*", "*")), asked: true},
		{name: "no subresource", a: eviction, change: rules(rule("", "v1", "pods", "*"))},
		{name: "a subresource", a: eviction, change: rules(rule("", "v1", "pods/eviction", "CREATE")), asked: true},
		{name: "every subresource", a: eviction, change: rules(rule("", "v1", "pods/*", "CREATE")), asked: true},
		{name: "a connection", a: exec, change: rules(rule("", "v1", "pods/exec", "CONNECT")), asked: true},
		{name: "the command", a: exec, change: func(w *admissionregistrationv1.ValidatingWebhook) {
			rules(rule("", "v1", "pods/exec", "CONNECT"))(w)
			condition(`object.command[0] == 'ls' && request.kind.kind == 'PodExecOptions'`)(w)
		}, asked: true},
		{name: "namespaced", a: created(configMap(nil)), change: scoped("Namespaced"), asked: true},
		{name: "of the cluster", a: created(configMap(nil)), change: scoped("Cluster")},
		{name: "a namespace is the cluster's", a: created(namespace("new", nil)), change: scoped("Cluster"), asked: true},
		{name: "a namespace is in none", a: created(namespace("new", nil)), change: scoped("Namespaced")},
		{name: "namespace selected", a: created(configMap(nil)), change: func(w *admissionregistrationv1.ValidatingWebhook) { w.NamespaceSelector = selector("zone", "a") }, asked: true},
		{name: "namespace not selected", a: created(configMap(nil)), change: func(w *admissionregistrationv1.ValidatingWebhook) { w.NamespaceSelector = selector("zone", "b") }},
		{name: "new namespace selected", a: created(namespace("new", map[string]string{"zone": "b"})), change: func(w *admissionregistrationv1.ValidatingWebhook) {
			w.Rules, w.NamespaceSelector = rule("", "v1", "namespaces", "*"), selector("zone", "b")
		}, asked: true},
		{name: "object selected", a: created(labelled), change: func(w *admissionregistrationv1.ValidatingWebhook) { w.ObjectSelector = selector("color", "red") }, asked: true},
		{name: "object not selected", a: created(configMap(nil)), change: func(w *admissionregistrationv1.ValidatingWebhook) { w.ObjectSelector = selector("color", "red") }},
		{
			name: "no namespace", a: created(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "gone", Name: "m"}}),
			change: func(w *admissionregistrationv1.ValidatingWebhook) { w.NamespaceSelector = selector("zone", "a") }, want: `namespaces "gone" not found`,
		},
		{name: "condition true", a: created(labelled), change: condition("object.metadata.labels.color == 'red'"), asked: true},
		{name: "condition false", a: created(labelled), change: condition("object.metadata.labels.color == 'blue'")},
		{
			name: "condition fails", a: created(configMap(nil)), change: condition("object.metadata.labels.color == 'blue'"),
			want: `configmaps "m" is forbidden: expression 'object.metadata.labels.color == 'blue'' resulted in error: no such key: labels`,
		},
		{name: "condition fails and is ignored", a: created(configMap(nil)), change: func(w *admissionregistrationv1.ValidatingWebhook) {
			condition("object.metadata.labels.color == 'blue'")(w)
			w.FailurePolicy = ptr.To(admissionregistrationv1.Ignore)
		}},
		{name: "condition about rights", a: created(configMap(nil)), change: condition("authorizer.requestResource.check('shout').allowed()"), asked: true},
		{name: "condition about no rights", a: created(configMap(nil)), change: condition("authorizer.requestResource.check('whisper').allowed()")},
		{name: "reviews are exempt", a: review, change: rules(rule("*", "*", "*", "*"))},
		{name: "configurations are exempt", a: configuration, change: rules(rule("*", "*", "*", "*"))},
	}
	s := serve(t, map[string]func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse{"/hook": denying(nil)})
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := authtest.New(namespace("ns", map[string]string{"zone": "a"}), validatingOn(s, "c", tt.change, "/hook"))
			p := NewValidating(config(t, c))
			c.Watch(p)
			err := p.Validate(t.Context(), tt.a)
			switch {
			case tt.want != "":
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("got %v", err)
				}
			case (err != nil) != tt.asked || err != nil && !strings.Contains(err.Error(), "denied the request"):
				t.Errorf("got %v, asked %v", err, tt.asked)
			}
		})
	}
}

func TestAllAreAskedAndTheFirstCounts(t *testing.T) {
	s := serve(t, map[string]func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse{
		"/b": denying(&metav1.Status{Message: "b"}), "/c": denying(&metav1.Status{Message: "c"}),
		"/a": func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse {
			return &admissionv1.AdmissionResponse{Allowed: true, Warnings: []string{"careful"}, AuditAnnotations: map[string]string{"key": "value"}}
		},
	})
	c := authtest.New(namespace("ns", nil), validatingOn(s, "c", nil, "/a", "/b", "/c"))
	p := NewValidating(config(t, c))
	c.Watch(p)
	a := created(configMap(nil))
	var warnings, notes []string
	a.Warn = func(text string) { warnings = append(warnings, text) }
	a.Annotate = func(key, value string) { notes = append(notes, key+"="+value) }
	err := p.Validate(t.Context(), a)
	if err == nil || err.Error() != `admission webhook "b.example.com" denied the request: b` {
		t.Errorf("got %v", err)
	}
	if len(s.asked) != 3 || !slices.Equal(warnings, []string{"careful"}) || !slices.Equal(notes, []string{"a.example.com/key=value"}) {
		t.Errorf("asked %d, warned %v, noted %v", len(s.asked), warnings, notes)
	}
}

func TestFailedOpenIsNoted(t *testing.T) {
	s := serve(t, nil)
	c := authtest.New(namespace("ns", nil), validatingOn(s, "c", func(w *admissionregistrationv1.ValidatingWebhook) {
		w.FailurePolicy = ptr.To(admissionregistrationv1.Ignore)
	}, "/hook"))
	p := NewValidating(config(t, c))
	c.Watch(p)
	a := created(configMap(nil))
	notes := map[string]string{}
	a.Annotate = func(key, value string) { notes[key] = value }
	if err := p.Validate(t.Context(), a); err != nil || notes["failed-open.validating.webhook.admission.k8s.io/round_0_index_0"] != "hook.example.com" {
		t.Errorf("%v, noted %v", err, notes)
	}
}

func TestConfigurationsAreFollowed(t *testing.T) {
	s := serve(t, map[string]func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse{"/hook": denying(nil)})
	c := authtest.New(namespace("ns", nil))
	p := NewValidating(config(t, c))
	c.Watch(p)
	check := func(when string, denied bool) {
		t.Helper()
		if err := p.Validate(t.Context(), created(configMap(nil))); (err != nil) != denied {
			t.Errorf("%s: %v", when, err)
		}
	}
	check("without", false)
	hook := validatingOn(s, "c", nil, "/hook")
	c.Put(hook)
	check("with", true)
	c.Put(validatingOn(s, "c", nil))
	check("changed", false)
	c.Put(hook)
	check("again", true)
	c.Remove(hook)
	check("removed", false)
}

func TestTimeout(t *testing.T) {
	release := make(chan struct{})
	s := serve(t, map[string]func(*admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse{
		"/hook": func(q *admissionv1.AdmissionRequest) *admissionv1.AdmissionResponse { <-release; return ok(q) },
	})
	defer close(release)
	c := authtest.New(namespace("ns", nil), validatingOn(s, "c", func(w *admissionregistrationv1.ValidatingWebhook) { w.TimeoutSeconds = ptr.To[int32](1) }, "/hook"))
	p := NewValidating(config(t, c))
	c.Watch(p)
	err := p.Validate(t.Context(), created(configMap(nil)))
	if err == nil || !strings.Contains(err.Error(), `failed calling webhook "hook.example.com": failed to call webhook: Post "https://`) || !strings.Contains(err.Error(), "/hook?timeout=1s\": context deadline exceeded") {
		t.Errorf("got %v", err)
	}
}
