package managed

import (
	"fmt"
	"strings"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/openapi"
)

// types turns objects into values whose type is known, by the schema that was
// made together with the OpenAPI documents.
type types struct{ parser *typed.Parser }

func loadTypes() (*types, error) {
	s, err := openapi.Types()
	if err != nil {
		return nil, err
	}
	return &types{parser: &typed.Parser{Schema: smd.Schema{Types: s.Types}}}, nil
}

// ObjectToTyped implements managedfields.TypeConverter.
func (t *types) ObjectToTyped(obj runtime.Object, options ...typed.ValidationOptions) (*typed.TypedValue, error) {
	gvk := obj.GetObjectKind().GroupVersionKind()
	k := kinds.ByKind(gvk)
	if k == nil {
		return nil, fmt.Errorf("no corresponding type for %v", gvk)
	}
	name := t.parser.Type(nameOf(k))
	if u, ok := obj.(*unstructured.Unstructured); ok {
		return name.FromUnstructured(u.UnstructuredContent(), options...)
	}
	return name.FromStructured(obj, options...)
}

// TypedToObject implements managedfields.TypeConverter.
func (*types) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	content, ok := v.AsValue().Unstructured().(map[string]any)
	if !ok {
		return nil, fmt.Errorf("a %T is no object", v.AsValue().Unstructured())
	}
	return &unstructured.Unstructured{Object: content}, nil
}

// nameOf is the name of a kind's type in the documents: io.k8s.api.core.v1.Pod
// for k8s.io.api.core.v1.Pod.
func nameOf(k *kinds.Kind) string {
	if n, ok := k.New().(interface{ OpenAPIModelName() string }); ok {
		return n.OpenAPIModelName()
	}
	return "io.k8s." + strings.TrimPrefix(k.Message, "k8s.io.")
}

// converter makes objects of one kind. There is one version of each, so nothing
// is converted between versions.
type converter struct {
	kind     *kinds.Kind
	defaults func(kinds.Object)
}

// ConvertToVersion implements runtime.ObjectConvertor.
func (c *converter) ConvertToVersion(in runtime.Object, to runtime.GroupVersioner) (runtime.Object, error) {
	if gvk, ok := to.KindForGroupVersionKinds([]schema.GroupVersionKind{c.kind.GroupVersionKind()}); !ok || gvk != c.kind.GroupVersionKind() {
		return nil, runtime.NewNotRegisteredErrForTarget("the table of kinds", nil, to)
	}
	u, ok := in.(*unstructured.Unstructured)
	if !ok {
		return in, nil
	}
	out := c.kind.New()
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, out); err != nil {
		return nil, err
	}
	return out, nil
}

// Convert implements runtime.ObjectConvertor; nothing calls it.
func (c *converter) Convert(in, out, _ any) error {
	return fmt.Errorf("there is no conversion of a %T into a %T", in, out)
}

// ConvertFieldLabel implements runtime.ObjectConvertor; nothing calls it.
func (c *converter) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

// Default implements runtime.ObjectDefaulter.
func (c *converter) Default(in runtime.Object) {
	if o, ok := in.(kinds.Object); ok && c.defaults != nil {
		c.defaults(o)
	}
}

// New implements runtime.ObjectCreater.
func (c *converter) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	if gvk != c.kind.GroupVersionKind() {
		return nil, runtime.NewNotRegisteredErrForKind("the table of kinds", gvk)
	}
	o := c.kind.New()
	o.GetObjectKind().SetGroupVersionKind(gvk)
	return o, nil
}

// resetFields are those that a write cannot set; they are never noted.
func resetFields(paths []string) *fieldpath.Set {
	if len(paths) == 0 {
		return nil
	}
	set := fieldpath.NewSet()
	for _, path := range paths {
		var parts []any
		for _, part := range strings.Split(path, ".") {
			parts = append(parts, part)
		}
		set.Insert(fieldpath.MakePathOrDie(parts...))
	}
	return set
}
