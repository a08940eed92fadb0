package e2e

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/tests/fixture"
)

// judged are rules about new and changed objects of a resource.
func judged(group, resource string) *admissionv1.MatchResources {
	return &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
		Operations: []admissionv1.OperationType{"CREATE", "UPDATE"},
		Rule:       admissionv1.Rule{APIGroups: []string{group}, APIVersions: []string{"v1"}, Resources: []string{resource}},
	}}}}
}

// inNamespace is the objects of one namespace.
func inNamespace(namespace string) *admissionv1.MatchResources {
	return &admissionv1.MatchResources{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"kubernetes.io/metadata.name": namespace}}}
}

// validatingPolicy binds a policy in a namespace until the subtest ends.
func (h hooked) validatingPolicy(name string, s admissionv1.ValidatingAdmissionPolicySpec, b admissionv1.ValidatingAdmissionPolicyBindingSpec) {
	h.t.Helper()
	api := h.Clients.AdmissionregistrationV1()
	if _, err := api.ValidatingAdmissionPolicies().Create(h.ctx, &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: s}, metav1.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
	b.PolicyName, b.MatchResources = name, inNamespace(name)
	if len(b.ValidationActions) == 0 {
		b.ValidationActions = []admissionv1.ValidationAction{admissionv1.Deny}
	}
	if _, err := api.ValidatingAdmissionPolicyBindings().Create(h.ctx, &admissionv1.ValidatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: b}, metav1.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		_ = api.ValidatingAdmissionPolicyBindings().Delete(h.ctx, name, metav1.DeleteOptions{})
		_ = api.ValidatingAdmissionPolicies().Delete(h.ctx, name, metav1.DeleteOptions{})
	})
}

// mutatingPolicy binds a policy in a namespace until the subtest ends.
func (h hooked) mutatingPolicy(name, namespace string, s admissionv1.MutatingAdmissionPolicySpec, ref *admissionv1.ParamRef) {
	h.t.Helper()
	api := h.Clients.AdmissionregistrationV1()
	if s.ReinvocationPolicy == "" {
		s.ReinvocationPolicy = admissionv1.NeverReinvocationPolicy
	}
	if _, err := api.MutatingAdmissionPolicies().Create(h.ctx, &admissionv1.MutatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: s}, metav1.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
	b := admissionv1.MutatingAdmissionPolicyBindingSpec{PolicyName: name, ParamRef: ref, MatchResources: inNamespace(namespace)}
	if _, err := api.MutatingAdmissionPolicyBindings().Create(h.ctx, &admissionv1.MutatingAdmissionPolicyBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: b}, metav1.CreateOptions{}); err != nil {
		h.t.Fatal(err)
	}
	h.t.Cleanup(func() {
		_ = api.MutatingAdmissionPolicyBindings().Delete(h.ctx, name, metav1.DeleteOptions{})
		_ = api.MutatingAdmissionPolicies().Delete(h.ctx, name, metav1.DeleteOptions{})
	})
}

func replicated(name string, replicas int32) *appsv1.Deployment {
	labels := map[string]string{"app": name}
	return &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: appsv1.DeploymentSpec{
		Replicas: &replicas, Selector: &metav1.LabelSelector{MatchLabels: labels},
		Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "c", Image: "example.com/i:1"}}}},
	}}
}

// TestAdmissionPolicies is what upstream's conformance tests ask of policies, and
// what holds of those at once.
func TestAdmissionPolicies(t *testing.T) {
	h := hooked{fixture.Start(t, cluster.Config{Controllers: []string{"-*"}}), context.Background(), t}
	t.Run("deployments", h.deployments)
	t.Run("parameters", h.parameters)
	t.Run("custom parameters", h.customParameters)
	t.Run("type checks", h.typeChecks)
	t.Run("mutations", h.policyMutations)
	t.Run("policies and webhooks", h.policiesAndWebhooks)
	t.Run("warnings", h.policyWarnings)
}

func (h hooked) deployments(t *testing.T) {
	h = h.at(t)
	h.namespace("deployments", nil)
	h.validatingPolicy("deployments", admissionv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: judged("apps", "deployments"),
		Variables:        []admissionv1.Variable{{Name: "replicas", Expression: "object.spec.replicas"}, {Name: "oddReplicas", Expression: "variables.replicas % 2 == 1"}},
		Validations: []admissionv1.Validation{
			{Expression: "variables.replicas > 1"},
			{Expression: "variables.oddReplicas", MessageExpression: "'the number of replicas ' + string(variables.replicas) + ' is even'", Reason: ptr.To(metav1.StatusReasonForbidden)},
		},
	}, admissionv1.ValidatingAdmissionPolicyBindingSpec{})
	api := h.Clients.AppsV1().Deployments("deployments")
	_, err := api.Create(h.ctx, replicated("one", 1), metav1.CreateOptions{})
	h.denied(err, `deployments.apps "one" is forbidden: ValidatingAdmissionPolicy 'deployments' with binding 'deployments' denied request: failed expression: variables.replicas > 1`)
	_, err = api.Create(h.ctx, replicated("two", 2), metav1.CreateOptions{})
	h.denied(err, "the number of replicas 2 is even")
	if _, err = api.Create(h.ctx, replicated("three", 3), metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
}

