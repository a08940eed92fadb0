// Package document builds the OpenAPI documents of the whole API from its
// schemas and the table of kinds, and writes them as files.
package document

import (
	"fmt"
	"maps"
	"strings"

	"k8s.io/kube-openapi/pkg/builder"
	"k8s.io/kube-openapi/pkg/builder3"
	"k8s.io/kube-openapi/pkg/common"
	"k8s.io/kube-openapi/pkg/handler"
	"k8s.io/kube-openapi/pkg/spec3"
	"k8s.io/kube-openapi/pkg/validation/spec"

	"coracle.local/libs/kinds"
)

// version is the API's, as upstream's documents give it.
const version = "1.37"

// Write builds every document and writes it, compressed, below dir.
func Write(dir string, definitions common.GetOpenAPIDefinitions) error {
	names := definitionNames()
	routes := everyRoute()
	var containers []common.RouteContainer
	for _, c := range routes {
		containers = append(containers, c)
	}
	v2, err := builder.BuildOpenAPISpecFromRoutes(containers, v2Config(definitions, names))
	if err != nil {
		return fmt.Errorf("build the v2 document: %w", err)
	}
	// Clients of v2 would apply the defaults; upstream's never had them.
	v2.Definitions = handler.PruneDefaults(v2.Definitions)
	w := newWriter(dir)
	if err := w.v2(v2); err != nil {
		return err
	}
	models := map[string]*spec.Schema{}
	for _, c := range routes {
		v3, err := builder3.BuildOpenAPISpecFromRoutes([]common.RouteContainer{c}, v3Config(definitions, names.only(c.groupVersion)))
		if err != nil {
			return fmt.Errorf("build the v3 document of %s: %w", c.root, err)
		}
		if err := w.v3(c.document(), v3); err != nil {
			return err
		}
		if v3.Components != nil {
			maps.Copy(models, v3.Components.Schemas)
		}
	}
	if err := w.types(models); err != nil {
		return fmt.Errorf("write the types: %w", err)
	}
	return w.finish()
}

// everyRoute is a container for each v3 document.
func everyRoute() []*container {
	all := serviceRoutes()
	for _, gv := range kinds.GroupVersions() {
		c := &container{root: rootOf(gv), groupVersion: gv}
		c.routes = append(c.routes, resourcesRoute(gv))
		for _, k := range kinds.All() {
			if k.GroupVersion() == gv {
				c.routes = append(c.routes, kindRoutes(c.root, k)...)
			}
		}
		all = append(all, c)
	}
	return all
}

const unauthorized = "Unauthorized"

func info() *spec.Info {
	return &spec.Info{InfoProps: spec.InfoProps{Title: "Kubernetes", Version: version}}
}

var bearer = map[string][]string{"BearerToken": {}}

func v2Config(definitions common.GetOpenAPIDefinitions, names definitionNamer) *common.Config {
	return &common.Config{
		ProtocolList:    []string{"https"},
		Info:            info(),
		CommonResponses: map[int]spec.Response{401: {ResponseProps: spec.ResponseProps{Description: unauthorized}}},
		GetDefinitions:  definitions,
		SecurityDefinitions: &spec.SecurityDefinitions{"BearerToken": &spec.SecurityScheme{SecuritySchemeProps: spec.SecuritySchemeProps{
			Type: "apiKey", Name: "authorization", In: "header", Description: "Bearer Token authentication",
		}}},
		DefaultSecurity:                []map[string][]string{bearer},
		GetDefinitionName:              names.name,
		GetOperationIDAndTagsFromRoute: operationID,
	}
}

func v3Config(definitions common.GetOpenAPIDefinitions, names definitionNamer) *common.OpenAPIV3Config {
	return &common.OpenAPIV3Config{
		Info:            info(),
		CommonResponses: map[int]*spec3.Response{401: {ResponseProps: spec3.ResponseProps{Description: unauthorized}}},
		Definitions: definitions(func(name string) spec.Ref {
			short, _ := names.name(name)
			return spec.MustCreateRef("#/components/schemas/" + common.EscapeJsonPointer(short))
		}),
		SecuritySchemes: spec3.SecuritySchemes{"BearerToken": &spec3.SecurityScheme{SecuritySchemeProps: spec3.SecuritySchemeProps{
			Type: "apiKey", Name: "authorization", In: "header", Description: "Bearer Token authentication",
		}}},
		DefaultSecurity:                []map[string][]string{bearer},
		GetDefinitionName:              names.name,
		GetOperationIDAndTagsFromRoute: operationID,
	}
}

// operationID names an operation and tags it with its group version.
func operationID(r common.Route) (string, []string, error) {
	own, ok := r.(*route)
	if !ok {
		return "", nil, fmt.Errorf("a %T is not one of our routes", r)
	}
	group, version, tag := own.scope()
	return own.verb + camel(group) + camel(version) + own.operation, []string{tag}, nil
}

// scope is the group and version that a path belongs to, and the tag of both.
func (r *route) scope() (group, version, tag string) {
	parts := strings.Split(strings.Trim(r.path, "/"), "/")
	switch {
	case parts[0] == "api":
		parts = append([]string{"core"}, parts[1:]...)
	case parts[0] == "apis" && len(parts) > 1:
		parts = parts[1:]
	case parts[0] == "apis":
		return "", "", "apis"
	default:
		return "", "", lower(camel(parts[0]), parts[0])
	}
	group = strings.TrimSuffix(parts[0], ".k8s.io")
	tag = lower(camel(group), group)
	if len(parts) > 1 {
		version = parts[1]
		tag += "_" + version
	}
	return group, version, tag
}

// camel joins the words of a dotted or dashed name, each capitalized.
func camel(s string) string {
	var b strings.Builder
	for _, word := range strings.FieldsFunc(s, func(r rune) bool { return r == '.' || r == '-' || r == '/' }) {
		b.WriteString(strings.ToUpper(word[:1]) + word[1:])
	}
	return b.String()
}

// lower gives the camel-cased name its original first letter back, unless
// punctuation stood before it.
func lower(camelCased, original string) string {
	if camelCased == "" || strings.ToUpper(original[:1]) == strings.ToLower(original[:1]) {
		return camelCased
	}
	return original[:1] + camelCased[1:]
}
