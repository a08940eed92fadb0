// Package publish describes custom resources in OpenAPI, versions 2 and 3, as
// upstream publishes them.
package publish

import (
	"fmt"
	"slices"
	"strings"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/validation"
	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	openapiv2 "k8s.io/apiextensions-apiserver/pkg/controller/openapi/v2"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/validation/spec"
)

const (
	meta       = "io.k8s.apimachinery.pkg.apis.meta.v1."
	objectMeta = meta + "ObjectMeta"
	listMeta   = meta + "ListMeta"

	kindExtension     = "x-kubernetes-group-version-kind"
	preserveExtension = "x-kubernetes-preserve-unknown-fields"
	embeddedExtension = "x-kubernetes-embedded-resource"

	conventions = "https://git.k8s.io/community/contributors/devel/sig-architecture/api-conventions.md"
)

// Dialect is a version of OpenAPI.
type Dialect string

// The dialects, by where their schemas are.
const (
	V2 Dialect = "#/definitions/"
	V3 Dialect = "#/components/schemas/"
)

func (d Dialect) ref(name string) *spec.Schema { return spec.RefSchema(string(d) + name) }

// resource is one version of a definition.
type resource struct {
	crd     *apiextensionsv1.CustomResourceDefinition
	version *apiextensionsv1.CustomResourceDefinitionVersion
}

func resourceOf(crd *apiextensionsv1.CustomResourceDefinition, version string) (resource, bool) {
	for i := range crd.Spec.Versions {
		if v := &crd.Spec.Versions[i]; v.Name == version {
			return resource{crd, v}, true
		}
	}
	return resource{}, false
}

// ModelName names the schema of a kind: com.example.v1.Foo for Foo of
// example.com/v1.
func ModelName(group, version, kind string) string {
	parts := strings.Split(group, ".")
	slices.Reverse(parts)
	return strings.Join(parts, ".") + "." + version + "." + kind
}

func (r resource) model(kind string) string { return ModelName(r.crd.Spec.Group, r.version.Name, kind) }

func (r resource) extension(kind string) []any {
	return []any{map[string]any{"group": r.crd.Spec.Group, "version": r.version.Name, "kind": kind}}
}

// Models are the schemas of a version's objects and of lists of them, for
// server-side apply: as published, without the fields that can be selected.
func Models(crd *apiextensionsv1.CustomResourceDefinition, version string) (map[string]*spec.Schema, error) {
	r, ok := resourceOf(crd, version)
	if !ok {
		return nil, fmt.Errorf("definition %s has no version %s", crd.Name, version)
	}
	return map[string]*spec.Schema{
		r.model(crd.Spec.Names.Kind):     r.object(V3),
		r.model(crd.Spec.Names.ListKind): r.list(V3),
	}, nil
}

// structural is the version's schema with the checks of values written out;
// nil if there is none that can be published.
func (r resource) structural() *structuralschema.Structural {
	if r.version.Schema == nil || r.version.Schema.OpenAPIV3Schema == nil {
		return nil
	}
	props := &apiextensions.JSONSchemaProps{}
	if err := apiextensionsv1.Convert_v1_JSONSchemaProps_To_apiextensions_JSONSchemaProps(r.version.Schema.OpenAPIV3Schema, props, nil); err != nil {
		return nil
	}
	if validation.SchemaHasInvalidTypes(props) {
		return nil
	}
	s, err := structuralschema.NewStructural(props)
	if err != nil || len(structuralschema.ValidateStructural(nil, s)) > 0 {
		return nil
	}
	return s.Unfold()
}

// object is the schema of the version's objects.
func (r resource) object(d Dialect) *spec.Schema {
	out := spec.MapProperty(nil).Typed("object", "")
	out.AdditionalProperties = nil
	s := r.structural()
	// Clients that check objects by v2 take what is listed for all there is.
	if s != nil && (d == V3 || !(s.XPreserveUnknownFields || r.crd.Spec.PreserveUnknownFields)) {
		if d == V2 {
			s = openapiv2.ToStructuralOpenAPIV2(s)
		}
		out = s.ToKubeOpenAPI()
		out.SetProperty("metadata", *metadata(d, objectMeta))
		addType(out)
		addEmbedded(out, d)
	}
	out.AddExtension(kindExtension, r.extension(r.crd.Spec.Names.Kind))
	return out
}

// list is the schema of lists of the version's objects.
func (r resource) list(d Dialect) *spec.Schema {
	names := r.crd.Spec.Names
	items := spec.ArrayProperty(d.ref(r.model(names.Kind))).
		WithDescription(fmt.Sprintf("List of %s. More info: %s", names.Plural, conventions))
	out := new(spec.Schema).Typed("object", "").
		WithDescription(fmt.Sprintf("%s is a list of %s", names.ListKind, names.Kind)).
		WithRequired("items").
		SetProperty("items", *items).
		SetProperty("metadata", *metadata(d, listMeta))
	addType(out)
	out.AddExtension(kindExtension, r.extension(names.ListKind))
	return out
}

// selectable adds to a schema which fields can be selected.
func (r resource) selectable(s *spec.Schema) *spec.Schema {
	var paths []any
	for _, f := range r.version.SelectableFields {
		paths = append(paths, map[string]any{"fieldPath": strings.TrimPrefix(f.JSONPath, ".")})
	}
	if len(paths) > 0 {
		s.AddExtension("x-kubernetes-selectable-fields", paths)
	}
	return s
}

func metadata(d Dialect, name string) *spec.Schema {
	doc := metav1.PartialObjectMetadata{}.SwaggerDoc()
	if name == listMeta {
		doc = metav1.PartialObjectMetadataList{}.SwaggerDoc()
	}
	return d.ref(name).WithDescription(doc["metadata"])
}

func addType(s *spec.Schema) {
	doc := metav1.TypeMeta{}.SwaggerDoc()
	for _, name := range []string{"apiVersion", "kind"} {
		s.SetProperty(name, *spec.StringProperty().WithDescription(doc[name]))
	}
}

// addEmbedded gives embedded resources, at any depth, what every object has.
func addEmbedded(s *spec.Schema, d Dialect) {
	if s == nil {
		return
	}
	for name, p := range s.Properties {
		addEmbedded(&p, d)
		s.Properties[name] = p
	}
	if s.Items != nil {
		addEmbedded(s.Items.Schema, d)
	}
	if s.AdditionalProperties != nil {
		addEmbedded(s.AdditionalProperties.Schema, d)
	}
	if keeps, ok := s.Extensions.GetBool(preserveExtension); ok && keeps && d == V2 {
		return
	}
	if embedded, ok := s.Extensions.GetBool(embeddedExtension); !ok || !embedded {
		return
	}
	s.SetProperty("apiVersion", *spec.StringProperty().WithDescription(
		"apiVersion defines the versioned schema of this representation of an object. More info: " + conventions + "#resources"))
	s.SetProperty("kind", *spec.StringProperty().WithDescription(
		"kind is a string value representing the type of this object. In CamelCase. More info: " + conventions + "#types-kinds"))
	s.SetProperty("metadata", *metadata(d, objectMeta))
	for _, name := range []string{"kind", "apiVersion"} {
		if !slices.Contains(s.Required, name) {
			s.Required = append(s.Required, name)
		}
	}
}