func (h hooked) parameters(t *testing.T) {
	h = h.at(t)
	h.namespace("parameters", nil)
	s := admissionv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: judged("apps", "deployments"), ParamKind: &admissionv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"},
		Validations: []admissionv1.Validation{{Expression: "object.spec.replicas <= int(params.data.most)", MessageExpression: "'at most ' + params.data.most"}},
	}
	h.validatingPolicy("parameters", s, admissionv1.ValidatingAdmissionPolicyBindingSpec{ParamRef: &admissionv1.ParamRef{Name: "limit", ParameterNotFoundAction: ptr.To(admissionv1.DenyAction)}})
	create := func() error {
		_, err := h.Clients.AppsV1().Deployments("parameters").Create(h.ctx, replicated("d", 5), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	maps := h.Clients.CoreV1().ConfigMaps("parameters")
	h.denied(create(), "no params found for policy binding with `Deny` parameterNotFoundAction")
	limit, err := maps.Create(h.ctx, cm("limit", map[string]string{"most": "3"}), metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h.denied(create(), "denied request: at most 3")
	limit.Data["most"] = "9"
	if _, err := maps.Update(h.ctx, limit, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := create(); err != nil {
		t.Error(err)
	}
}

func (h hooked) customParameters(t *testing.T) {
	h = h.at(t)
	h.namespace("custom", nil)
	size := apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{
		"data": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"most": {Type: "integer"}}},
	}}
	limits := h.defined(hookedDefinition("limits", "Limit", map[string]apiextensionsv1.JSONSchemaProps{"v1": size}, "v1"), "v1")
	h.validatingPolicy("custom", admissionv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: judged("apps", "deployments"), ParamKind: &admissionv1.ParamKind{APIVersion: "hooks.example.com/v1", Kind: "Limit"},
		Validations: []admissionv1.Validation{{Expression: "object.spec.replicas <= params.data.most && params.kind == 'Limit'"}},
	}, admissionv1.ValidatingAdmissionPolicyBindingSpec{ParamRef: &admissionv1.ParamRef{
		Selector: &metav1.LabelSelector{}, Namespace: "default", ParameterNotFoundAction: ptr.To(admissionv1.DenyAction),
	}})
	for name, most := range map[string]int64{"low": 3, "high": 9} {
		if _, err := limits.Create(h.ctx, thing("Limit", "v1", name, map[string]any{"most": most}), metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	_, err := h.Clients.AppsV1().Deployments("custom").Create(h.ctx, replicated("d", 5), metav1.CreateOptions{})
	h.denied(err, "object.spec.replicas <= params.data.most")
	if _, err = h.Clients.AppsV1().Deployments("custom").Create(h.ctx, replicated("d", 2), metav1.CreateOptions{}); err != nil {
		t.Error(err)
	}
}

func (h hooked) typeChecks(t *testing.T) {
	h = h.at(t)
	schema := apiextensionsv1.JSONSchemaProps{Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"data": {Type: "object", Properties: map[string]apiextensionsv1.JSONSchemaProps{"n": {Type: "integer"}}}}}
	h.defined(hookedDefinition("checks", "Check", map[string]apiextensionsv1.JSONSchemaProps{"v1": schema}, "v1"), "v1")
	for _, tt := range []struct{ name, group, resource, expression, want string }{
		{"right", "apps", "deployments", "object.spec.replicas > 1", ""},
		{"wrong", "apps", "deployments", "object.spec.replicas > '1'", "apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'"},
		{"custom", "hooks.example.com", "checks", "object.data.n.size() == 1", "hooks.example.com/v1, Kind=Check: ERROR: <input>:1:19: found no matching overload for 'size' applied to 'int.()'"},
	} {
		api := h.Clients.AdmissionregistrationV1().ValidatingAdmissionPolicies()
		p := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "check-" + tt.name}, Spec: admissionv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: judged(tt.group, tt.resource), Validations: []admissionv1.Validation{{Expression: tt.expression}},
		}}
		if _, err := api.Create(h.ctx, p, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		fixture.Eventually(t, 10*time.Second, "a policy that was checked", func() bool {
			now, err := api.Get(h.ctx, p.Name, metav1.GetOptions{})
			if err == nil {
				p = now
			}
			return err == nil && now.Status.ObservedGeneration == now.Generation && now.Status.TypeChecking != nil
		})
		got := ""
		for _, w := range p.Status.TypeChecking.ExpressionWarnings {
			got += w.FieldRef + " " + w.Warning
		}
		if tt.want == "" && got != "" || !strings.Contains(got, tt.want) {
			t.Errorf("%s: warned %q", tt.name, got)
		}
	}
}

