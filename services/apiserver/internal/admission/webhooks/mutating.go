package webhooks

import (
	"context"
	"encoding/json"
	"fmt"

	jsonpatch "gopkg.in/evanphx/json-patch.v4"
	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"

	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/admission/request"
)

// Audit annotations of what mutating webhooks did.
const (
	patchAnnotation      = "patch.webhook.admission.k8s.io/"
	mutationAnnotation   = "mutation.webhook.admission.k8s.io/"
	failedOpenAnnotation = "failed-open.mutation.webhook.admission.k8s.io/"
)

// Mutating is the plugin MutatingAdmissionWebhook: webhooks change what is
// written, one after the other. It observes their configurations.
type Mutating struct {
	*hooks[*admissionregistrationv1.MutatingWebhookConfiguration]
	config Config
}

// NewMutating returns the plugin.
func NewMutating(c Config) *Mutating {
	return &Mutating{hooks: newHooks(mutatingHooks), config: c}
}

// Admit implements admission.Mutator.
func (m *Mutating) Admit(ctx context.Context, a *admission.Attributes) error {
	all := m.now()
	if len(all) == 0 || exempt(a) {
		return nil
	}
	r := request.New(m.config.Environment, a)
	again := r.Reinvocations("MutatingAdmissionWebhook")
	defer again.Leave()
	for i, h := range all {
		if err := m.one(ctx, r, h, i, again); err != nil {
			return err
		}
	}
	return nil
}

// one asks one webhook, if it is to be asked.
func (m *Mutating) one(ctx context.Context, r *request.Request, h *hook, index int, again *request.Reinvocations) error {
	k, err := matched(ctx, r, h)
	if err != nil || k == nil || !again.Wants(h.id) {
		return err
	}
	v, err := r.View(k)
	if err != nil {
		return apierrors.NewInternalError(err)
	}
	changed, err := m.mutate(ctx, r, h, v, index)
	if changed {
		again.Changed()
	}
	if h.reinvoke {
		again.Invoked(h.id)
	}
	if err == nil {
		return nil
	}
	err, open := m.config.verdict(h, err)
	if open {
		annotate(r, numbered(failedOpenAnnotation, r.Reinvocation.Round, index), h.name)
	}
	if err == nil && ctx.Err() != nil {
		return ended()
	}
	return err
}

// mutate asks a webhook and does what it says.
func (m *Mutating) mutate(ctx context.Context, r *request.Request, h *hook, v *request.View, index int) (changed bool, err error) {
	defer func() {
		note(r.Annotate, numbered(mutationAnnotation, r.Reinvocation.Round, index), mutationNote{h.configuration, h.name, changed})
	}()
	a, err := m.config.ask(ctx, h, v, true)
	if err != nil {
		return false, err
	}
	if err := heard(r, h, a); err != nil {
		return false, err
	}
	if len(a.patch) == 0 {
		return false, nil
	}
	patch, err := jsonpatch.DecodePatch(a.patch)
	if err != nil {
		return false, failed(h, fmt.Errorf("received undecodable patch in webhook response: %w", err),
			apierrors.NewServiceUnavailable("error decoding patch in webhook response"))
	}
	if len(patch) == 0 {
		return false, nil
	}
	next, err := patched(h, v, a, patch)
	if err != nil {
		return false, err
	}
	changed = !equality.Semantic.DeepEqual(v.Object(), next)
	note(r.AnnotateBody, numbered(patchAnnotation, r.Reinvocation.Round, index), patchNote{h.configuration, h.name, patch, string(a.patchType)})
	if err := r.Replace(v, next); err != nil {
		return false, apierrors.NewInternalError(err)
	}
	return changed, nil
}

// patched is a view's object after a patch.
func patched(h *hook, v *request.View, a *answer, patch jsonpatch.Patch) (runtime.Object, error) {
	if v.Object() == nil {
		return nil, apierrors.NewInternalError(fmt.Errorf("admission webhook %q attempted to modify the object, which is not supported for this operation", h.name))
	}
	if a.patchType != admissionv1.PatchTypeJSONPatch {
		return nil, failed(h, fmt.Errorf("unsupported patch type %q", a.patchType), denied(h.name, a.result))
	}
	before, err := json.Marshal(v.Object())
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	after, err := patch.Apply(before)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	next, err := v.Decode(after)
	if apierrors.IsInvalid(err) {
		return nil, err
	}
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	return next, nil
}

// mutationNote says in the audit log whether a webhook has changed the object.
type mutationNote struct {
	Configuration string `json:"configuration"`
	Webhook       string `json:"webhook"`
	Mutated       bool   `json:"mutated"`
}

// patchNote says how.
type patchNote struct {
	Configuration string          `json:"configuration"`
	Webhook       string          `json:"webhook"`
	Patch         jsonpatch.Patch `json:"patch,omitempty"`
	PatchType     string          `json:"patchType,omitempty"`
}

// note adds an annotation that is a JSON object.
func note(annotate func(key, value string), key string, value any) {
	if annotate == nil {
		return
	}
	if text, err := json.Marshal(value); err == nil {
		annotate(key, string(text))
	}
}
