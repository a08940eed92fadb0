package webhooks

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/admission/request"
	"coracle.local/services/apiserver/internal/expressions"
	"coracle.local/services/apiserver/internal/webhook"
)

// Caller calls webhooks: webhook.Clients does.
type Caller interface {
	Post(ctx context.Context, t webhook.Target, in, out runtime.Object) error
}

// Config is what the plugins need. All fields must be set.
type Config struct {
	Log         *zap.Logger
	Caller      Caller
	Environment *request.Environment
}

// exempt tells whether webhooks never see a request.
func exempt(a *admission.Attributes) bool {
	return request.Review(a) || request.AboutWebhooks(a) || request.AboutPolicy(a)
}

// matched finds the kind by which a webhook is to be asked; nil if it is not.
// The error is one for the client.
func matched(ctx context.Context, r *request.Request, h *hook) (*kinds.Kind, error) {
	k, err := r.Match(ctx, &h.rules)
	if k == nil || err != nil || h.conditions == nil {
		return k, err
	}
	v, err := r.View(k)
	if err != nil {
		return nil, apierrors.NewInternalError(err)
	}
	ok, err := h.conditions().Match(ctx, &expressions.Input{
		Attributes: v.VersionedAttributes, Resource: metav1.GroupVersionResource(v.Resource), Authorizer: r.Environment().Authorizer,
	})
	if err != nil {
		return nil, apierrors.NewForbidden(r.Kind.GroupResource(), r.Name, err)
	}
	if !ok {
		return nil, nil
	}
	return k, nil
}

// rejection is the no of a webhook, or of this server about one.
type rejection struct{ *apierrors.StatusError }

// ask asks a webhook. An error is a *webhook.CallError where there was no answer
// that means anything, a rejection where the answer is no.
func (c *Config) ask(ctx context.Context, h *hook, v *request.View, mutating bool) (*answer, error) {
	if v.IsDryRun() && !h.dry {
		if h.noSaying {
			return nil, failed(h, errors.New("Webhook SideEffects is nil"), apierrors.NewBadRequest("Webhook SideEffects is nil"))
		}
		return nil, rejection{apierrors.NewBadRequest(fmt.Sprintf("admission webhook %q does not support dry run", h.name))}
	}
	q, err := newReview(v, h.reviewForms)
	if err != nil {
		return nil, failed(h, fmt.Errorf("could not create admission objects: %w", err), apierrors.NewBadRequest("error creating admission objects"))
	}
	if h.timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, h.timeout)
		defer cancel()
	}
	if err := c.Caller.Post(ctx, h.target, q.question, q.answer); err != nil {
		return nil, notCalled(h, err)
	}
	a, err := q.read(mutating)
	if err != nil {
		return nil, failed(h, fmt.Errorf("received invalid webhook response: %w", err), apierrors.NewServiceUnavailable("error validating webhook response"))
	}
	return a, nil
}

func failed(h *hook, reason error, status *apierrors.StatusError) error {
	return &webhook.CallError{Webhook: h.name, Reason: reason, Status: status}
}

func notCalled(h *hook, err error) error {
	var config *webhook.ConfigError
	if errors.As(err, &config) {
		// As upstream words it, who reports it twice.
		return failed(h, fmt.Errorf("could not get REST client: %w", &webhook.CallError{Webhook: h.name, Reason: config}), apierrors.NewInternalError(err))
	}
	var status *apierrors.StatusError
	if !errors.As(err, &status) {
		status = apierrors.NewServiceUnavailable("error calling webhook")
	}
	return failed(h, fmt.Errorf("failed to call webhook: %w", err), status)
}

// heard passes on what a webhook says beside its answer, and is its no, if it is
// one.
func heard(r *request.Request, h *hook, a *answer) error {
	for key, value := range a.annotations {
		annotate(r, h.name+"/"+key, value)
	}
	for _, text := range a.warnings {
		if r.Warn != nil {
			r.Warn(text)
		}
	}
	if a.allowed {
		return nil
	}
	return rejection{denied(h.name, a.result)}
}

func annotate(r *request.Request, key, value string) {
	if r.Annotate != nil {
		r.Annotate(key, value)
	}
}

// denied is a webhook's status as its client gets it: always an error.
func denied(name string, s *metav1.Status) *apierrors.StatusError {
	if s == nil {
		s = &metav1.Status{}
	}
	out := s.DeepCopy()
	if out.Code < http.StatusBadRequest {
		out.Code = http.StatusBadRequest
	}
	if out.Status == "" || out.Status == metav1.StatusSuccess {
		out.Status = metav1.StatusFailure
	}
	by := fmt.Sprintf("admission webhook %q denied the request", name)
	switch {
	case out.Message != "":
		out.Message = by + ": " + out.Message
	case out.Reason != "":
		out.Message = by + ": " + string(out.Reason)
	default:
		out.Message = by + " without explanation"
	}
	return &apierrors.StatusError{ErrStatus: *out}
}

// ended says that the client waits no longer.
func ended() error {
	return apierrors.NewTimeoutError("request did not complete within requested timeout", 0)
}

// verdict is what an error of ask comes to: nil if it does not count. open tells
// that the webhook could not be asked and that this is to be ignored.
func (c *Config) verdict(h *hook, err error) (out error, open bool) {
	var call *webhook.CallError
	if errors.As(err, &call) {
		if !h.ignore {
			return apierrors.NewInternalError(err), false
		}
		c.Log.Warn("webhook could not be asked and is ignored", zap.String("webhook", h.name),
			zap.String("configuration", h.configuration), zap.Error(err))
		return nil, !errors.Is(err, context.Canceled)
	}
	var no rejection
	if errors.As(err, &no) {
		return no.StatusError, false
	}
	return err, false
}