func (h hooked) policyMutations(t *testing.T) {
	h = h.at(t)
	h.namespace("policy-mutations", nil)
	h.mutatingPolicy("labels", "policy-mutations", admissionv1.MutatingAdmissionPolicySpec{
		MatchConstraints: judged("", "configmaps"),
		Mutations: []admissionv1.Mutation{
			{PatchType: admissionv1.PatchTypeApplyConfiguration, ApplyConfiguration: &admissionv1.ApplyConfiguration{
				Expression: `Object{metadata: Object.metadata{labels: {"environment": "test"}}}`,
			}},
			{PatchType: admissionv1.PatchTypeJSONPatch, JSONPatch: &admissionv1.JSONPatch{Expression: `[JSONPatch{op: "add", path: "/metadata/labels/" + jsonpatch.escapeKey("example.com/by"), value: request.userInfo.username}]`}},
		},
	}, nil)
	got, err := h.Clients.CoreV1().ConfigMaps("policy-mutations").Create(h.ctx, cm("m", nil), metav1.CreateOptions{})
	if err != nil || got.Labels["environment"] != "test" || got.Labels["example.com/by"] != "kubernetes-admin" {
		t.Errorf("%v, %v", got.Labels, err)
	}
	// What a policy has set is nobody's field: who applies may take it away.
	for _, m := range got.ManagedFields {
		if strings.Contains(m.FieldsV1.String(), "environment") {
			t.Errorf("a policy manages fields: %v", m)
		}
	}
}

// policiesAndWebhooks: policies change before webhooks do, and see what these
// made of it if they want to.
func (h hooked) policiesAndWebhooks(t *testing.T) {
	h = h.at(t)
	h.namespace("together", nil)
	hooks := serveHooks(t, loopbackIP, nil, map[string]hookAnswer{"/": patched(`[{"op":"add","path":"/data/hook","value":"yes"}]`)})
	w := mutatingHook(hooks, "/", rulesOf("", "configmaps", "CREATE"))
	w.NamespaceSelector = inNamespace("together").NamespaceSelector
	h.mutating("together", w)
	s := admissionv1.MutatingAdmissionPolicySpec{
		MatchConstraints: judged("", "configmaps"), ReinvocationPolicy: admissionv1.IfNeededReinvocationPolicy,
		Mutations: []admissionv1.Mutation{{PatchType: admissionv1.PatchTypeApplyConfiguration, ApplyConfiguration: &admissionv1.ApplyConfiguration{
			Expression: `Object{metadata: Object.metadata{labels: {"hook": has(object.data.hook) ? object.data.hook : "no"}}}`,
		}}},
	}
	h.mutatingPolicy("together", "together", s, nil)
	got, err := h.Clients.CoreV1().ConfigMaps("together").Create(h.ctx, cm("m", map[string]string{"a": "b"}), metav1.CreateOptions{})
	if err != nil || got.Labels["hook"] != "yes" || got.Data["hook"] != "yes" || hooks.times() != 1 {
		t.Errorf("%v %v, %v", got.Labels, got.Data, err)
	}
}

func (h hooked) policyWarnings(t *testing.T) {
	h = h.at(t)
	h.namespace("warned", nil)
	h.validatingPolicy("warned", admissionv1.ValidatingAdmissionPolicySpec{
		MatchConstraints: judged("", "configmaps"), Validations: []admissionv1.Validation{{Expression: "has(object.data)", Message: "a map without data"}},
	}, admissionv1.ValidatingAdmissionPolicyBindingSpec{ValidationActions: []admissionv1.ValidationAction{admissionv1.Warn}})
	code, warnings := writeRaw(t, h.Config, http.MethodPost, "/api/v1/namespaces/warned/configmaps", cm("m", nil))
	if code != http.StatusCreated || len(warnings) != 1 || !strings.Contains(warnings[0], "Validation failed for ValidatingAdmissionPolicy 'warned' with binding 'warned': a map without data") {
		t.Errorf("%d, warned %v", code, warnings)
	}
}
