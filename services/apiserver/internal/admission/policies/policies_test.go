package policies

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"go.uber.org/zap/zaptest"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/utils/ptr"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/admission/request"
	"coracle.local/services/apiserver/internal/auth/authtest"
	"coracle.local/services/apiserver/internal/front/managed"
	behaviour "coracle.local/services/apiserver/internal/kinds"
	"coracle.local/services/apiserver/internal/strategy"
)

// params are those of a cluster.
type params struct{ cluster *authtest.Cluster }

func (params) Kind(gvk schema.GroupVersionKind) *kinds.Kind { return kinds.ByKind(gvk) }

func (p params) Get(_ context.Context, k *kinds.Kind, namespace, name string) (kinds.Object, error) {
	if o, ok := p.cluster.Get(k, namespace, name); ok {
		return o, nil
	}
	return nil, apierrors.NewNotFound(k.GroupResource(), name)
}

func (p params) List(_ context.Context, k *kinds.Kind, namespace string, s labels.Selector) ([]kinds.Object, error) {
	var out []kinds.Object
	for _, o := range p.cluster.List(k, namespace) {
		if s.Matches(labels.Set(o.GetLabels())) {
			out = append(out, o)
		}
	}
	return out, nil
}

func config(t *testing.T, c *authtest.Cluster) Config {
	t.Helper()
	strategies := behaviour.Strategies()
	return Config{Log: zaptest.NewLogger(t), Params: params{c}, Types: managed.Types, Environment: &request.Environment{
		Reader: c,
		Live: func(_ context.Context, k *kinds.Kind, _, name string) (kinds.Object, error) {
			return nil, apierrors.NewNotFound(k.GroupResource(), name)
		},
		Strategy: func(k *kinds.Kind) *strategy.Erased { return strategies[k] },
		Authorizer: authorizer.AuthorizerFunc(func(_ context.Context, a authorizer.Attributes) (authorizer.Decision, string, error) {
			if a.GetVerb() == "shout" {
				return authorizer.DecisionAllow, "", nil
			}
			return authorizer.DecisionNoOpinion, "", nil
		}),
	}}
}

func completed[T kinds.Object](o T) T {
	behaviour.Strategies()[kinds.For[T]()].Default(o)
	return o
}

func named(name string) metav1.ObjectMeta { return metav1.ObjectMeta{Name: name} }

func configMap(name string, data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: name}, Data: data}
}

func cluster(objects ...kinds.Object) *authtest.Cluster {
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ns", Labels: map[string]string{"zone": "a"}}}
	p1, p2 := configMap("p1", map[string]string{"want": "1"}), configMap("p2", map[string]string{"want": "2"})
	p1.Labels, p2.Labels = map[string]string{"param": "yes"}, map[string]string{"param": "yes"}
	return authtest.New(append(objects, ns, p1, p2)...)
}

func created(o kinds.Object) *admission.Attributes {
	return &admission.Attributes{
		Kind: kinds.ForObject(o), Namespace: o.GetNamespace(), Name: o.GetName(), Operation: admission.Create, Object: o, User: authtest.User("alice"),
	}
}

func constraints() *admissionv1.MatchResources {
	return &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
		Operations: []admissionv1.OperationType{"CREATE", "UPDATE"},
		Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"configmaps"}},
	}}}}
}

func validating(name string, s admissionv1.ValidatingAdmissionPolicySpec) *admissionv1.ValidatingAdmissionPolicy {
	if s.MatchConstraints == nil {
		s.MatchConstraints = constraints()
	}
	return completed(&admissionv1.ValidatingAdmissionPolicy{ObjectMeta: named(name), Spec: s})
}

func bind(name, policy string, ref *admissionv1.ParamRef, actions ...admissionv1.ValidationAction) *admissionv1.ValidatingAdmissionPolicyBinding {
	if len(actions) == 0 {
		actions = []admissionv1.ValidationAction{admissionv1.Deny}
	}
	return completed(&admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: named(name), Spec: admissionv1.ValidatingAdmissionPolicyBindingSpec{
		PolicyName: policy, ParamRef: ref, ValidationActions: actions,
	}})
}

