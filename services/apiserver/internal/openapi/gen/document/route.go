package document

import (
	"net/http"
	"strings"

	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/kube-openapi/pkg/common"
)

// container is the routes of one v3 document.
type container struct {
	root         string
	groupVersion schema.GroupVersion
	routes       []*route
}

// document is the name of the v3 document: the path without slashes around it.
func (c *container) document() string { return strings.Trim(c.root, "/") }

func (c *container) RootPath() string                   { return c.root }
func (c *container) PathParameters() []common.Parameter { return nil }

func (c *container) Routes() []common.Route {
	out := make([]common.Route, 0, len(c.routes))
	for _, r := range c.routes {
		out = append(out, r)
	}
	return out
}

// route is one operation.
type route struct {
	method, path string
	// verb and operation make the ID, the group version between them.
	verb, operation    string
	description        string
	consumes, produces []string
	params             []common.Parameter
	body               any
	responses          []common.StatusCodeResponse
	action             string
	kind               schema.GroupVersionKind
}

func (r *route) Method() string                                   { return r.method }
func (r *route) Path() string                                     { return r.path }
func (r *route) OperationName() string                            { return r.operation }
func (r *route) Parameters() []common.Parameter                   { return r.params }
func (r *route) Description() string                              { return r.description }
func (r *route) Consumes() []string                               { return r.consumes }
func (r *route) Produces() []string                               { return r.produces }
func (r *route) RequestPayloadSample() any                        { return r.body }
func (r *route) ResponsePayloadSample() any                       { return nil }
func (r *route) StatusCodeResponses() []common.StatusCodeResponse { return r.responses }

func (r *route) Metadata() map[string]any {
	if r.action == "" {
		return nil
	}
	return map[string]any{
		"x-kubernetes-action":             r.action,
		"x-kubernetes-group-version-kind": extension(r.kind),
	}
}

// answers adds a response of the model for each code.
func (r *route) answers(model any, codes ...int) {
	for _, code := range codes {
		r.responses = append(r.responses, response{code, http.StatusText(code), model})
	}
}

type response struct {
	code    int
	message string
	model   any
}

func (r response) Code() int       { return r.code }
func (r response) Message() string { return r.message }
func (r response) Model() any      { return r.model }

type parameter struct {
	name, description, dataType string
	required                    bool
	kind                        common.ParameterKind
}

func (p parameter) Name() string               { return p.name }
func (p parameter) Description() string        { return p.description }
func (p parameter) Required() bool             { return p.required }
func (p parameter) Kind() common.ParameterKind { return p.kind }
func (p parameter) DataType() string           { return p.dataType }
func (p parameter) AllowMultiple() bool        { return false }

func inPath(name, description string) parameter {
	return parameter{name: name, description: description, dataType: "string", required: true, kind: common.PathParameterKind}
}

func inQuery(name, description, dataType string) parameter {
	return parameter{name: name, description: description, dataType: dataType, kind: common.QueryParameterKind}
}

func inBody(typeName string, required bool) parameter {
	return parameter{name: "body", dataType: typeName, required: required, kind: common.BodyParameterKind}
}
