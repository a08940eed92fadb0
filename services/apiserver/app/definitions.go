package app

import (
	"context"
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/runtime"

	"coracle.local/services/apiserver/internal/definitions"
	"coracle.local/services/apiserver/internal/front/managed"
	"coracle.local/services/apiserver/internal/webhook"
)

// newDefinitions makes what serves custom resources.
func (s *server) newDefinitions() *definitions.Controller {
	return definitions.New(definitions.Config{
		Cache: s.cache, Registry: s.registry, Catalog: s.registry.Catalog,
		Managed: managed.New(s.registry), Hooks: conversions{s.webhooks}, Log: s.cfg.Log.Named("definitions"),
	})
}

// conversions calls the webhooks that convert custom resources.
type conversions struct{ clients *webhook.Clients }

func (c conversions) Post(ctx context.Context, client *apiextensionsv1.WebhookClientConfig, request, response any) error {
	in, ok := request.(runtime.Object)
	out, ok2 := response.(runtime.Object)
	if !ok || !ok2 {
		return fmt.Errorf("a %T is answered with a %T, which are no objects", request, response)
	}
	return c.clients.Post(ctx, webhook.ConversionTarget(client), in, out)
}