func says(expression string) admissionv1.ValidatingAdmissionPolicySpec {
	return admissionv1.ValidatingAdmissionPolicySpec{Validations: []admissionv1.Validation{{Expression: expression}}}
}

func withParams(expression string) admissionv1.ValidatingAdmissionPolicySpec {
	s := says(expression)
	s.ParamKind = &admissionv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"}
	s.Validations[0].MessageExpression = "string(params.metadata.name)"
	return s
}

var (
	deny  = ptr.To(admissionv1.DenyAction)
	allow = ptr.To(admissionv1.AllowAction)
)

// Messages and codes are upstream's.
func TestValidation(t *testing.T) {
	const prefix = `configmaps "m" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'b' denied request: `
	ignoring := says("object.nope == 1")
	ignoring.FailurePolicy = ptr.To(admissionv1.Ignore)
	messages := says("false")
	messages.Validations[0].Message, messages.Validations[0].MessageExpression = "fixed", "'about ' + object.metadata.name"
	messages.Validations[0].Reason = ptr.To(metav1.StatusReasonForbidden)
	broken := says("false")
	broken.Validations[0].Message, broken.Validations[0].MessageExpression = " fixed ", "object.nope"
	variables := says("variables.two == 'mm'")
	variables.Variables = []admissionv1.Variable{{Name: "one", Expression: "object.metadata.name"}, {Name: "two", Expression: "variables.one + variables.one"}}
	conditional := says("false")
	conditional.MatchConditions = []admissionv1.MatchCondition{{Name: "c", Expression: "object.metadata.name != 'm'"}}
	unknown := withParams("true")
	unknown.ParamKind.Kind = "Nope"
	deep := "true"
	for _, v := range []string{"a", "b", "c", "d", "e", "f", "g"} {
		deep = "[1,2,3,4,5,6,7,8,9,10].all(" + v + ", " + deep + ")"
	}
	tests := []struct {
		name string
		spec admissionv1.ValidatingAdmissionPolicySpec
		ref  *admissionv1.ParamRef
		code int32
		want string
	}{
		{name: "true", spec: says("object.metadata.name == 'm' && object.kind == 'ConfigMap' && oldObject == null")},
		{name: "false", spec: says("object.metadata.name == 'x'"), code: 422, want: prefix + "failed expression: object.metadata.name == 'x'"},
		{name: "messages", spec: messages, code: 403, want: prefix + "about m"},
		{name: "message that fails", spec: broken, code: 422, want: prefix + "fixed"},
		{name: "error", spec: says("object.nope == 1"), code: 422, want: prefix + "expression 'object.nope == 1' resulted in error: no such key: nope"},
		{name: "error ignored", spec: ignoring},
		{name: "variables", spec: variables},
		{name: "condition", spec: conditional},
		{name: "namespace", spec: says("namespaceObject.metadata.labels.zone == 'a'")},
		{name: "authorizer", spec: says("authorizer.requestResource.check('shout').allowed() && !authorizer.group('').resource('pods').check('get').allowed()")},
		{name: "budget", spec: says(deep), code: 422, want: prefix + "expression '" + deep + "' resulted in error: operation cancelled: actual cost limit exceeded"},
		{
			name: "unknown parameters", spec: unknown, ref: &admissionv1.ParamRef{Name: "p1", ParameterNotFoundAction: deny}, code: 422,
			want: `configmaps "m" is forbidden: ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: failed to find resource referenced by paramKind: '/v1, Kind=Nope'`,
		},
		{name: "without parameters", spec: withParams("params == null")},
		{name: "a parameter", spec: withParams("params.data.want == '2'"), ref: &admissionv1.ParamRef{Name: "p1", ParameterNotFoundAction: deny}, code: 422, want: prefix + "p1"},
		{
			name: "selected parameters", spec: withParams("params.data.want == '1'"), code: 422, want: prefix + "p2",
			ref: &admissionv1.ParamRef{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"param": "yes"}}, ParameterNotFoundAction: deny},
		},
		{
			name: "no parameters", spec: withParams("true"), ref: &admissionv1.ParamRef{Name: "gone", ParameterNotFoundAction: deny}, code: 422,
			want: prefix + "failed to configure binding: no params found for policy binding with `Deny` parameterNotFoundAction",
		},
		{name: "no parameters allowed", spec: withParams("false"), ref: &admissionv1.ParamRef{Name: "gone", ParameterNotFoundAction: allow}},
		{
			name: "parameters elsewhere", spec: withParams("true"), ref: &admissionv1.ParamRef{Name: "p1", Namespace: "other", ParameterNotFoundAction: deny}, code: 422,
			want: prefix + "failed to configure binding: no params found",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := cluster(validating("p", tt.spec), bind("b", "p", tt.ref))
			p := NewValidating(config(t, c))
			c.Watch(p)
			err := p.Validate(t.Context(), created(configMap("m", map[string]string{"a": "b"})))
			if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
				t.Fatalf("got  %v\nwant %s", err, tt.want)
			}
			var status *apierrors.StatusError
			if err != nil && (!errors.As(err, &status) || status.ErrStatus.Code != tt.code || len(status.ErrStatus.Details.Causes) != 1) {
				t.Errorf("got %#v, want code %d", err, tt.code)
			}
		})
	}
}

