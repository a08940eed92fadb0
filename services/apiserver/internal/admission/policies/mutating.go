package policies

import (
	"context"
	"errors"
	"fmt"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	upstream "k8s.io/apiserver/pkg/admission"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/mutating/patch"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/cel/environment"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/admission/request"
	"coracle.local/services/apiserver/internal/expressions"
)

// Mutating is the plugin MutatingAdmissionPolicy. It observes the policies and
// their bindings.
type Mutating struct {
	*source[*admissionv1.MutatingAdmissionPolicy, *admissionv1.MutatingAdmissionPolicyBinding, *mutator]
	config Config
}

// mutator is a compiled MutatingAdmissionPolicy.
type mutator struct {
	variables  *expressions.Variables
	conditions *expressions.Conditions // nil if there are none
	patchers   []patch.Patcher
	reinvoke   bool
}

// NewMutating returns the plugin.
func NewMutating(c Config) *Mutating {
	return &Mutating{config: c, source: newSource(
		func(p *admissionv1.MutatingAdmissionPolicy) *policy[*mutator] {
			return &policy[*mutator]{
				name: p.Name, ignore: ignores(p.Spec.FailurePolicy), paramKind: p.Spec.ParamKind, rules: rulesOf(p.Spec.MatchConstraints),
				evaluators: sync.OnceValue(func() *mutator { return newMutator(p) }),
			}
		},
		func(b *admissionv1.MutatingAdmissionPolicyBinding) *binding {
			return &binding{b.Name, b.Spec.PolicyName, b.Spec.ParamRef, rulesOf(b.Spec.MatchResources), nil}
		},
	)}
}

func newMutator(p *admissionv1.MutatingAdmissionPolicy) *mutator {
	s := &p.Spec
	d := expressions.Declared{HasParams: s.ParamKind != nil, HasAuthorizer: true}
	c := expressions.NewPolicyCompiler()
	c.Store(s.Variables, d)
	m := &mutator{reinvoke: s.ReinvocationPolicy == admissionv1.IfNeededReinvocationPolicy}
	if len(s.MatchConditions) > 0 {
		m.conditions = expressions.NewConditions(c, s.MatchConditions, s.FailurePolicy, d)
	}
	d.HasPatchTypes = true
	compile := func(e *expressions.Expression) plugincel.MutatingEvaluator {
		return plugincel.NewMutatingEvaluator(c.Compile(e, d, environment.StoredExpressions))
	}
	for i := range s.Mutations {
		switch one := &s.Mutations[i]; {
		case one.PatchType == admissionv1.PatchTypeJSONPatch && one.JSONPatch != nil:
			m.patchers = append(m.patchers, patch.NewJSONPatcher(compile(expressions.JSONPatch(one.JSONPatch.Expression))))
		case one.PatchType == admissionv1.PatchTypeApplyConfiguration && one.ApplyConfiguration != nil:
			m.patchers = append(m.patchers, patch.NewApplyConfigurationPatcher(compile(expressions.Configuration(one.ApplyConfiguration.Expression))))
		}
	}
	m.variables = c.Variables()
	return m
}

// Admit implements admission.Mutator. Deletions have nothing to change.
func (p *Mutating) Admit(ctx context.Context, a *admission.Attributes) error {
	hooks := p.now()
	if len(hooks) == 0 || a.Operation == admission.Delete || request.Review(a) || request.AboutPolicy(a) {
		return nil
	}
	r := request.New(p.config.Environment, a)
	found, wrong := invocations(ctx, &p.config, r, hooks)
	if len(found) > 0 {
		more, err := p.mutate(ctx, r, found)
		if err != nil {
			return err
		}
		wrong = append(wrong, more...)
	}
	return mutationRefusal(a, wrong)
}

// mutationRefusal is the answer to a request that policies could not change as
// they must; nil if none must.
func mutationRefusal(a *admission.Attributes, wrong []configError[*mutator]) error {
	var texts []string
	var reason metav1.StatusReason
	for _, w := range wrong {
		if w.policy.ignore {
			continue
		}
		var invalid *mutationError
		if len(texts) == 0 && errors.As(w.err, &invalid) {
			reason = metav1.StatusReasonInvalid
		}
		if w.binding == nil {
			texts = append(texts, fmt.Sprintf("policy %q denied request: %s", w.policy.name, w.err))
		} else {
			texts = append(texts, fmt.Sprintf("policy '%s' with binding '%s' denied request: %s", w.policy.name, w.binding.name, w.err))
		}
	}
	if len(texts) == 0 {
		return nil
	}
	err := admission.Forbidden(a, errors.New("admission request denied by policy"))
	var status *apierrors.StatusError
	if !errors.As(err, &status) {
		return err
	}
	status.ErrStatus.Message = texts[0]
	if reason != "" {
		status.ErrStatus.Reason = reason
	}
	for _, text := range texts {
		status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{Message: text})
	}
	return status
}

