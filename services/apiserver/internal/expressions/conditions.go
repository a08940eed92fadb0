package expressions

import (
	"context"
	"sync"

	celtypes "github.com/google/cel-go/common/types"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"
	upstream "k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authorization/authorizer"
	"k8s.io/apiserver/pkg/cel/environment"
)

// Input is what expressions are evaluated about.
type Input struct {
	Attributes *upstream.VersionedAttributes
	// Resource is what rules matched: of the version of Attributes.
	Resource metav1.GroupVersionResource
	// Params may be nil even where params are declared.
	Params runtime.Object
	// Namespace is nil for requests that are in none.
	Namespace *corev1.Namespace
	// Authorizer must be set where it is declared.
	Authorizer authorizer.UnconditionalAuthorizer
}

// Evaluate evaluates compiled conditions within a budget, and returns what is
// left of it. An error says that the rest was not evaluated; those of single
// expressions are in the results.
func Evaluate(ctx context.Context, compiled plugincel.ConditionEvaluator, in *Input, budget int64) ([]plugincel.EvaluationResult, int64, error) {
	kind := metav1.GroupVersionKind(in.Attributes.VersionedKind)
	request := plugincel.CreateAdmissionRequest(in.Attributes.Attributes, in.Resource, kind)
	bindings := plugincel.OptionalVariableBindings{VersionedParams: in.Params, Authorizer: in.Authorizer}
	return compiled.ForInput(ctx, in.Attributes, request, bindings, plugincel.CreateNamespaceObject(in.Namespace), budget)
}

// Conditions are match conditions, compiled.
type Conditions struct {
	compiled plugincel.ConditionEvaluator
	ignore   bool
}

// NewConditions compiles the match conditions of a policy, with its compiler.
func NewConditions(c *Compiler, conditions []admissionv1.MatchCondition, policy *admissionv1.FailurePolicyType, d Declared) *Conditions {
	results := make([]Result, len(conditions))
	for i := range conditions {
		results[i] = c.Compile(Condition(conditions[i].Expression), d, environment.StoredExpressions)
	}
	return &Conditions{
		compiled: plugincel.NewCondition(results),
		ignore:   policy != nil && *policy == admissionv1.Ignore,
	}
}

// LazyConditions compiles the match conditions of a webhook when they are first
// asked for.
func LazyConditions(conditions []admissionv1.MatchCondition, policy *admissionv1.FailurePolicyType) func() *Conditions {
	return sync.OnceValue(func() *Conditions {
		return NewConditions(NewCompiler(), conditions, policy, Declared{HasAuthorizer: true})
	})
}

// Match tells whether all conditions are true. One that is false decides, even
// if others fail; where some fail and none is false, it is an error, or no match
// if failures are to be ignored.
func (c *Conditions) Match(ctx context.Context, in *Input) (bool, error) {
	without := *in
	without.Namespace = nil // upstream has none for them
	without.Resource = metav1.GroupVersionResource(in.Attributes.GetResource())
	results, _, err := Evaluate(ctx, c.compiled, &without, celconfig.RuntimeCELCostBudgetMatchConditions)
	if err != nil {
		return c.failed(err)
	}
	var errs []error
	for _, r := range results {
		if r.Error != nil {
			errs = append(errs, r.Error)
		}
		if r.EvalResult == celtypes.False {
			return false, nil
		}
	}
	if len(errs) > 0 {
		return c.failed(utilerrors.NewAggregate(errs))
	}
	return true, nil
}

func (c *Conditions) failed(err error) (bool, error) {
	if c.ignore {
		return false, nil
	}
	return false, err
}