func TestActions(t *testing.T) {
	c := cluster(validating("p", says("false")), bind("w", "p", nil, admissionv1.Warn, admissionv1.Audit))
	p := NewValidating(config(t, c))
	c.Watch(p)
	a := created(configMap("m", nil))
	var warnings []string
	notes := map[string]string{}
	a.Warn = func(text string) { warnings = append(warnings, text) }
	a.Annotate = func(key, value string) { notes[key] = value }
	if err := p.Validate(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(warnings, []string{"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'w': failed expression: false"}) {
		t.Errorf("warned %v", warnings)
	}
	want := `[{"message":"failed expression: false","policy":"p","binding":"w","expressionIndex":0,"validationActions":["Warn","Audit"]}]`
	if notes[failureAnnotation] != want {
		t.Errorf("noted %v", notes)
	}
}

func TestAuditAnnotations(t *testing.T) {
	s := admissionv1.ValidatingAdmissionPolicySpec{
		ParamKind: &admissionv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"},
		AuditAnnotations: []admissionv1.AuditAnnotation{
			{Key: "want", ValueExpression: "' ' + params.data.want"}, {Key: "none", ValueExpression: "null"},
		},
	}
	ref := &admissionv1.ParamRef{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"param": "yes"}}, ParameterNotFoundAction: deny}
	c := cluster(validating("p", s), bind("b", "p", ref))
	p := NewValidating(config(t, c))
	c.Watch(p)
	a := created(configMap("m", nil))
	notes := map[string]string{}
	a.Annotate = func(key, value string) { notes[key] = value }
	if err := p.Validate(t.Context(), a); err != nil || len(notes) != 1 || len(notes["p/want"]) != 4 {
		t.Errorf("%v, noted %v", err, notes)
	}
}

// A policy may judge configurations of webhooks, and no policies.
func TestExemptions(t *testing.T) {
	s := says("false")
	s.MatchConstraints = constraints()
	s.MatchConstraints.ResourceRules[0].Rule = admissionv1.Rule{APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: []string{"*"}}
	c := cluster(validating("p", s), bind("b", "p", nil))
	p := NewValidating(config(t, c))
	c.Watch(p)
	if err := p.Validate(t.Context(), created(&admissionv1.ValidatingWebhookConfiguration{ObjectMeta: named("c")})); err == nil {
		t.Error("configurations of webhooks are exempt")
	}
	for _, o := range []kinds.Object{validating("q", says("true")), bind("q", "q", nil), &authorizationv1.SelfSubjectAccessReview{}} {
		if err := p.Validate(t.Context(), created(o)); err != nil {
			t.Errorf("%T: %v", o, err)
		}
	}
}

func TestPoliciesAreFollowed(t *testing.T) {
	policy, binding := validating("p", says("false")), bind("b", "p", nil)
	c := cluster()
	p := NewValidating(config(t, c))
	c.Watch(p)
	check := func(when string, denied bool) {
		t.Helper()
		if err := p.Validate(t.Context(), created(configMap("m", nil))); (err != nil) != denied {
			t.Errorf("%s: %v", when, err)
		}
	}
	check("nothing", false)
	c.Put(policy)
	check("without a binding", false)
	c.Put(binding)
	check("bound", true)
	c.Put(validating("p", says("true")))
	check("changed", false)
	c.Put(policy)
	c.Remove(binding)
	check("unbound", false)
	c.Put(binding)
	c.Remove(policy)
	check("without a policy", false)
}

