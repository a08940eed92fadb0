package document

import (
	"net/http"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/apiserver/internal/front/rest/surface"
)

func (o *operations) subresource(s *surface.Subresource) {
	path := o.path("", "/{name}/"+s.Name)
	before := len(o.out)
	var object any = o.kind.New()
	if s.New != nil {
		object = s.New()
	}
	switch s.Form {
	case surface.Change:
		o.read(path, s.Name, object)
		o.replace(path, s.Name, object)
		o.patch(path, s.Name, object)
	case surface.Replace:
		o.replace(path, s.Name, object)
	case surface.Action:
		r := o.add(http.MethodPost, path, "create", o.scoped()+o.kind.Kind+title(s.Name),
			"create "+s.Name+" of"+article(o.kind.Kind)+o.kind.Kind)
		o.takes(r, object)
		r.answers(object, 200, 201, 202)
		r.params = append(r.params, fromOptions(&metav1.CreateOptions{})...)
	case surface.Read:
		r := o.read(path, s.Name, "")
		r.produces = append([]string{"text/plain"}, mediaTypes...)
		r.params = append(r.params, fromOptions(s.Options())...)
	case surface.Connect:
		o.connect(s, path, "")
		if s.Path {
			o.connect(s, path+"/{path}", "WithPath")
		}
	}
	// Parameters and extensions speak of what the subresource takes.
	for _, r := range o.out[before:] {
		r.kind = s.Kind
		for i, p := range r.params {
			if own, ok := p.(parameter); ok && own.name == "name" {
				own.description = "name of the " + s.Kind.Kind
				r.params[i] = own
			}
		}
	}
}

func (o *operations) connect(s *surface.Subresource, path, suffix string) {
	for _, method := range s.Methods {
		r := &route{
			method: method, path: path, verb: "connect",
			operation:   title(strings.ToLower(method)) + o.scoped() + o.kind.Kind + title(s.Name) + suffix,
			description: "connect " + method + " requests to " + s.Name + " of " + o.kind.Kind,
			consumes:    anyMediaType, produces: anyMediaType, action: "connect",
		}
		o.pathParameters(r, s.Kind.Kind)
		r.params = append(r.params, fromOptions(s.Options())...)
		r.answers("", 200)
		o.out = append(o.out, r)
	}
}
