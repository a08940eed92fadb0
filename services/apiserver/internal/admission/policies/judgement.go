package policies

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"coracle.local/services/apiserver/internal/admission/request"
)

// Limits of what goes into audit annotations.
const (
	maxFailures   = 50
	maxAnnotation = 10 << 10
)

const failureAnnotation = "validation.policy.admission.k8s.io/validation_failure"

// failure is one failed validation as the audit log has it.
type failure struct {
	Message           string                         `json:"message"`
	Policy            string                         `json:"policy"`
	Binding           string                         `json:"binding"`
	ExpressionIndex   int                            `json:"expressionIndex"`
	ValidationActions []admissionv1.ValidationAction `json:"validationActions"`
}

// judgement is what policies say about one request.
type judgement struct {
	request  *request.Request
	denials  []denial
	failures []failure
	// notes are audit annotations: values by policy and key.
	notes map[string][]string
}

// fail is about a policy or binding that does not work.
func (j *judgement) fail(p *policy[*validator], b *binding, err error) {
	if !p.ignore {
		j.denials = append(j.denials, denial{policy: p, binding: b, message: err.Error()})
	}
}

// judge asks a policy. An error is about the request and ends it.
func (j *judgement) judge(ctx context.Context, i invocation[*validator]) error {
	v, err := j.request.View(i.kind)
	if err != nil {
		j.fail(i.policy, i.binding, fmt.Errorf("failed to configure binding: failed to convert object version: %w", err))
		return nil
	}
	ns, err := j.request.Namespace(ctx)
	if err != nil {
		return err
	}
	for _, p := range i.params {
		in := input(j.request, v, p)
		in.Namespace = ns
		result := i.evaluators().validate(ctx, in)
		for index, d := range result.decisions {
			if d.denied {
				j.act(i, index, d)
			}
		}
		for _, n := range result.notes {
			j.note(i, n)
		}
	}
	return nil
}

// act does with a denial what the binding wants.
func (j *judgement) act(i invocation[*validator], index int, d decision) {
	for _, action := range i.binding.actions {
		switch action {
		case admissionv1.Deny:
			j.denials = append(j.denials, denial{i.policy, i.binding, d.message, d.reason})
		case admissionv1.Audit:
			j.failures = append(j.failures, failure{d.message, i.binding.policy, i.binding.name, index, i.binding.actions})
		case admissionv1.Warn:
			if j.request.Warn != nil {
				j.request.Warn(fmt.Sprintf("Validation failed for ValidatingAdmissionPolicy '%s' with binding '%s': %s", i.name, i.binding.name, d.message))
			}
		}
	}
}

func (j *judgement) note(i invocation[*validator], n note) {
	switch {
	case n.err != "":
		j.denials = append(j.denials, denial{policy: i.policy, binding: i.binding, message: n.err})
	case n.value != "":
		key := i.name + "/" + n.key
		if j.notes == nil {
			j.notes = map[string][]string{}
		}
		if value := n.value[:min(len(n.value), maxAnnotation)]; !slices.Contains(j.notes[key], value) {
			j.notes[key] = append(j.notes[key], value)
		}
	}
}

// publish adds to the request's audit events what was found out.
func (j *judgement) publish() {
	if j.request.Annotate == nil {
		return
	}
	for _, key := range slices.Sorted(maps.Keys(j.notes)) {
		j.request.Annotate(key, strings.Join(j.notes[key], ", "))
	}
	if len(j.failures) == 0 {
		return
	}
	if text, err := json.Marshal(j.failures[:min(len(j.failures), maxFailures)]); err == nil {
		j.request.Annotate(failureAnnotation, string(text))
	}
}

// first is the denial that the client is told of: that of the first policy.
func (j *judgement) first(hooks []hook[*validator]) *denial {
	for _, h := range hooks {
		for i := range j.denials {
			if j.denials[i].policy == h.policy {
				return &j.denials[i]
			}
		}
	}
	return &j.denials[0]
}