func mutating(name string, s admissionv1.MutatingAdmissionPolicySpec) *admissionv1.MutatingAdmissionPolicy {
	if s.MatchConstraints == nil {
		s.MatchConstraints = constraints()
	}
	if s.ReinvocationPolicy == "" {
		s.ReinvocationPolicy = admissionv1.NeverReinvocationPolicy
	}
	return completed(&admissionv1.MutatingAdmissionPolicy{ObjectMeta: named(name), Spec: s})
}

func bindMutation(name, policy string, ref *admissionv1.ParamRef) *admissionv1.MutatingAdmissionPolicyBinding {
	return completed(&admissionv1.MutatingAdmissionPolicyBinding{ObjectMeta: named(name), Spec: admissionv1.MutatingAdmissionPolicyBindingSpec{PolicyName: policy, ParamRef: ref}})
}

func patches(expression string) admissionv1.MutatingAdmissionPolicySpec {
	return admissionv1.MutatingAdmissionPolicySpec{Mutations: []admissionv1.Mutation{
		{PatchType: admissionv1.PatchTypeJSONPatch, JSONPatch: &admissionv1.JSONPatch{Expression: expression}},
	}}
}

func applies(expression string) admissionv1.MutatingAdmissionPolicySpec {
	return admissionv1.MutatingAdmissionPolicySpec{Mutations: []admissionv1.Mutation{
		{PatchType: admissionv1.PatchTypeApplyConfiguration, ApplyConfiguration: &admissionv1.ApplyConfiguration{Expression: expression}},
	}}
}

func TestMutation(t *testing.T) {
	const prefix = "policy 'p' with binding 'b' denied request: "
	each := patches(`[JSONPatch{op: "add", path: "/data/" + params.metadata.name, value: params.data.want}]`)
	each.ParamKind = &admissionv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"}
	two := patches(`[JSONPatch{op: "add", path: "/data/b", value: "2"}]`)
	two.Mutations = append(two.Mutations, applies(`Object{data: {"c": object.data.b + "!"}}`).Mutations...)
	ignoring := patches(`[JSONPatch{op: "remove", path: "/data/nope"}]`)
	ignoring.FailurePolicy = ptr.To(admissionv1.Ignore)
	variable := applies(`Object{metadata: Object.metadata{labels: {"name": variables.name}}}`)
	variable.Variables = []admissionv1.Variable{{Name: "name", Expression: "object.metadata.name + namespaceObject.metadata.name"}}
	tests := []struct {
		name string
		spec admissionv1.MutatingAdmissionPolicySpec
		ref  *admissionv1.ParamRef
		data string
		want string
	}{
		{name: "patch", spec: patches(`[JSONPatch{op: "add", path: "/data/b", value: object.data.a}]`), data: "a=1 b=1"},
		{name: "apply", spec: applies(`Object{data: {"b": "2"}}`), data: "a=1 b=2"},
		{name: "one after the other", spec: two, data: "a=1 b=2 c=2!"},
		{name: "variable", spec: variable, data: "a=1 label=mns"},
		{
			name: "each parameter", spec: each, data: "a=1 p1=1 p2=2",
			ref: &admissionv1.ParamRef{Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"param": "yes"}}, ParameterNotFoundAction: deny},
		},
		{name: "test fails", spec: patches(`[JSONPatch{op: "test", path: "/data/a", value: "9"}, JSONPatch{op: "remove", path: "/data/a"}]`), data: "a=1"},
		{name: "impossible", spec: patches(`[JSONPatch{op: "remove", path: "/data/nope"}]`), want: prefix + "JSON Patch: error in remove for path: '/data/nope'"},
		{name: "impossible and ignored", spec: ignoring, data: "a=1"},
		{name: "mistyped", spec: applies(`Object{metadata: Object.spec{labels: {}}}`), want: prefix + "type mismatch: "},
		{name: "unknown field", spec: applies(`Object{nope: "x"}`), want: prefix + "error applying patch: failed to convert patch object to typed object: .nope: field not declared in schema"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := cluster(mutating("p", tt.spec), bindMutation("b", "p", tt.ref))
			p := NewMutating(config(t, c))
			c.Watch(p)
			a := created(configMap("m", map[string]string{"a": "1"}))
			err := p.Admit(t.Context(), a)
			if (err == nil) != (tt.want == "") || err != nil && !strings.HasPrefix(err.Error(), tt.want) {
				t.Fatalf("got  %v\nwant %s", err, tt.want)
			}
			var got []string
			m := a.Object.(*corev1.ConfigMap)
			for key, value := range m.Data {
				got = append(got, key+"="+value)
			}
			for _, value := range m.Labels {
				got = append(got, "label="+value)
			}
			slices.Sort(got)
			if err == nil && (strings.Join(got, " ") != tt.data || m.Kind != "") {
				t.Errorf("became %v, want %s", got, tt.data)
			}
		})
	}
}

