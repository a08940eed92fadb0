package custom

import (
	"fmt"

	structuralschema "k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	structuraldefaulting "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	schemaobjectmeta "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	structuralpruning "k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	kjson "sigs.k8s.io/json"
)

func (v *version) decode(data []byte, strict bool) (*Object, []error, error) {
	o := v.kind.New().(*Object)
	if !strict {
		if err := o.UnmarshalJSON(data); err != nil {
			return nil, nil, err
		}
		_, err := v.settle(o, false)
		return o, nil, err
	}
	tree := map[string]any{}
	wrong, err := kjson.UnmarshalStrict(data, &tree)
	if err != nil {
		return nil, nil, err
	}
	if tree == nil {
		return nil, nil, errNoObject
	}
	o.Object = tree
	unknown, err := v.settle(o, true)
	return o, append(wrong, unknown...), err
}

func (v *version) settle(o *Object, strict bool) ([]error, error) {
	settler := v.in(o.Object)
	if settler == nil && v.strange(o.Object) {
		settler = v.definition.nothing()
	}
	unknown, err := settler.coerce(o.Object, coercion{strict: strict})
	if err != nil {
		return nil, err
	}
	if settler != nil {
		settler.complete(o.Object)
	}
	var wrong []error
	for _, path := range unknown {
		wrong = append(wrong, fmt.Errorf("unknown field %q", path))
	}
	return wrong, nil
}

// in is the version whose schema a tree is held to: that of its apiVersion, or
// v if it does not say. Nil if it is not of the definition at all.
func (v *version) in(tree map[string]any) *version {
	kind, hasKind := tree["kind"].(string)
	apiVersion, hasVersion := tree["apiVersion"].(string)
	if hasKind && kind != "" && kind != v.kind.Kind {
		return nil
	}
	if !hasVersion || apiVersion == "" || apiVersion == v.kind.APIVersion() {
		return v
	}
	return v.definition.named(apiVersion)
}

// strange tells whether a tree is of the right kind and group, in a version
// that is none. Nothing in it is known, then.
func (v *version) strange(tree map[string]any) bool {
	apiVersion, _ := tree["apiVersion"].(string)
	gv, err := schema.ParseGroupVersion(apiVersion)
	return err == nil && gv.Group == v.kind.Group && tree["kind"] == v.kind.Kind
}

// nothing is a version whose schema knows no fields.
func (d *Definition) nothing() *version {
	out := &version{definition: d}
	out.structural = func() (*structuralschema.Structural, error) { return nil, nil }
	return out
}

// named is the version with an apiVersion, nil if there is none.
func (d *Definition) named(apiVersion string) *version {
	for _, v := range d.versions {
		if v.kind.APIVersion() == apiVersion {
			return v
		}
	}
	return nil
}

// coercion says how a tree is coerced.
type coercion struct {
	// lenient drops metadata that does not fit instead of failing, and gives
	// very old objects a generation: for what is stored.
	lenient bool
	// strict names the fields that are dropped.
	strict bool
}

// coerce makes of a tree what decoding into a struct makes of other kinds. It
// works on any tree that is an object; a nil version coerces the metadata
// only, as for objects of another kind.
func (v *version) coerce(tree map[string]any, c coercion) (unknown []string, err error) {
	kind, hasKind, err := unstructured.NestedString(tree, "kind")
	if err != nil {
		return nil, err
	}
	apiVersion, hasVersion, err := unstructured.NestedString(tree, "apiVersion")
	if err != nil {
		return nil, err
	}
	meta, hasMeta, unknown, err := schemaobjectmeta.GetObjectMetaWithOptions(tree, schemaobjectmeta.ObjectMetaOptions{
		DropMalformedFields: c.lenient, ReturnUnknownFieldPaths: c.strict,
	})
	if err != nil {
		return nil, err
	}
	if _, err := schema.ParseGroupVersion(apiVersion); err != nil {
		return nil, err
	}
	if v != nil {
		more, err := v.prune(tree, c)
		if err != nil {
			return nil, err
		}
		unknown = append(unknown, more...)
		if c.lenient && hasMeta && meta.Generation == 0 {
			meta.Generation = 1
		}
	}
	// What the schema need not mention was pruned with the rest.
	if hasKind {
		tree["kind"] = kind
	}
	if hasVersion {
		tree["apiVersion"] = apiVersion
	}
	if hasMeta {
		return unknown, schemaobjectmeta.SetObjectMeta(tree, meta)
	}
	return unknown, nil
}

// prune drops what the schema does not know, below embedded resources, too.
func (v *version) prune(tree map[string]any, c coercion) (unknown []string, err error) {
	s, err := v.structural()
	if err != nil {
		return nil, err
	}
	if !v.definition.crd.Spec.PreserveUnknownFields {
		unknown = structuralpruning.PruneWithOptions(tree, s, true, structuralschema.UnknownFieldPathOptions{TrackUnknownFieldPaths: c.strict})
		structuraldefaulting.PruneNonNullableNullsWithoutDefaults(tree, s)
	}
	fieldErr, more := schemaobjectmeta.CoerceWithOptions(nil, tree, s, false, schemaobjectmeta.CoerceOptions{
		DropInvalidFields: c.lenient, ReturnUnknownFieldPaths: c.strict,
	})
	if fieldErr != nil {
		return nil, fieldErr
	}
	return append(unknown, more...), nil
}

// complete sets defaults.
func (v *version) complete(tree map[string]any) {
	// A schema that does not compile is reported by whoever validates.
	if s, err := v.structural(); err == nil && s != nil && v.defaults() {
		structuraldefaulting.Default(tree, s)
	}
}

// restore makes an object of what is stored: by the schema of the version that
// it was stored in, then converted to the version that is wanted.
func (v *version) restore(o *Object) error {
	from := v.in(o.Object)
	if _, err := from.coerce(o.Object, coercion{lenient: true}); err != nil {
		return err
	}
	if from == nil {
		return v.foreign(o.Object)
	}
	from.complete(o.Object)
	if from == v {
		return nil
	}
	return from.convert(o, v)
}

// foreign is about a stored object of another kind or of a version that the
// definition no longer has.
func (v *version) foreign(tree map[string]any) error {
	kind, apiVersion := tree["kind"], tree["apiVersion"]
	if kind != v.kind.Kind {
		return fmt.Errorf("a stored %v is no %s", kind, v.kind.Kind)
	}
	return fmt.Errorf("request to convert CR from an invalid group/version: %v", apiVersion)
}
