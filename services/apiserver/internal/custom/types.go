package custom

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/managedfields"
	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/validation/spec"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
	"sigs.k8s.io/structured-merge-diff/v6/typed"

	"coracle.local/services/apiserver/internal/custom/publish"
	"coracle.local/services/apiserver/internal/openapi"
)

// types turns objects into values whose type is known.
type types struct {
	kind   string
	parsed map[string]typed.ParseableType // by apiVersion
}

func (d *Definition) newTypes() (managedfields.TypeConverter, error) {
	crd := d.Whole()
	models := map[string]*spec.Schema{}
	for i := range crd.Spec.Versions {
		more, err := publish.Models(crd, crd.Spec.Versions[i].Name)
		if err != nil {
			return nil, err
		}
		maps.Copy(models, more)
	}
	s, err := schemaconv.ToSchemaFromOpenAPI(models, crd.Spec.PreserveUnknownFields)
	if err != nil {
		return nil, fmt.Errorf("make types of %s: %w", crd.Name, err)
	}
	meta, err := metaTypes()
	if err != nil {
		return nil, err
	}
	parser := &typed.Parser{Schema: smd.Schema{Types: append(s.Types, meta...)}}
	t := &types{kind: d.storage.kind.Kind, parsed: map[string]typed.ParseableType{}}
	for _, v := range d.versions {
		t.parsed[v.kind.APIVersion()] = parser.Type(publish.ModelName(crd.Spec.Group, v.spec.Name, crd.Spec.Names.Kind))
	}
	return t, nil
}

// metaTypes are the types of what every object has in its metadata.
var metaTypes = sync.OnceValues(func() ([]smd.TypeDef, error) {
	all, err := openapi.Types()
	if err != nil {
		return nil, err
	}
	const prefix = "io.k8s.apimachinery.pkg.apis.meta.v1."
	var out []smd.TypeDef
	for _, t := range all.Types {
		name, ok := strings.CutPrefix(t.Name, prefix)
		if ok && slices.Contains([]string{"ObjectMeta", "ListMeta", "ManagedFieldsEntry", "FieldsV1", "OwnerReference", "Time"}, name) {
			out = append(out, t)
		}
	}
	return out, nil
})

// ObjectToTyped implements managedfields.TypeConverter.
func (t *types) ObjectToTyped(obj runtime.Object, options ...typed.ValidationOptions) (*typed.TypedValue, error) {
	tree, err := treeOf(obj)
	if err != nil {
		return nil, err
	}
	apiVersion, _ := tree["apiVersion"].(string)
	parsed, ok := t.parsed[apiVersion]
	if !ok || tree["kind"] != t.kind {
		return nil, fmt.Errorf("no corresponding type for %v", obj.GetObjectKind().GroupVersionKind())
	}
	return parsed.FromUnstructured(tree, options...)
}

// TypedToObject implements managedfields.TypeConverter.
func (*types) TypedToObject(v *typed.TypedValue) (runtime.Object, error) {
	tree, ok := v.AsValue().Unstructured().(map[string]any)
	if !ok {
		return nil, fmt.Errorf("failed to convert value to unstructured for type %T", v.AsValue().Unstructured())
	}
	return &unstructured.Unstructured{Object: tree}, nil
}

func treeOf(obj runtime.Object) (map[string]any, error) {
	switch o := obj.(type) {
	case *Object:
		return o.Object, nil
	case *unstructured.Unstructured:
		return o.Object, nil
	}
	return nil, fmt.Errorf("a %T is no custom resource", obj)
}
