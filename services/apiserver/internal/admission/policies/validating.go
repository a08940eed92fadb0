package policies

import (
	"context"
	"errors"
	"fmt"
	"sync"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/admission/request"
)

// Validating is the plugin ValidatingAdmissionPolicy. It observes the policies
// and their bindings.
type Validating struct {
	*source[*admissionv1.ValidatingAdmissionPolicy, *admissionv1.ValidatingAdmissionPolicyBinding, *validator]
	config Config
}

// NewValidating returns the plugin.
func NewValidating(c Config) *Validating {
	return &Validating{config: c, source: newSource(
		func(p *admissionv1.ValidatingAdmissionPolicy) *policy[*validator] {
			return &policy[*validator]{
				name: p.Name, ignore: ignores(p.Spec.FailurePolicy), paramKind: p.Spec.ParamKind, rules: rulesOf(p.Spec.MatchConstraints),
				evaluators: sync.OnceValue(func() *validator { return newValidator(p) }),
			}
		},
		func(b *admissionv1.ValidatingAdmissionPolicyBinding) *binding {
			return &binding{b.Name, b.Spec.PolicyName, b.Spec.ParamRef, rulesOf(b.Spec.MatchResources), b.Spec.ValidationActions}
		},
	)}
}

// denial is one reason to refuse a request.
type denial struct {
	policy  *policy[*validator]
	binding *binding // nil if the policy itself does not work
	message string
	reason  metav1.StatusReason
}

func (d *denial) String() string {
	if d.binding == nil {
		return fmt.Sprintf("ValidatingAdmissionPolicy '%s' denied request: %s", d.policy.name, d.message)
	}
	return fmt.Sprintf("ValidatingAdmissionPolicy '%s' with binding '%s' denied request: %s", d.policy.name, d.binding.name, d.message)
}

// Validate implements admission.Validator.
func (p *Validating) Validate(ctx context.Context, a *admission.Attributes) error {
	hooks := p.now()
	if len(hooks) == 0 || request.Review(a) || request.AboutPolicy(a) {
		return nil
	}
	r := request.New(p.config.Environment, a)
	found, wrong := invocations(ctx, &p.config, r, hooks)
	j := &judgement{request: r}
	for _, w := range wrong {
		j.fail(w.policy, w.binding, w.err)
	}
	for _, i := range found {
		if err := j.judge(ctx, i); err != nil {
			return err
		}
	}
	j.publish()
	if len(j.denials) == 0 {
		return nil
	}
	return refusal(a, j.first(hooks))
}

// refusal is the answer to a request that is denied.
func refusal(a *admission.Attributes, d *denial) error {
	message := d.String()
	err := admission.Forbidden(a, errors.New(message))
	var status *apierrors.StatusError
	if !errors.As(err, &status) {
		return err
	}
	status.ErrStatus.Reason = d.reason
	if d.reason == "" {
		status.ErrStatus.Reason = metav1.StatusReasonInvalid
	}
	status.ErrStatus.Code = codeOf(status.ErrStatus.Reason)
	status.ErrStatus.Details.Causes = append(status.ErrStatus.Details.Causes, metav1.StatusCause{Message: message})
	return status
}

func codeOf(reason metav1.StatusReason) int32 {
	switch reason {
	case metav1.StatusReasonForbidden:
		return 403
	case metav1.StatusReasonUnauthorized:
		return 401
	case metav1.StatusReasonRequestEntityTooLarge:
		return 413
	}
	return 422
}
