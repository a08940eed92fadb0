package app

import (
	"context"
	"encoding/json"

	admissionv1 "k8s.io/api/admissionregistration/v1"

	"coracle.local/services/apiserver/internal/openapi"
	"coracle.local/services/apiserver/internal/typecheck"
)

// newTypecheck makes what writes the status of ValidatingAdmissionPolicies.
func (s *server) newTypecheck() *typecheck.Controller {
	checker := &typecheck.Checker{Kinds: s.registry.Catalog, Types: typecheck.Types{Schemas: s.schemas}}
	c := typecheck.New(checker, s.writePolicyStatus, s.cfg.Log.Named("typecheck"), nil)
	observe(s.cache, c)
	return c
}

// schemas reads the published types of a group version. Policies are checked
// seldom, so nothing is kept.
func (s *server) schemas(group, version string) (map[string]json.RawMessage, error) {
	documents := openapi.New()
	documents.Set(func() []openapi.Source {
		var sources []openapi.Source
		for _, e := range s.registry.Catalog.Now().Entries() {
			if e.Definition.CRD().Spec.Group == group {
				sources = append(sources, openapi.Source{CRD: e.Definition.CRD(), Whole: e.Definition.Whole})
			}
		}
		return sources
	})
	return documents.Schemas(group, version)
}

// writePolicyStatus applies a policy's status as its own manager.
func (s *server) writePolicyStatus(ctx context.Context, name string, change func(*admissionv1.ValidatingAdmissionPolicy) bool) error {
	return applyStatus(ctx, s, name, typecheck.Manager, change, func(p *admissionv1.ValidatingAdmissionPolicy) any { return &p.Status })
}
