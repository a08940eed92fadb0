package app

import (
	"context"

	"go.uber.org/zap"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/auth/authz/rbac"
	"coracle.local/services/apiserver/internal/registry"
)

// admit fills the chain that the registry already has: plugins read through the
// registry, and the registry asks plugins.
func (s *server) admit(chain *admission.Chain) error {
	z := s.identity.guard.Authorizer
	made, unavailable, err := admission.New(admission.Config{
		Reader: reader{s.cache}, Live: s.live, Authorizer: z, Dynamic: s.dynamic(),
		Escalation: &rbac.Escalation{Authorizer: z, RBAC: s.identity.rbac},
		Enable:     s.cfg.EnableAdmission, Disable: s.cfg.DisableAdmission,
		Configuration: s.cfg.AdmissionConfiguration, ChargeQuota: s.chargeQuota, Kinds: s.registry.Catalog.ByKind, CreateNamespace: s.createNamespace,
	})
	if err != nil {
		return err
	}
	for _, name := range unavailable {
		s.cfg.Log.Warn("admission plugin is not available and is ignored", zap.String("plugin", name))
	}
	*chain = *made
	return nil
}

// live reads an object as it is now.
func (s *server) live(ctx context.Context, k *kinds.Kind, namespace, name string) (kinds.Object, error) {
	i, err := s.registry.Get(ctx, k, namespace, name, registry.GetOptions{})
	if err != nil {
		return nil, err
	}
	return i.Object(), nil
}
