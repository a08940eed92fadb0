package rest

import (
	"net/http"
	"slices"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/cache"
	"coracle.local/services/apiserver/internal/custom"
	"coracle.local/services/apiserver/internal/front/body"
	"coracle.local/services/apiserver/internal/front/negotiate"
	"coracle.local/services/apiserver/internal/front/patches"
	"coracle.local/services/apiserver/internal/front/rest/respond"
	"coracle.local/services/apiserver/internal/front/rest/surface"
)

// is tells whether the request is about a kind of the table.
func (c *call) is(kind string) bool { return !c.kind.Custom() && c.kind.Kind == kind }

// custom routes a request about a custom resource. What is no path of it is not
// served at all, and what the path does not have is refused by name: upstream
// routes these by hand, as it does no other kind.
func (c *call) custom() error {
	t := &c.t
	switch {
	case strings.Contains(t.Path, "//"), t.Verb == "proxy":
		return c.extra()
	case !c.kind.Namespaced && t.Namespace != "":
		return c.extra()
	case c.kind.Namespaced && t.Namespace == "" && t.Verb != "list" && t.Verb != "watch":
		return c.extra()
	case t.Subresource != "" && !c.kind.HasSubresource(t.Subresource):
		return apierrors.NewNotFound(c.kind.GroupResource(), t.Name)
	}
	c.namespace = t.Namespace
	if c.r.Method == http.MethodHead { // whose answer loses its body on its way
		get := *c.r
		get.Method = http.MethodGet
		c.r = &get
	}
	if s := c.Registry.Strategy(c.kind); s != nil && s.Deprecation != "" {
		c.warn([]string{s.Deprecation})
	}
	var err error
	switch {
	case t.Prefixed:
		err = c.olderWatch()
	case t.Subresource != "":
		err = c.subresource()
	case t.Name == "" && (t.Verb == "update" || t.Verb == "patch"):
		return apierrors.NewBadRequest("name must be provided")
	case t.Verb == "create":
		return c.create() // whatever name the path has
	case c.many():
		err = c.collection()
	default:
		err = c.item()
	}
	if c.w.code == 0 && isMethodNotAllowed(err) {
		return apierrors.NewMethodNotSupported(c.kind.GroupResource(), t.Verb)
	}
	return err
}

func isMethodNotAllowed(err error) bool {
	if err == nil {
		return false
	}
	s := respond.Status(err)
	return s.Code == http.StatusMethodNotAllowed && (s.Details == nil || s.Details.Kind == "")
}

// decodeCustom reads a custom resource from a body. The object keeps nothing of
// what it says that it is, once that is checked.
func (c *call) decodeCustom(data []byte, e negotiate.Encoding, want body.Expected, into *custom.Object, fieldValidation string) error {
	var is schema.GroupVersionKind
	want.Read = c.readers()(into)
	want.Is = func(have schema.GroupVersionKind) { is = have }
	texts, err := body.Decode(data, e, want, into, body.StrictnessOf(fieldValidation))
	if err != nil {
		return err
	}
	c.warn(texts)
	return body.CheckCustom(want.Kind, is, into.GetName())
}

// readers makes the readers of custom resources; nil for other kinds.
func (c *call) readers() func(runtime.Object) func([]byte, bool) ([]error, error) {
	d := custom.Of(c.kind)
	if d == nil {
		return nil
	}
	return func(into runtime.Object) func([]byte, bool) ([]error, error) {
		o, ok := into.(*custom.Object)
		if !ok {
			return nil // a scale
		}
		return func(data []byte, strict bool) ([]error, error) {
			read, wrong, err := d.Decode(c.kind, data, strict)
			if err == nil {
				*o = *read
			}
			return wrong, err
		}
	}
}

// customPatches are the types of patches that custom resources take: for a
// strategic one there is no struct whose tags could guide it.
var customPatches = []string{string(types.JSONPatchType), string(types.MergePatchType), string(types.ApplyYAMLPatchType)}

// patchType is the type of the request's patch.
func (c *call) patchType() (types.PatchType, error) {
	t, err := patches.TypeOf(c.r)
	if c.kind.Custom() && (err != nil || !slices.Contains(customPatches, string(t))) {
		return "", negotiate.Unsupported(customPatches...)
	}
	return t, err
}

// accept finds the output that the request asks for. Custom resources have no
// form in protobuf; their metadata has.
func (c *call) accept(restriction negotiate.Restriction) (negotiate.Output, error) {
	if c.kind.Custom() {
		return negotiate.AcceptCustom(c.r, restriction)
	}
	out, err := negotiate.Accept(c.r, restriction)
	if err == nil && out.Shape == negotiate.Table && restriction == negotiate.Objects {
		if s := surface.Of(c.kind, c.t.Subresource); s != nil && s.Untabled {
			return negotiate.Accept(c.r, negotiate.Untabled)
		}
	}
	return out, err
}

// readable makes sure that the items of a list can all be shown before the
// answer begins: a conversion may fail.
func readable(items []*cache.Item) error {
	for _, i := range items {
		if _, err := i.JSON(); err != nil {
			return apierrors.NewInternalError(err)
		}
	}
	return nil
}

// shaped is an object that is shown in another shape than its own.
type shaped interface {
	respond.Encoded
	Decode() (kinds.Object, error)
}

func shownItem(items []*cache.Item) func(int) (shaped, error) {
	return func(i int) (shaped, error) { return items[i], nil }
}

func listOf(k *kinds.Kind) respond.Kinds {
	return respond.Kinds{Item: k.GroupVersionKind(), List: k.ListGroupVersionKind(), Custom: k.Custom()}
}
