package app

import (
	"context"
	"encoding/json"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/front/managed"
	"coracle.local/services/apiserver/internal/openapi"
	"coracle.local/services/apiserver/internal/registry"
	"coracle.local/services/apiserver/internal/typecheck"
)

// newTypecheck makes what writes the status of ValidatingAdmissionPolicies.
func (s *server) newTypecheck() *typecheck.Controller {
	checker := &typecheck.Checker{Kinds: s.registry.Catalog, Types: typecheck.Types{Schemas: s.schemas}}
	c := typecheck.New(checker, s.writePolicyStatus, s.cfg.Log.Named("typecheck"), nil)
	observe(s.cache, c)
	return c
}

// checkPolicies writes that status, unless another does.
func (s *server) checkPolicies(ctx context.Context) error {
	if s.cfg.UncheckedPolicies {
		return nil
	}
	return s.typecheck.Run(ctx)
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
	k := kinds.For[*admissionv1.ValidatingAdmissionPolicy]()
	_, _, err := s.registry.Update(auth.WithUser(ctx, loopback), k, "", name, "status", func(current kinds.Object) (kinds.Object, error) {
		wanted := current.DeepCopyObject().(*admissionv1.ValidatingAdmissionPolicy)
		if !change(wanted) {
			return current, nil
		}
		status, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&wanted.Status)
		if err != nil {
			return nil, err
		}
		config := &unstructured.Unstructured{Object: map[string]any{"status": status}}
		config.SetGroupVersionKind(k.GroupVersionKind())
		config.SetName(name)
		return managed.New(s.registry).Apply(k, "status", current, config, typecheck.Manager, true)
	}, registry.UpdateOptions{Unconditional: true, WriteOptions: registry.WriteOptions{FieldManager: typecheck.Manager}})
	return err
}
