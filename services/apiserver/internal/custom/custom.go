// Package custom is the behaviour of custom resources: what a
// CustomResourceDefinition says about its objects, in the form in which the
// registry and the fronts know every other kind.
package custom

import (
	"context"
	"fmt"
	"slices"
	"sync"

	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/util/managedfields"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/strategy"
)

// Hooks calls conversion webhooks.
type Hooks interface {
	// Post sends request as JSON to the webhook and decodes its answer into
	// response. The context bounds the call.
	Post(ctx context.Context, client *apiextensionsv1.WebhookClientConfig, request, response any) error
}

// Options are what definitions need besides themselves.
type Options struct {
	// Load decodes the definition anew. If it is set, Compile keeps no schemas
	// of what it was given (idle definitions must cost little memory), and what
	// is compiled later is compiled of what Load returns.
	Load func() *apiextensionsv1.CustomResourceDefinition
	// Hooks may be nil; then objects of definitions with conversion webhooks
	// cannot be converted.
	Hooks Hooks
}

// Definition is a compiled CustomResourceDefinition. It is immutable and safe
// for concurrent use. Schemas and rules are compiled when first used.
type Definition struct {
	crd      *apiextensionsv1.CustomResourceDefinition
	options  Options
	versions []*version
	storage  *version
	types    func() (managedfields.TypeConverter, error)
}

// Compile makes a Definition of crd, which must not be modified afterwards.
// The names are those that status.acceptedNames has, or, while it is empty,
// those of the spec. It fails only for what validation does not let pass.
func Compile(crd *apiextensionsv1.CustomResourceDefinition, o Options) (*Definition, error) {
	d := &Definition{crd: crd, options: o}
	if o.Load != nil {
		d.crd = withoutSchemas(crd)
	}
	for i := range d.crd.Spec.Versions {
		v := &version{definition: d, spec: &d.crd.Spec.Versions[i]}
		v.compiled = compile(v)
		d.versions = append(d.versions, v)
		if v.spec.Storage {
			d.storage = v
		}
	}
	if d.storage == nil {
		return nil, fmt.Errorf("definition %s has no storage version", crd.Name)
	}
	d.storage.kind = d.row(d.storage, nil)
	for _, v := range d.versions {
		if v != d.storage {
			v.kind = d.row(v, d.storage.kind)
		}
		v.strategy = v.newStrategy()
	}
	d.types = sync.OnceValues(d.newTypes)
	return d, nil
}

// Of is the definition that a kind was made of; nil for kinds of the table.
func Of(k *kinds.Kind) *Definition {
	d, _ := k.Definition.(*Definition)
	return d
}

// CRD is the definition as it was compiled, without its schemas if they can be
// loaded. It is shared: do not modify it.
func (d *Definition) CRD() *apiextensionsv1.CustomResourceDefinition { return d.crd }

// Whole is the definition with its schemas. It is shared: do not modify it.
func (d *Definition) Whole() *apiextensionsv1.CustomResourceDefinition {
	if d.options.Load != nil {
		return d.options.Load()
	}
	return d.crd
}

// withoutSchemas is a shallow copy of a definition that keeps nothing of its
// schemas alive.
func withoutSchemas(crd *apiextensionsv1.CustomResourceDefinition) *apiextensionsv1.CustomResourceDefinition {
	out := *crd
	out.ManagedFields = nil
	out.Spec.Versions = slices.Clone(crd.Spec.Versions)
	for i := range out.Spec.Versions {
		out.Spec.Versions[i].Schema = nil
	}
	return &out
}

// Kinds are the served versions, in the order of the definition. The rows are
// the same at each call and those of no other Definition.
func (d *Definition) Kinds() []*kinds.Kind {
	var out []*kinds.Kind
	for _, v := range d.versions {
		if v.spec.Served {
			out = append(out, v.kind)
		}
	}
	return out
}

// Storage is the row of the storage version, which need not be served: the
// kind to keep in the cache.
func (d *Definition) Storage() *kinds.Kind { return d.storage.kind }

// Strategy is the behaviour of one of Kinds or of Storage; nil for others.
func (d *Definition) Strategy(k *kinds.Kind) *strategy.Erased {
	if v := d.of(k); v != nil {
		return v.strategy
	}
	return nil
}

// of is the version that a row was made for.
func (d *Definition) of(k *kinds.Kind) *version {
	for _, v := range d.versions {
		if v.kind == k {
			return v
		}
	}
	return nil
}

// must is of for callers that have the row from this definition.
func (d *Definition) must(k *kinds.Kind) *version {
	v := d.of(k)
	if v == nil {
		panic(fmt.Sprintf("custom: %v is not of the definition %s", k.GroupVersionKind(), d.crd.Name))
	}
	return v
}
