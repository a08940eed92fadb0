package publish

import (
	"fmt"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

// Base are the schemas of the built-in types that custom resources use. Their
// references are of version 3.
type Base map[string]common.OpenAPIDefinition

// uses are the built-in types that the operations of a custom resource name.
var uses = []string{objectMeta, listMeta, string(status), string(patch), string(deleteOptions), string(scale)}

// NewBase takes what is needed out of the schemas of a version 3 document.
func NewBase(schema func(name string) (*spec.Schema, error)) (Base, error) {
	b := Base{}
	var add func(name string) error
	add = func(name string) error {
		if _, ok := b[name]; ok {
			return nil
		}
		s, err := schema(name)
		if err != nil {
			return fmt.Errorf("schema of %s: %w", name, err)
		}
		if name == string(deleteOptions) {
			s.Extensions[kindExtension] = []any{map[string]any{"group": "", "version": "v1", "kind": "DeleteOptions"}}
		}
		needs := references(s, nil)
		b[name] = common.OpenAPIDefinition{Schema: *s, Dependencies: needs}
		for _, n := range needs {
			if err := add(n); err != nil {
				return err
			}
		}
		return nil
	}
	for _, name := range uses {
		if err := add(name); err != nil {
			return nil, err
		}
	}
	return b, nil
}

// references appends the names that a schema refers to.
func references(s *spec.Schema, to []string) []string {
	if s == nil {
		return to
	}
	if ref := s.Ref.String(); ref != "" {
		to = append(to, ref[len(V3):])
	}
	for _, p := range s.Properties {
		to = references(&p, to)
	}
	for i := range s.AllOf {
		to = references(&s.AllOf[i], to)
	}
	if s.Items != nil {
		to = references(s.Items.Schema, to)
	}
	if s.AdditionalProperties != nil {
		to = references(s.AdditionalProperties.Schema, to)
	}
	return to
}

// with adds the schemas of a resource to those of the built-in types.
func (b Base) with(d Dialect, resources ...resource) map[string]common.OpenAPIDefinition {
	out := make(map[string]common.OpenAPIDefinition, len(b)+2*len(resources))
	for name, definition := range b {
		out[name] = definition
	}
	for _, r := range resources {
		names := r.crd.Spec.Names
		out[r.model(names.Kind)] = common.OpenAPIDefinition{Schema: *r.selectable(r.object(d)), Dependencies: []string{objectMeta}}
		out[r.model(names.ListKind)] = common.OpenAPIDefinition{
			Schema: *r.selectable(r.list(d)), Dependencies: []string{listMeta, r.model(names.Kind)},
		}
	}
	return out
}

func info() *spec.Info {
	return &spec.Info{InfoProps: spec.InfoProps{Title: "Kubernetes CRD Swagger", Version: "v0.1.0"}}
}

const unauthorized = "Unauthorized"

// Document3 is the document of a group version: those versions of the
// definitions that bear its name.
func Document3(base Base, crds []*apiextensionsv1.CustomResourceDefinition, version string) (*spec3.OpenAPI, error) {
	c := &container{}
	var resources []resource
	for _, crd := range crds {
		if r, ok := resourceOf(crd, version); ok {
			resources = append(resources, r)
			c.routes = append(c.routes, r.routes()...)
		}
	}
	return builder3.BuildOpenAPISpecFromRoutes([]common.RouteContainer{c}, &common.OpenAPIV3Config{
		Info:                           info(),
		CommonResponses:                map[int]*spec3.Response{401: {ResponseProps: spec3.ResponseProps{Description: unauthorized}}},
		Definitions:                    base.with(V3, resources...),
		GetDefinitionName:              func(name string) (string, spec.Extensions) { return name, nil },
		GetOperationIDAndTagsFromRoute: operationID,
	})
}

// Document2 is what the served versions of a definition add to the document of
// version 2: its paths, its schemas and the parameters that paths share.
// Schemas of built-in types are not in it.
func Document2(base Base, crd *apiextensionsv1.CustomResourceDefinition) (*spec.Swagger, error) {
	c := &container{}
	var resources []resource
	for i := range crd.Spec.Versions {
		if v := &crd.Spec.Versions[i]; v.Served {
			r := resource{crd, v}
			resources = append(resources, r)
			c.routes = append(c.routes, r.routes()...)
		}
	}
	doc, err := builder.BuildOpenAPISpecFromRoutes([]common.RouteContainer{c}, &common.Config{
		ProtocolList:                   []string{"https"},
		Info:                           info(),
		CommonResponses:                map[int]spec.Response{401: {ResponseProps: spec.ResponseProps{Description: unauthorized}}},
		GetDefinitions:                 func(common.ReferenceCallback) map[string]common.OpenAPIDefinition { return base.with(V2, resources...) },
		GetDefinitionName:              func(name string) (string, spec.Extensions) { return name, nil },
		GetOperationIDAndTagsFromRoute: operationID,
	})
	if err != nil {
		return nil, err
	}
	for name := range base {
		delete(doc.Definitions, name)
	}
	// Clients of this version would apply the defaults.
	doc.Definitions = handler.PruneDefaults(doc.Definitions)
	return doc, nil
}