// mutationError is about a policy that could not change an object.
type mutationError struct{ error }

// Unwrap returns what went wrong.
func (e *mutationError) Unwrap() error { return e.error }

// mutate lets the policies change the object, one after the other. Errors that
// are returned as such end the request.
func (p *Mutating) mutate(ctx context.Context, r *request.Request, found []invocation[*mutator]) (wrong []configError[*mutator], err error) {
	again := r.Reinvocations("MutatingAdmissionPolicy")
	defer again.Leave()
	ns, err := r.Namespace(ctx)
	if err != nil {
		return nil, err
	}
	touched := false
	for _, i := range found {
		for _, one := range i.params {
			id := i.name + "\n" + i.binding.name + "\n" + one.id
			errs, patched, err := p.one(ctx, r, i, one, ns, id, again)
			if err != nil {
				return nil, err
			}
			for _, e := range errs {
				wrong = append(wrong, configError[*mutator]{i.policy, i.binding, &mutationError{e}})
			}
			touched = touched || patched
		}
	}
	if touched {
		again.Changed()
	}
	return wrong, nil
}

// one asks one policy about one parameter.
func (p *Mutating) one(ctx context.Context, r *request.Request, i invocation[*mutator], with param, ns *corev1.Namespace, id string, again *request.Reinvocations) (errs []error, patched bool, err error) {
	m := i.evaluators()
	ctx = m.variables.Context(ctx)
	v, err := r.View(i.kind)
	if err != nil {
		return nil, false, apierrors.NewInternalError(err)
	}
	if m.conditions != nil {
		ok, err := m.conditions.Match(ctx, input(r, v, with))
		if err != nil {
			return []error{err}, false, nil
		}
		if !ok {
			return nil, false, nil
		}
	}
	if !again.Wants(id) {
		return nil, false, nil
	}
	before := v.Object()
	for _, patcher := range m.patchers {
		if v, err = r.View(i.kind); err != nil {
			return nil, patched, apierrors.NewInternalError(err)
		}
		if v.Object() == nil {
			continue
		}
		switch err := p.patch(ctx, r, v, patcher, with, ns); {
		case err == nil:
			patched = true
		case errors.As(err, new(*apierrors.StatusError)):
			return nil, patched, err
		default:
			errs = append(errs, err)
		}
	}
	if v, err = r.View(i.kind); err != nil {
		return nil, patched, apierrors.NewInternalError(err)
	}
	if !equality.Semantic.DeepEqual(before, v.Object()) {
		again.Changed()
	}
	if m.reinvoke {
		again.Invoked(id)
	}
	return errs, patched, nil
}

// interfaces are what patches of JSON are decoded by.
var interfaces = sync.OnceValue(func() upstream.ObjectInterfaces {
	return upstream.NewObjectInterfacesFromScheme(kinds.Scheme())
})

// patch lets one mutation of a policy change the object.
func (p *Mutating) patch(ctx context.Context, r *request.Request, v *request.View, patcher patch.Patcher, with param, ns *corev1.Namespace) error {
	types, err := p.config.Types(v.As())
	if err != nil {
		return apierrors.NewServiceUnavailable(fmt.Sprintf(
			"Resource kind %s not found. There can be a delay between when CustomResourceDefinitions are created and when they are available.", v.Kind))
	}
	next, err := patcher.Patch(ctx, patch.Request{
		MatchedResource: v.Resource, VersionedAttributes: v.VersionedAttributes, ObjectInterfaces: interfaces(), Namespace: ns, TypeConverter: types,
		OptionalVariables: plugincel.OptionalVariableBindings{VersionedParams: with.Object, Authorizer: r.Authorizer()},
	}, celconfig.RuntimeCELCostBudget)
	if err != nil {
		return err
	}
	return r.Replace(v, next)
}
