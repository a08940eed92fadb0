package document

import (
	"net/http"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/front/rest/surface"
)

var (
	mediaTypes       = []string{"application/json", "application/yaml", "application/vnd.kubernetes.protobuf"}
	streamMediaTypes = append(slices.Clone(mediaTypes), "application/json;stream=watch", "application/vnd.kubernetes.protobuf;stream=watch")
	patchMediaTypes  = []string{
		"application/json-patch+json", "application/merge-patch+json",
		"application/strategic-merge-patch+json", "application/apply-patch+yaml",
	}
	anyMediaType = []string{"*/*"}
)

const (
	deprecatedWatch     = ". deprecated: use the 'watch' parameter with a list operation instead, filtered to a single item with the 'fieldSelector' parameter."
	deprecatedWatchList = ". deprecated: use the 'watch' parameter with a list operation instead."
)

// operations makes the routes of one kind.
type operations struct {
	kind *kinds.Kind
	root string
	out  []*route
}

func kindRoutes(root string, k *kinds.Kind) []*route {
	o := &operations{kind: k, root: root}
	o.collection()
	o.item()
	for _, name := range k.Subresources {
		o.subresource(surface.Of(k, name))
	}
	return o.out
}

// scoped is "Namespaced" in the IDs of operations in a namespace.
func (o *operations) scoped() string {
	if o.kind.Namespaced {
		return "Namespaced"
	}
	return ""
}

func (o *operations) path(prefix, suffix string) string {
	if o.kind.Namespaced {
		return o.root + prefix + "namespaces/{namespace}/" + o.kind.Plural + suffix
	}
	return o.root + prefix + o.kind.Plural + suffix
}

// add makes a route with the parameters that its path names.
func (o *operations) add(method, path, verb, operation, description string) *route {
	r := &route{
		method: method, path: path, verb: verb, operation: operation, description: description,
		consumes: anyMediaType, produces: mediaTypes, kind: o.kind.GroupVersionKind(), action: strings.ToLower(method),
	}
	o.pathParameters(r, o.kind.Kind)
	r.params = append(r.params, inQuery("pretty", prettyDescription, "string"))
	o.out = append(o.out, r)
	return r
}

func (o *operations) pathParameters(r *route, named string) {
	if strings.Contains(r.path, "{namespace}") {
		r.params = append(r.params, inPath("namespace", "object name and auth scope, such as for teams and projects"))
	}
	if strings.Contains(r.path, "{name}") {
		r.params = append(r.params, inPath("name", "name of the "+named))
	}
	if strings.Contains(r.path, "{path}") {
		r.params = append(r.params, inPath("path", "path to the resource"))
	}
}

func (o *operations) collection() {
	k := o.kind
	path := o.path("", "")
	if k.Has("list") {
		o.list(path, o.scoped()+k.Kind)
	}
	if k.Has("create") {
		r := o.add(http.MethodPost, path, "create", o.scoped()+k.Kind, "create"+article(k.Kind)+k.Kind)
		o.takes(r, k.New())
		r.answers(k.New(), 200, 201, 202)
		r.params = append(r.params, fromOptions(&metav1.CreateOptions{})...)
	}
	if k.Has("deletecollection") {
		r := o.add(http.MethodDelete, path, "delete", "Collection"+o.scoped()+k.Kind, "delete collection of "+k.Kind)
		r.action = "deletecollection"
		r.answers(&metav1.Status{}, 200)
		r.body = &metav1.DeleteOptions{}
		r.params = append(r.params, inBody("v1.DeleteOptions", false))
		r.params = append(r.params, fromOptions(&metav1.DeleteOptions{})...)
		r.params = append(r.params, fromOptions(&metav1.ListOptions{}, "watch", "allowWatchBookmarks")...)
	}
	if k.Has("watch") {
		o.watchList(o.path("watch/", ""), o.scoped()+k.Kind+"List")
	}
	if k.Namespaced && k.Has("list") {
		o.list(o.root+k.Plural, k.Kind+"ForAllNamespaces")
	}
	if k.Namespaced && k.Has("watch") {
		o.watchList(o.root+"watch/"+k.Plural, k.Kind+"ListForAllNamespaces")
	}
}

