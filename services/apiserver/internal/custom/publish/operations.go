package publish

import (
	"net/http"
	"reflect"
	"strings"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/kube-openapi/pkg/common"
)

const (
	status        = model(meta + "Status")
	patch         = model(meta + "Patch")
	deleteOptions = model(meta + "DeleteOptions")
	scale         = model("io.k8s.api.autoscaling.v1.Scale")

	pretty = "If 'true', then the output is pretty printed. Defaults to 'false' unless the user-agent indicates a browser or command-line HTTP tool (curl and wget)."
)

var patchTypes = []string{"application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"}

// routes are all operations of the version.
func (r resource) routes() []common.Route {
	names, spec := r.crd.Spec.Names, r.crd.Spec
	object, list := model(r.model(names.Kind)), model(r.model(names.ListKind))
	root := "/apis/" + spec.Group + "/" + r.version.Name + "/" + names.Plural
	var out []common.Route
	add := func(root, path, method, action, verb string, answer model) *route {
		o := r.operation(root, path, method, action, verb, answer)
		out = append(out, o)
		return o
	}
	if r.namespaced() {
		add(root, "", http.MethodGet, "list", "list", list).operation = "list" + names.Kind + "ForAllNamespaces"
		root = "/apis/" + spec.Group + "/" + r.version.Name + "/namespaces/{namespace}/" + names.Plural
	}
	add(root, "", http.MethodGet, "list", "list", list)
	add(root, "", http.MethodPost, "post", "create", object).takes(object, true)
	add(root, "", http.MethodDelete, "deletecollection", "deletecollection", status)
	r.change(add, root, "/{name}", object)
	add(root, "/{name}", http.MethodDelete, "delete", "delete", status).takes(deleteOptions, false)
	if subs := r.version.Subresources; subs != nil {
		if subs.Status != nil {
			r.change(add, root, "/{name}/status", object)
		}
		if subs.Scale != nil {
			r.change(add, root, "/{name}/scale", scale)
		}
	}
	return out
}

func (r resource) namespaced() bool { return r.crd.Spec.Scope == apiextensionsv1.NamespaceScoped }

// change reads, replaces and patches an object.
func (r resource) change(add func(root, path, method, action, verb string, answer model) *route, root, path string, object model) {
	add(root, path, http.MethodGet, "get", "read", object)
	add(root, path, http.MethodPut, "put", "replace", object).takes(object, true)
	add(root, path, http.MethodPatch, "patch", "patch", object).takes(patch, true)
}

func (r resource) operation(root, path, method, action, verb string, answer model) *route {
	kind := r.crd.Spec.Names.Kind
	scoped := ""
	if r.namespaced() {
		scoped = "Namespaced"
	}
	sub := strings.TrimPrefix(strings.TrimPrefix(path, "/{name}"), "/")
	o := &route{
		method: method, path: root + path, operation: verb + scoped + kind + title(sub), description: description(verb, sub, kind),
		action: action, consumes: mediaTypes,
		kind: map[string]any{"group": r.crd.Spec.Group, "version": r.version.Name, "kind": kind},
	}
	if method == http.MethodPatch {
		o.consumes = patchTypes
	}
	o.parameters = append(o.parameters, parameter{name: "pretty", description: pretty, dataType: "string", kind: common.QueryParameterKind})
	o.inPath("namespace", "object name and auth scope, such as for teams and projects")
	o.inPath("name", "name of the "+kind)
	o.parameters = append(o.parameters, options(optionsOf(action))...)
	o.answers(answer, codes(action)...)
	return o
}

// codes are the statuses of success.
func codes(action string) []int {
	switch action {
	case "post":
		return []int{http.StatusOK, http.StatusCreated, http.StatusAccepted}
	case "put":
		return []int{http.StatusOK, http.StatusCreated}
	case "delete":
		return []int{http.StatusOK, http.StatusAccepted}
	}
	return []int{http.StatusOK}
}

func (r *route) inPath(name, description string) {
	if strings.Contains(r.path, "{"+name+"}") {
		r.parameters = append(r.parameters, parameter{name: name, description: description, dataType: "string", required: true, kind: common.PathParameterKind})
	}
}

// takes gives the operation a body.
func (r *route) takes(m model, required bool) {
	r.body = m
	r.parameters = append(r.parameters, parameter{name: "body", dataType: string(m), required: required, kind: common.BodyParameterKind})
}

func title(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

func description(verb, sub, kind string) string {
	of := ""
	if sub != "" {
		of = " " + sub + " of"
	}
	switch verb {
	case "list":
		return "list" + of + " objects of kind " + kind
	case "read", "replace":
		return verb + of + " the specified " + kind
	case "patch":
		return "partially update" + of + " the specified " + kind
	case "deletecollection":
		return "delete collection of " + kind
	}
	return verb + of + article(kind) + kind
}

// article is upstream's, which takes most words in s for plurals.
func article(noun string) string {
	switch {
	case strings.HasSuffix(noun, "s") && !strings.HasSuffix(noun, "ss"):
		return " "
	case strings.ContainsRune("aeiouAEIOU", rune(noun[0])):
		return " an "
	}
	return " a "
}

type documented interface{ SwaggerDoc() map[string]string }

func optionsOf(action string) documented {
	switch action {
	case "get":
		return metav1.GetOptions{}
	case "list", "deletecollection":
		return metav1.ListOptions{}
	case "put":
		return metav1.UpdateOptions{}
	case "patch":
		return metav1.PatchOptions{}
	case "post":
		return metav1.CreateOptions{}
	}
	return metav1.DeleteOptions{}
}

// options makes query parameters of the simple fields of an options struct.
func options(o documented) []common.Parameter {
	doc := o.SwaggerDoc()
	var out []common.Parameter
	t := reflect.TypeOf(o)
	for i := range t.NumField() {
		f := t.Field(i)
		name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
		if dataType := queryType(f.Type); name != "" && dataType != "" {
			out = append(out, parameter{name: name, description: doc[name], dataType: dataType, kind: common.QueryParameterKind})
		}
	}
	return out
}

// queryType is the JSON type of a field in a query; empty for fields that have
// no place there.
func queryType(t reflect.Type) string {
	if t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice {
		t = t.Elem()
	}
	switch t.Kind() {
	case reflect.Bool:
		return "boolean"
	case reflect.Int32, reflect.Int64:
		return "integer"
	case reflect.String:
		return "string"
	}
	return ""
}
