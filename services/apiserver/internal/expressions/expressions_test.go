package expressions

import (
	"strings"
	"sync"
	"testing"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	upstream "k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"
	"k8s.io/utils/ptr"
)

// Messages are upstream's.
func TestCompile(t *testing.T) {
	tests := []struct {
		name string
		e    *Expression
		d    Declared
		want string
	}{
		{"condition", Condition("object.spec.x == 1 && request.operation == 'CREATE'"), Declared{}, ""},
		{"no condition", Condition("1"), Declared{}, "must evaluate to bool but got int"},
		{"annotation", Annotation("null"), Declared{}, ""},
		{"no annotation", Annotation("1"), Declared{}, "must evaluate to one of [string null_type] but got int"},
		{"syntax", Condition("object.x =="), Declared{}, "compilation failed: ERROR: <input>:1:12: Syntax error:"},
		{"parameters", Condition("params.x == 1"), Declared{HasParams: true}, ""},
		{"no parameters", Condition("params.x == 1"), Declared{}, "compilation failed: ERROR: <input>:1:1: undeclared reference to 'params'"},
		{"rights", Condition("authorizer.path('/').check('get').allowed()"), Declared{HasAuthorizer: true}, ""},
		{"no rights", Message("authorizer.path('/').check('get').reason()"), Declared{}, "undeclared reference to 'authorizer'"},
		{"configuration", Configuration("Object{metadata: Object.metadata{name: 'x'}}"), Declared{HasPatchTypes: true}, ""},
		{"no patch types", Configuration("Object{}"), Declared{}, "undeclared reference to 'Object'"},
		{"patch", JSONPatch("[JSONPatch{op: 'remove', path: '/' + jsonpatch.escapeKey('a/b')}]"), Declared{HasPatchTypes: true}, ""},
		{"variables", Condition("variables.x"), Declared{}, "undeclared reference to 'variables'"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			r := NewCompiler().Compile(tt.e, tt.d, environment.NewExpressions)
			if (r.Error == nil) != (tt.want == "") || r.Error != nil && !strings.Contains(r.Error.Error(), tt.want) {
				t.Errorf("got %v", r.Error)
			}
		})
	}
}

// input is about a ConfigMap.
func input(name string) *Input {
	m := &corev1.ConfigMap{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"}, ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns"}}
	gvk, gvr := m.GroupVersionKind(), corev1.SchemeGroupVersion.WithResource("configmaps")
	record := upstream.NewAttributesRecord(m, nil, gvk, "ns", name, gvr, "", upstream.Create, &metav1.CreateOptions{}, false, &user.DefaultInfo{Name: "alice"})
	return &Input{
		Attributes: &upstream.VersionedAttributes{Attributes: record, VersionedKind: gvk, VersionedObject: upstream.NewLazyObject(m)},
		Resource:   metav1.GroupVersionResource(gvr),
	}
}

// Variables are evaluated when they are used, and a broken one breaks what uses it.
func TestVariables(t *testing.T) {
	c := NewPolicyCompiler()
	c.Store([]admissionv1.Variable{
		{Name: "name", Expression: "object.metadata.name"},
		{Name: "twice", Expression: "variables.name + variables.name"},
		{Name: "wrong", Expression: "object.nope"},
		{Name: "list", Expression: "[1, 2]"},
		{Name: "odd", Expression: "1 +"},
	}, Declared{})
	texts := []string{"variables.twice == 'mm'", "variables.wrong == 1", "", "variables.list[1] == 2", "variables.odd == 1"}
	compiled := plugincel.NewCondition(c.All(texts, Condition, Declared{}))
	results, left, err := Evaluate(c.Variables().Context(t.Context()), compiled, input("m"), celconfig.RuntimeCELCostBudget)
	if err != nil || left >= celconfig.RuntimeCELCostBudget || len(results) != len(texts) {
		t.Fatalf("%v, %d left, %d results", err, left, len(results))
	}
	for i, want := range []string{"", "composited variable \"wrong\" fails to evaluate: no such key: nope", "", "", "composited variable \"odd\" fails to compile"} {
		if r := results[i]; (r.Error == nil) != (want == "") || r.Error != nil && !strings.Contains(r.Error.Error(), want) {
			t.Errorf("%q: %v", texts[i], r.Error)
		} else if r.Error == nil && texts[i] != "" && r.EvalResult.Value() != true {
			t.Errorf("%q is %v", texts[i], r.EvalResult)
		}
	}
	if r := c.Compile(Condition("variables.name == 1"), Declared{}, environment.StoredExpressions); r.Error != nil {
		t.Errorf("a variable of any type: %v", r.Error)
	}
	if r := c.Compile(Condition("variables.list == 1"), Declared{}, environment.StoredExpressions); r.Error == nil {
		t.Error("a list is compared with a number")
	}
}

func TestConditions(t *testing.T) {
	fails, yes, no := "object.nope == 1", "object.metadata.name == 'm' && namespaceObject == null", "request.name == 'x'"
	tests := []struct {
		name    string
		texts   []string
		ignore  bool
		want    bool
		wantErr bool
	}{
		{"true", []string{yes}, false, true, false},
		{"one false", []string{yes, no}, false, false, false},
		{"one fails", []string{yes, fails}, false, false, true},
		{"one fails and is ignored", []string{yes, fails}, true, false, false},
		{"false decides", []string{fails, no}, false, false, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var all []admissionv1.MatchCondition
			for _, text := range tt.texts {
				all = append(all, admissionv1.MatchCondition{Name: "c", Expression: text})
			}
			policy := ptr.To(admissionv1.Fail)
			if tt.ignore {
				policy = ptr.To(admissionv1.Ignore)
			}
			in := input("m")
			in.Namespace = &corev1.Namespace{}
			got, err := NewConditions(NewCompiler(), all, policy, Declared{}).Match(t.Context(), in)
			if got != tt.want || (err != nil) != tt.wantErr {
				t.Errorf("%v, %v", got, err)
			}
		})
	}
}

// Compilers of several requests share environments.
func TestCompilersAreIndependent(t *testing.T) {
	var group sync.WaitGroup
	for _, name := range []string{"a", "b", "c", "d"} {
		group.Go(func() {
			c := NewPolicyCompiler()
			c.Store([]admissionv1.Variable{{Name: name, Expression: "'x'"}}, Declared{HasParams: true})
			if r := c.Compile(Condition("variables."+name+" == 'x'"), Declared{HasParams: true}, environment.NewExpressions); r.Error != nil {
				t.Error(r.Error)
			}
			if r := c.Compile(Condition("variables.other == 'x'"), Declared{HasParams: true}, environment.NewExpressions); r.Error == nil {
				t.Error("a variable of nobody is known")
			}
		})
	}
	group.Wait()
}
