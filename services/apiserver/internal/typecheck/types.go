package typecheck

import (
	"encoding/json"
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	apiservercel "k8s.io/apiserver/pkg/cel"
	"k8s.io/apiserver/pkg/cel/common"
	"k8s.io/apiserver/pkg/cel/openapi"
	"k8s.io/apiserver/pkg/cel/openapi/resolver"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Types are those of the published documents: Schemas returns what the document
// of a group version says, by name, not decoded.
type Types struct {
	Schemas func(group, version string) (map[string]json.RawMessage, error)
}

// Of is the type of a kind's objects; nil if no document has it.
func (t Types) Of(gvk schema.GroupVersionKind) (*apiservercel.DeclType, error) {
	schemas, err := t.Schemas(gvk.Group, gvk.Version)
	if err != nil {
		return nil, err
	}
	name := find(schemas, gvk)
	if name == "" {
		return nil, nil
	}
	decoded := map[string]*spec.Schema{}
	s, err := resolver.PopulateRefs(func(ref string) (*spec.Schema, bool) {
		ref = strings.TrimPrefix(ref, "#/components/schemas/")
		if s := decoded[ref]; s != nil {
			return s, true
		}
		s := &spec.Schema{}
		if raw, ok := schemas[ref]; !ok || json.Unmarshal(raw, s) != nil {
			return nil, false
		}
		decoded[ref] = s
		return s, true
	}, name)
	if err != nil {
		return nil, fmt.Errorf("resolve the schema of %v: %w", gvk, err)
	}
	return common.SchemaDeclType(&openapi.Schema{Schema: s}, true), nil
}

// find is the name of a kind's schema.
func find(schemas map[string]json.RawMessage, gvk schema.GroupVersionKind) string {
	for name, raw := range schemas {
		if !strings.HasSuffix(name, "."+gvk.Kind) {
			continue
		}
		var marked struct {
			Kinds []schema.GroupVersionKind `json:"x-kubernetes-group-version-kind"`
		}
		if json.Unmarshal(raw, &marked) != nil {
			continue
		}
		for _, one := range marked.Kinds {
			if one == gvk {
				return name
			}
		}
	}
	return ""
}