func TestMutatingReinvocation(t *testing.T) {
	first := patches(`has(object.data.b) ? [JSONPatch{op: "add", path: "/data/saw", value: object.data.b}] : []`)
	for policy, want := range map[admissionv1.ReinvocationPolicyType]string{admissionv1.NeverReinvocationPolicy: "", admissionv1.IfNeededReinvocationPolicy: "2"} {
		first.ReinvocationPolicy = policy
		c := cluster(mutating("a", first), bindMutation("a", "a", nil), mutating("b", patches(`[JSONPatch{op: "add", path: "/data/b", value: "2"}]`)), bindMutation("b", "b", nil))
		p := NewMutating(config(t, c))
		c.Watch(p)
		a := created(configMap("m", map[string]string{"a": "1"}))
		if err := (&admission.Chain{Mutators: []admission.Mutator{p}}).Admit(t.Context(), a); err != nil {
			t.Fatal(err)
		}
		if got := a.Object.(*corev1.ConfigMap).Data["saw"]; got != want {
			t.Errorf("%s: the first policy saw %q", policy, got)
		}
	}
}

// What a pod is given is defaulted like what it came with.
func TestMutatedPodsAreCompleted(t *testing.T) {
	s := applies(`Object{spec: Object.spec{initContainers: [Object.spec.initContainers{name: "added", image: "i:1"}]}}`)
	s.MatchConstraints = constraints()
	s.MatchConstraints.ResourceRules[0].Resources = []string{"pods"}
	c := cluster(mutating("p", s), bindMutation("b", "p", nil))
	p := NewMutating(config(t, c))
	c.Watch(p)
	a := created(&corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "ns", Name: "p"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "i"}}}})
	if err := p.Admit(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	if made := a.Object.(*corev1.Pod).Spec.InitContainers; len(made) != 1 || made[0].ImagePullPolicy != corev1.PullIfNotPresent {
		t.Errorf("became %+v", made)
	}
}

func TestRights(t *testing.T) {
	c := cluster(validating("known", withParams("true")))
	p := &Rights{Environment: config(t, c).Environment, Params: params{c}}
	ref := &admissionv1.ParamRef{Name: "p1", ParameterNotFoundAction: deny}
	tests := []struct {
		name string
		o    kinds.Object
		want string
	}{
		{"no parameters", validating("p", says("true")), ""},
		{"a kind", validating("p", withParams("true")), `spec.paramKind: Forbidden: user &{alice`},
		{"a reference", bind("b", "known", ref), `does not have "get" permission on the object referenced by paramRef`},
		{"an unknown policy", bind("b", "gone", ref), `spec.paramRef: Forbidden: unable to get policy gone to determine minimum required permissions and user &{alice`},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := p.Validate(t.Context(), created(tt.o))
			if (err == nil) != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v", err)
			}
			privileged := created(tt.o)
			privileged.User = authtest.User("root", "system:masters")
			if err := p.Validate(t.Context(), privileged); err != nil {
				t.Errorf("of those who may do everything: %v", err)
			}
		})
	}
}

func TestNothingIsAsked(t *testing.T) {
	mutating, validating := NewMutating(Config{}), NewValidating(Config{})
	a := created(configMap("m", nil))
	if n := testing.AllocsPerRun(10, func() { _ = mutating.Admit(t.Context(), a); _ = validating.Validate(t.Context(), a) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}
