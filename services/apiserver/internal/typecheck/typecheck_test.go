package typecheck

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap/zaptest"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/apiserver/internal/auth/authtest"
	"coracle.local/services/apiserver/internal/catalog"
	"coracle.local/services/apiserver/internal/openapi"
)

func policy(groups, resources []string, expressions ...string) *admissionv1.ValidatingAdmissionPolicy {
	p := &admissionv1.ValidatingAdmissionPolicy{ObjectMeta: metav1.ObjectMeta{Name: "p", Generation: 1}}
	p.Spec.MatchConstraints = &admissionv1.MatchResources{ResourceRules: []admissionv1.NamedRuleWithOperations{{RuleWithOperations: admissionv1.RuleWithOperations{
		Rule: admissionv1.Rule{APIGroups: groups, APIVersions: []string{"v1"}, Resources: resources},
	}}}}
	for _, e := range expressions {
		p.Spec.Validations = append(p.Spec.Validations, admissionv1.Validation{Expression: e})
	}
	return p
}

func checker() *Checker {
	return &Checker{Kinds: &catalog.Catalog{}, Types: Types{Schemas: openapi.New().Schemas}}
}

// Warnings are upstream's.
func TestCheck(t *testing.T) {
	apps, core := []string{"apps"}, []string{""}
	variables := policy(apps, []string{"deployments"}, "variables.count == 'a'")
	variables.Spec.Variables = []admissionv1.Variable{{Name: "count", Expression: "object.spec.replicas"}}
	params := policy(apps, []string{"deployments"}, "params.data.a == 1")
	params.Spec.ParamKind = &admissionv1.ParamKind{APIVersion: "v1", Kind: "ConfigMap"}
	tests := []struct {
		name string
		p    *admissionv1.ValidatingAdmissionPolicy
		want []string // parts of the warnings
	}{
		{"right", policy(apps, []string{"deployments"}, "object.spec.replicas > 1 && oldObject.metadata.name == 'a'"), nil},
		{
			"overload", policy(apps, []string{"deployments"}, "true", "object.spec.replicas > '1'"),
			[]string{"spec.validations[1].expression apps/v1, Kind=Deployment: ERROR: <input>:1:22: found no matching overload for '_>_' applied to '(int, string)'\n | object.spec.replicas > '1'\n | .....................^\n"},
		},
		{"field", policy(core, []string{"configmaps"}, "object.nope == 1"), []string{"/v1, Kind=ConfigMap: ERROR: <input>:1:7: undefined field 'nope'"}},
		{"each kind", policy(apps, []string{"replicasets", "daemonsets"}, "object.spec.replicas == 1"), []string{"Kind=DaemonSet: ERROR: <input>:1:12: undefined field 'replicas'"}},
		{"wildcard", policy([]string{"*"}, []string{"deployments"}, "object.nope"), nil},
		{"subresource", policy(apps, []string{"deployments/scale"}, "object.nope"), nil},
		{"unknown", policy([]string{"nope.example.com"}, []string{"nopes"}, "object.nope"), nil},
		{"variables", variables, []string{"found no matching overload for '_==_' applied to '(int, string)'"}},
		{"parameters", params, []string{"found no matching overload for '_==_' applied to '(string, int)'"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := checker().Check(tt.p)
			if len(got) != len(tt.want) {
				t.Fatalf("got %q", got)
			}
			for i, w := range got {
				if !strings.Contains(w.FieldRef+" "+w.Warning, tt.want[i]) {
					t.Errorf("got  %q\nwant %q", w, tt.want[i])
				}
			}
		})
	}
}

// The controller writes a status once for each generation, and tries again when
// that fails.
func TestController(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		cluster := authtest.New()
		failures := 1
		var written []int64
		c := New(checker(), func(_ context.Context, _ string, change func(*admissionv1.ValidatingAdmissionPolicy) bool) error {
			if failures > 0 {
				failures--
				return errors.New("not now")
			}
			now := policy([]string{"apps"}, nil, "true")
			now.Generation = 1 + int64(len(written))
			if change(now) {
				written = append(written, now.Status.ObservedGeneration)
			}
			return nil
		}, zaptest.NewLogger(t), nil)
		cluster.Watch(c)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- c.Run(ctx) }()
		first := policy([]string{"apps"}, []string{"deployments"}, "true")
		cluster.Put(first)
		time.Sleep(2 * pause)
		second := first.DeepCopy()
		second.Generation = 2
		cluster.Put(second)
		synctest.Wait()
		observed := second.DeepCopy()
		observed.Status.ObservedGeneration = 2
		cluster.Put(observed)
		synctest.Wait()
		cancel()
		if err := <-done; err != nil || !slices.Equal(written, []int64{1, 2}) {
			t.Errorf("%v, wrote %v", err, written)
		}
	})
}