func (o *operations) list(path, operation string) {
	what := "list objects of kind "
	if o.kind.Has("watch") {
		what = "list or watch objects of kind "
	}
	r := o.add(http.MethodGet, path, "list", operation, what+o.kind.Kind)
	r.action, r.produces = "list", streamMediaTypes
	r.answers(o.kind.NewList(), 200)
	r.params = append(r.params, fromOptions(&metav1.ListOptions{})...)
}

func (o *operations) watchList(path, operation string) {
	o.watch(path, operation, "watchlist", "watch individual changes to a list of "+o.kind.Kind+deprecatedWatchList)
}

func (o *operations) watch(path, operation, action, description string) {
	r := o.add(http.MethodGet, path, "watch", operation, description)
	r.action, r.produces = action, streamMediaTypes
	r.answers(&metav1.WatchEvent{}, 200)
	r.params = append(r.params, fromOptions(&metav1.ListOptions{})...)
}

func (o *operations) item() {
	k := o.kind
	path := o.path("", "/{name}")
	if k.Has("get") {
		o.read(path, "", k.New())
	}
	if k.Has("update") {
		o.replace(path, "", k.New())
	}
	if k.Has("patch") {
		o.patch(path, "", k.New())
	}
	if k.Has("delete") {
		r := o.add(http.MethodDelete, path, "delete", o.scoped()+k.Kind, "delete"+article(k.Kind)+k.Kind)
		var answer any = &metav1.Status{}
		// Of a namespace the documents say less than is answered.
		if surface.ReturnsDeleted(k) && k.Kind != "Namespace" {
			answer = k.New()
		}
		r.answers(answer, 200, 202)
		r.body = &metav1.DeleteOptions{}
		r.params = append(r.params, inBody("v1.DeleteOptions", false))
		r.params = append(r.params, fromOptions(&metav1.DeleteOptions{})...)
	}
	if k.Has("watch") {
		o.watch(o.path("watch/", "/{name}"), o.scoped()+k.Kind, "watch", "watch changes to an object of kind "+k.Kind+deprecatedWatch)
	}
}

// takes makes the object the request's body.
func (o *operations) takes(r *route, object any) {
	r.body = object
	r.params = append(r.params, inBody("", true))
}

func (o *operations) read(path, sub string, object any) *route {
	r := o.add(http.MethodGet, path, "read", o.scoped()+o.kind.Kind+title(sub), about("read", sub, o.kind.Kind))
	r.answers(object, 200)
	return r
}

func (o *operations) replace(path, sub string, object any) *route {
	r := o.add(http.MethodPut, path, "replace", o.scoped()+o.kind.Kind+title(sub), about("replace", sub, o.kind.Kind))
	o.takes(r, object)
	r.answers(object, 200, 201)
	r.params = append(r.params, fromOptions(&metav1.UpdateOptions{})...)
	return r
}

func (o *operations) patch(path, sub string, object any) *route {
	r := o.add(http.MethodPatch, path, "patch", o.scoped()+o.kind.Kind+title(sub), about("partially update", sub, o.kind.Kind))
	o.takes(r, metav1.Patch{})
	r.consumes = patchMediaTypes
	r.answers(object, 200, 201)
	r.params = append(r.params, fromOptions(&metav1.PatchOptions{})...)
	return r
}

// about describes an operation on an object, or on a subresource of it.
func about(verb, sub, kind string) string {
	if sub != "" {
		return verb + " " + sub + " of the specified " + kind
	}
	return verb + " the specified " + kind
}

func title(s string) string {
	if s == "" {
		return ""
	}
	return strings.ToUpper(s[:1]) + s[1:]
}

// article is the indefinite article of a kind, between spaces.
func article(kind string) string {
	if strings.HasSuffix(kind, "s") && !strings.HasSuffix(kind, "ss") {
		return " "
	}
	if strings.ContainsRune("AEIOU", rune(kind[0])) {
		return " an "
	}
	return " a "
}

func rootOf(gv schema.GroupVersion) string {
	if gv.Group == "" {
		return "/api/" + gv.Version + "/"
	}
	return "/apis/" + gv.Group + "/" + gv.Version + "/"
}
