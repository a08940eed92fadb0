package publish

import (
	"net/http"
	"strings"

	"k8s.io/kube-openapi/pkg/common"
)

// container is the routes of one document.
type container struct{ routes []common.Route }

func (*container) RootPath() string                   { return "" }
func (*container) PathParameters() []common.Parameter { return nil }
func (c *container) Routes() []common.Route           { return c.routes }

// route is one operation.
type route struct {
	method, path, operation, description string
	action                               string
	kind                                 map[string]any
	consumes                             []string
	parameters                           []common.Parameter
	body                                 any
	responses                            []common.StatusCodeResponse
}

var mediaTypes = []string{"application/json", "application/yaml"}

func (r *route) Method() string                                   { return r.method }
func (r *route) Path() string                                     { return r.path }
func (r *route) OperationName() string                            { return r.operation }
func (r *route) Parameters() []common.Parameter                   { return r.parameters }
func (r *route) Description() string                              { return r.description }
func (r *route) Consumes() []string                               { return r.consumes }
func (*route) Produces() []string                                 { return mediaTypes }
func (r *route) RequestPayloadSample() any                        { return r.body }
func (*route) ResponsePayloadSample() any                         { return nil }
func (r *route) StatusCodeResponses() []common.StatusCodeResponse { return r.responses }

func (r *route) Metadata() map[string]any {
	return map[string]any{"x-kubernetes-action": r.action, kindExtension: r.kind}
}

func (r *route) answers(m model, codes ...int) {
	for _, code := range codes {
		r.responses = append(r.responses, response{code, m})
	}
}

// model stands for a schema; the builders ask it for its name.
type model string

// OpenAPIModelName implements what kube-openapi asks types for.
func (m model) OpenAPIModelName() string { return string(m) }

type response struct {
	code  int
	model model
}

func (r response) Code() int       { return r.code }
func (r response) Message() string { return http.StatusText(r.code) }
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
func (parameter) AllowMultiple() bool          { return false }

// operationID names an operation and tags it with its group version.
func operationID(r common.Route) (string, []string, error) {
	parts := strings.Split(strings.Trim(r.Path(), "/"), "/") // apis, group, version, ...
	group := strings.TrimSuffix(parts[1], ".k8s.io")
	verb, rest := verbOf(r.OperationName())
	id := verb + identifier(group, true) + identifier(parts[2], true) + identifier(rest, true)
	return id, []string{identifier(group, false) + "_" + identifier(parts[2], false)}, nil
}

// verbOf splits an operation's name after the shortest verb that it begins
// with, which makes "delete" and "Collection..." of "deletecollection...".
func verbOf(operation string) (verb, rest string) {
	for _, verb := range []string{"read", "replace", "patch", "delete", "list", "create"} {
		if rest, ok := strings.CutPrefix(operation, verb); ok {
			return verb, rest
		}
	}
	return operation, ""
}

// identifier drops punctuation and capitalizes what follows it.
func identifier(s string, capitalize bool) string {
	var b strings.Builder
	for i, r := range s {
		switch {
		case !(isLetter(r) || r == '_' || (i != 0 && r >= '0' && r <= '9')):
			capitalize = true
		case capitalize:
			b.WriteString(strings.ToUpper(string(r)))
			capitalize = false
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

func isLetter(r rune) bool { return (r >= 'a' && r <= 'z') || (r >= 'A' && r <= 'Z') }
