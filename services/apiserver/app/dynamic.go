package app

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/admission/policies"
	"coracle.local/services/apiserver/internal/admission/request"
	"coracle.local/services/apiserver/internal/admission/webhooks"
	"coracle.local/services/apiserver/internal/front/managed"
	"coracle.local/services/apiserver/internal/registry"
)

// dynamic makes the admission plugins that objects of the API configure. They
// follow their configurations in the cache.
func (s *server) dynamic() admission.Dynamic {
	e := &request.Environment{
		Reader: reader{s.cache}, Live: s.live, Strategy: s.registry.Strategy, Authorizer: s.identity.guard.Authorizer,
	}
	log := s.cfg.Log.Named("admission")
	hooks := webhooks.Config{Log: log, Caller: s.webhooks, Environment: e}
	rules := policies.Config{Log: log, Environment: e, Params: params{s.registry}, Types: managed.Types}
	mutatingHooks, validatingHooks := webhooks.NewMutating(hooks), webhooks.NewValidating(hooks)
	mutatingRules, validatingRules := policies.NewMutating(rules), policies.NewValidating(rules)
	observe(s.cache, mutatingHooks)
	observe(s.cache, validatingHooks)
	observe(s.cache, mutatingRules)
	observe(s.cache, validatingRules)
	return admission.Dynamic{
		MutatingPolicies: mutatingRules, MutatingWebhooks: mutatingHooks,
		ValidatingPolicies: validatingRules, ValidatingWebhooks: validatingHooks,
		Rights: &policies.Rights{Environment: e, Params: rules.Params},
	}
}

// params shows the registry to policies.
type params struct{ registry *registry.Registry }

func (p params) Kind(gvk schema.GroupVersionKind) *kinds.Kind { return p.registry.Catalog.ByKind(gvk) }

// Get believes the cache in what there is, and asks where it is stored before it
// says that there is nothing.
func (p params) Get(ctx context.Context, k *kinds.Kind, namespace, name string) (kinds.Object, error) {
	i, err := p.registry.Get(ctx, k, namespace, name, registry.GetOptions{ResourceVersion: "0"})
	if apierrors.IsNotFound(err) {
		i, err = p.registry.Get(ctx, k, namespace, name, registry.GetOptions{})
	}
	if err != nil {
		return nil, err
	}
	return i.Object(), nil
}

func (p params) List(ctx context.Context, k *kinds.Kind, namespace string, s labels.Selector) ([]kinds.Object, error) {
	l, err := p.registry.List(ctx, k, registry.ListOptions{Namespace: namespace, Labels: s, ResourceVersion: "0"})
	if err != nil {
		return nil, err
	}
	out := make([]kinds.Object, len(l.Items))
	for i, item := range l.Items {
		out[i] = item.Object()
	}
	return out, nil
}
