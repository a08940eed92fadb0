package webhooks

import (
	"context"
	"fmt"
	"sync"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/admission/request"
)

const validatingFailedOpen = "failed-open.validating.webhook.admission.k8s.io/"

// Validating is the plugin ValidatingAdmissionWebhook: webhooks refuse what is
// written, all asked at once. It observes their configurations.
type Validating struct {
	*hooks[*admissionregistrationv1.ValidatingWebhookConfiguration]
	config Config
}

// NewValidating returns the plugin.
func NewValidating(c Config) *Validating {
	return &Validating{hooks: newHooks(validatingHooks), config: c}
}

// invocation is a webhook that is to be asked, and about what.
type invocation struct {
	*hook
	view *request.View
}

// Validate implements admission.Validator.
func (p *Validating) Validate(ctx context.Context, a *admission.Attributes) error {
	all := p.now()
	if len(all) == 0 || exempt(a) {
		return nil
	}
	r := request.New(p.config.Environment, a)
	relevant, err := relevant(ctx, r, all)
	if err != nil || len(relevant) == 0 {
		return err
	}
	if ctx.Err() != nil {
		return ended()
	}
	errs := make([]error, len(relevant))
	var mu sync.Mutex // of what they say, which goes to one client
	var group sync.WaitGroup
	for i, one := range relevant {
		group.Go(func() { errs[i] = p.one(ctx, r, one, i, &mu) })
	}
	group.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

// relevant are the webhooks to ask.
func relevant(ctx context.Context, r *request.Request, all []*hook) ([]invocation, error) {
	var out []invocation
	for _, h := range all {
		k, err := matched(ctx, r, h)
		if err != nil {
			return nil, err
		}
		if k == nil {
			continue
		}
		v, err := r.View(k)
		if err != nil {
			return nil, apierrors.NewInternalError(err)
		}
		out = append(out, invocation{h, v})
	}
	return out, nil
}

func (p *Validating) one(ctx context.Context, r *request.Request, i invocation, index int, mu *sync.Mutex) (err error) {
	defer func() {
		if broken := recover(); broken != nil {
			err = apierrors.NewInternalError(fmt.Errorf("ValidatingAdmissionWebhook/%v has panicked: %v", i.name, broken))
		}
	}()
	a, err := p.config.ask(ctx, i.hook, i.view, false)
	mu.Lock()
	defer mu.Unlock()
	if err == nil {
		err = heard(r, i.hook, a)
	}
	if err == nil {
		return nil
	}
	err, open := p.config.verdict(i.hook, err)
	if open {
		annotate(r, numbered(validatingFailedOpen, 0, index), i.name)
	}
	return err
}
