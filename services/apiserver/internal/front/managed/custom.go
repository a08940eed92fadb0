package managed

import (
	"fmt"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/custom"
)

// buildCustom makes the field manager of a custom resource, whose types come
// from its definition, or are deduced from its objects where that does not say.
func (m *Managers) buildCustom(at where, d *custom.Definition) (*managedfields.FieldManager, error) {
	types, err := d.Types(at.kind)
	if err != nil {
		types = managedfields.NewDeducedTypeConverter()
	}
	s := d.Strategy(at.kind)
	c := &customConverter{kind: at.kind, definition: d, defaults: s.Default}
	reset := map[fieldpath.APIVersion]fieldpath.Filter{}
	if set := resetFields(s.ResetFields[at.subresource]); set != nil {
		reset[fieldpath.APIVersion(at.kind.APIVersion())] = fieldpath.NewExcludeSetFilter(set)
	}
	f, err := managedfields.NewDefaultCRDFieldManager(types, c, c, c, at.kind.GroupVersionKind(), at.kind.GroupVersion(), at.subresource, reset)
	if err != nil {
		return nil, fmt.Errorf("make the field manager of %s: %w", at.kind, err)
	}
	return f, nil
}

// customConverter makes objects of one kind and converts between the served
// versions of its definition.
type customConverter struct {
	kind       *kinds.Kind
	definition *custom.Definition
	defaults   func(kinds.Object)
}

// ConvertToVersion implements runtime.ObjectConvertor.
func (c *customConverter) ConvertToVersion(in runtime.Object, to runtime.GroupVersioner) (runtime.Object, error) {
	target := c.target(to)
	if target == nil {
		return nil, runtime.NewNotRegisteredErrForTarget("the definition of "+c.kind.String(), nil, to)
	}
	var tree map[string]any
	switch o := in.(type) {
	case *custom.Object:
		if o.GetAPIVersion() == target.APIVersion() {
			return o, nil
		}
		tree = o.DeepCopy().Object
	case *unstructured.Unstructured:
		tree = o.Object
	default:
		return nil, fmt.Errorf("a %T is no custom resource", in)
	}
	out, ok := target.New().(*custom.Object)
	if !ok {
		return nil, fmt.Errorf("%s is no custom resource", target)
	}
	out.Object = tree
	return out, c.definition.Convert(out, target)
}

// target is the served version that a conversion is to.
func (c *customConverter) target(to runtime.GroupVersioner) *kinds.Kind {
	for _, k := range c.definition.Kinds() {
		if gvk, ok := to.KindForGroupVersionKinds([]schema.GroupVersionKind{k.GroupVersionKind()}); ok && gvk == k.GroupVersionKind() {
			return k
		}
	}
	return nil
}

// Convert implements runtime.ObjectConvertor; nothing calls it.
func (c *customConverter) Convert(in, out, _ any) error {
	return fmt.Errorf("there is no conversion of a %T into a %T", in, out)
}

// ConvertFieldLabel implements runtime.ObjectConvertor; nothing calls it.
func (c *customConverter) ConvertFieldLabel(_ schema.GroupVersionKind, label, value string) (string, string, error) {
	return label, value, nil
}

// Default implements runtime.ObjectDefaulter.
func (c *customConverter) Default(in runtime.Object) {
	if o, ok := in.(*custom.Object); ok && c.defaults != nil {
		c.defaults(o)
	}
}

// New implements runtime.ObjectCreater.
func (c *customConverter) New(gvk schema.GroupVersionKind) (runtime.Object, error) {
	if gvk != c.kind.GroupVersionKind() {
		return nil, runtime.NewNotRegisteredErrForKind("the definition of "+c.kind.String(), gvk)
	}
	o := c.kind.New()
	o.GetObjectKind().SetGroupVersionKind(gvk)
	return o, nil
}
