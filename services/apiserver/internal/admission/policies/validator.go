package policies

import (
	"context"
	"errors"
	"fmt"
	"strings"

	celtypes "github.com/google/cel-go/common/types"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	plugincel "k8s.io/apiserver/pkg/admission/plugin/cel"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	apiservercel "k8s.io/apiserver/pkg/cel"

	"coracle.local/services/apiserver/internal/expressions"
)

// validator is a compiled ValidatingAdmissionPolicy.
type validator struct {
	spec       *admissionv1.ValidatingAdmissionPolicySpec
	ignore     bool
	variables  *expressions.Variables
	conditions *expressions.Conditions // nil if there are none

	validations, messages, annotations plugincel.ConditionEvaluator
}

func newValidator(p *admissionv1.ValidatingAdmissionPolicy) *validator {
	s := &p.Spec
	d := expressions.Declared{HasParams: s.ParamKind != nil, HasAuthorizer: true}
	c := expressions.NewPolicyCompiler()
	c.Store(s.Variables, d)
	v := &validator{spec: s, ignore: ignores(s.FailurePolicy)}
	if len(s.MatchConditions) > 0 {
		v.conditions = expressions.NewConditions(c, s.MatchConditions, s.FailurePolicy, d)
	}
	var validations, messages, annotations []string
	for i := range s.Validations {
		validations = append(validations, s.Validations[i].Expression)
		messages = append(messages, s.Validations[i].MessageExpression)
	}
	for i := range s.AuditAnnotations {
		annotations = append(annotations, s.AuditAnnotations[i].ValueExpression)
	}
	v.validations = plugincel.NewCondition(c.All(validations, expressions.Condition, d))
	v.messages = plugincel.NewCondition(c.All(messages, expressions.Message, expressions.Declared{HasParams: d.HasParams}))
	v.annotations = plugincel.NewCondition(c.All(annotations, expressions.Annotation, d))
	v.variables = c.Variables()
	return v
}

// decision is what one validation says.
type decision struct {
	denied  bool
	message string
	reason  metav1.StatusReason
}

// note is an audit annotation, or why there is none. One without a value is left
// out.
type note struct{ key, value, err string }

// outcome is what a policy says.
type outcome struct {
	decisions []decision
	notes     []note
}

// broken is the decision of a policy that cannot decide.
func (v *validator) broken(err error) decision {
	return decision{denied: !v.ignore, message: err.Error()}
}

func (v *validator) validate(ctx context.Context, in *expressions.Input) outcome {
	if v.conditions != nil {
		ok, err := v.conditions.Match(v.variables.Context(ctx), in)
		if err != nil {
			return outcome{decisions: []decision{v.broken(err)}}
		}
		if !ok {
			return outcome{}
		}
	}
	results, left, err := expressions.Evaluate(v.variables.Context(ctx), v.validations, in, celconfig.RuntimeCELCostBudget)
	if err != nil {
		return outcome{decisions: []decision{v.broken(err)}}
	}
	unauthorized := *in
	unauthorized.Authorizer = nil
	messages, _, err := expressions.Evaluate(v.variables.Context(ctx), v.messages, &unauthorized, left)
	out := outcome{decisions: make([]decision, len(results))}
	for i := range results {
		var message *plugincel.EvaluationResult
		if len(messages) > i {
			message = &messages[i]
		}
		out.decisions[i] = v.decide(&v.spec.Validations[i], &results[i], message, err)
	}
	// Here upstream has no authorizer, whatever is declared.
	notes, _, err := expressions.Evaluate(v.variables.Context(ctx), v.annotations, &unauthorized, celconfig.RuntimeCELCostBudget)
	if err != nil {
		return outcome{decisions: []decision{v.broken(err)}}
	}
	for i := range notes {
		out.notes = append(out.notes, v.annotate(&v.spec.AuditAnnotations[i], &notes[i]))
	}
	return out
}

// decide reads the result of a validation. messageErr is why there are no
// messages.
func (v *validator) decide(spec *admissionv1.Validation, r, message *plugincel.EvaluationResult, messageErr error) decision {
	switch {
	case r.Error != nil:
		return v.broken(r.Error)
	case errors.Is(messageErr, apiservercel.ErrInternal) || errors.Is(messageErr, apiservercel.ErrOutOfBudget):
		return v.broken(fmt.Errorf("failed messageExpression: %w", messageErr))
	case r.EvalResult == celtypes.True:
		return decision{}
	}
	d := decision{denied: true, reason: metav1.StatusReasonInvalid, message: evaluated(message)}
	if spec.Reason != nil {
		d.reason = *spec.Reason
	}
	if d.message == "" {
		d.message = strings.TrimSpace(spec.Message)
	}
	if d.message == "" {
		d.message = "failed expression: " + strings.TrimSpace(spec.Expression)
	}
	return d
}

// evaluated is the text of a message expression; empty if it is none that fits
// on a line.
func evaluated(r *plugincel.EvaluationResult) string {
	if r == nil || r.Error != nil || r.EvalResult == nil {
		return ""
	}
	text, ok := r.EvalResult.Value().(string)
	if !ok {
		return ""
	}
	text = strings.TrimSpace(text)
	if len(text) > celconfig.MaxEvaluatedMessageExpressionSizeBytes || strings.Contains(text, "\n") {
		return ""
	}
	return text
}

func (v *validator) annotate(spec *admissionv1.AuditAnnotation, r *plugincel.EvaluationResult) note {
	n := note{key: spec.Key}
	switch {
	case r.Error != nil && v.ignore:
	case r.Error != nil:
		n.err = r.Error.Error()
	case r.EvalResult.Type() == celtypes.StringType:
		text, _ := r.EvalResult.Value().(string)
		n.value = strings.TrimSpace(text)
	case r.EvalResult.Type() == celtypes.NullType:
	default:
		n.err = fmt.Sprintf("valueExpression '%v' resulted in unsupported return type: %v. Return type must be either string or null.",
			spec.ValueExpression, r.EvalResult.Type())
	}
	return n
}
