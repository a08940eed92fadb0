package custom

import (
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/strategy"
)

// version is one version of a definition and what was compiled of it.
type version struct {
	definition *Definition
	spec       *apiextensionsv1.CustomResourceDefinitionVersion
	kind       *kinds.Kind
	strategy   *strategy.Erased
	compiled
}

// Decode reads the JSON of a request's object, settles it, and returns the
// fields that were unknown or there twice, if strict, in upstream's words and
// order. The object keeps the apiVersion and kind that it came with: compare
// them before anything else is done with it. Errors are worded as those of a
// decoder, without what a front adds about the kind.
func (d *Definition) Decode(k *kinds.Kind, data []byte, strict bool) (o *Object, wrong []error, err error) {
	return d.must(k).decode(data, strict)
}

// Settle does to an object that came in, or that a patch made, what decoding
// into a struct does for other kinds: fields that the schema does not know are
// dropped (and named, if strict), metadata is checked, nulls that the schema
// does not allow are dropped, defaults are set.
func (d *Definition) Settle(k *kinds.Kind, o *Object, strict bool) (unknown []error, err error) {
	return d.must(k).settle(o, strict)
}

// Types converts objects of any version to typed values, for server-side
// apply. It takes and returns *unstructured.Unstructured and takes *Object. It
// is built when first called; it fails where upstream falls back to types
// that are deduced from the objects.
func (d *Definition) Types(*kinds.Kind) (managedfields.TypeConverter, error) { return d.types() }
