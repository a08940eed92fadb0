// Package managed keeps metadata.managedFields: who set which field of an
// object; and it merges configurations that are applied on the server.
package managed

import (
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/managedfields"
	kjson "sigs.k8s.io/json"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
	"sigs.k8s.io/yaml"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/catalog"
	"coracle.local/services/apiserver/internal/custom"
	"coracle.local/services/apiserver/internal/strategy"
)

// Strategies knows the typed behaviour of kinds.
type Strategies interface {
	Strategy(k *kinds.Kind) *strategy.Erased
}

// Managers are the field managers of all kinds and subresources. They load the
// types when first needed. Use New.
type Managers struct {
	strategies Strategies
	types      func() (*types, error)
	known      sync.Map // of where to *manager
}

// where is the resource or subresource that a write goes through.
type where struct {
	kind        *kinds.Kind
	subresource string
}

// manager is one of them, or why it could not be made.
type manager struct {
	fields *managedfields.FieldManager
	err    error
}

// New returns the managers. It loads nothing.
func New(s Strategies) *Managers {
	return &Managers{strategies: s, types: shared}
}

func (m *Managers) of(k *kinds.Kind, subresource string) (*managedfields.FieldManager, error) {
	at := where{k, subresource}
	if known, ok := m.known.Load(at); ok {
		return known.(*manager).fields, known.(*manager).err
	}
	f, err := m.build(at)
	m.known.Store(at, &manager{f, err})
	return f, err
}

// Forget drops the managers of kinds that are no longer served.
func (m *Managers) Forget(now *catalog.State) {
	m.known.Range(func(key, _ any) bool {
		if k := key.(where).kind; k.Custom() && now.ByResource(k.GroupVersionResource()) != k {
			m.known.Delete(key)
		}
		return true
	})
}

func (m *Managers) build(at where) (*managedfields.FieldManager, error) {
	if d := custom.Of(at.kind); d != nil {
		return m.buildCustom(at, d)
	}
	types, err := m.types()
	if err != nil {
		return nil, err
	}
	s := m.strategies.Strategy(at.kind)
	c := &converter{kind: at.kind}
	reset := map[fieldpath.APIVersion]fieldpath.Filter{}
	if s != nil {
		c.defaults = s.Default
		if set := resetFields(s.ResetFields[at.subresource]); set != nil {
			reset[fieldpath.APIVersion(at.kind.APIVersion())] = fieldpath.NewExcludeSetFilter(set)
		}
	}
	f, err := managedfields.NewDefaultFieldManager(types, c, c, c, at.kind.GroupVersionKind(), at.kind.GroupVersion(), at.subresource, reset)
	if err != nil {
		return nil, fmt.Errorf("make the field manager of %s: %w", at.kind, err)
	}
	return f, nil
}

// Created notes that who set the fields of a new object. What cannot be noted
// is left out, as upstream does: a write does not fail for it.
func (m *Managers) Created(k *kinds.Kind, obj kinds.Object, who string) {
	m.Updated(k, "", k.New(), obj, who)
}

// Updated notes that who made next of current, through a subresource if it is
// not empty.
func (m *Managers) Updated(k *kinds.Kind, subresource string, current, next kinds.Object, who string) {
	f, err := m.of(k, subresource)
	if err != nil {
		return
	}
	named(k, current, func() {
		named(k, next, func() { f.UpdateNoErrors(current, next, who) })
	})
}

// named gives an object its kind while f runs.
func named(k *kinds.Kind, obj kinds.Object, f func()) {
	obj.GetObjectKind().SetGroupVersionKind(k.GroupVersionKind())
	defer obj.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	f()
}

// Read reads a configuration to apply, and what in it is given twice.
func Read(patch []byte) (config *unstructured.Unstructured, strict error, err error) {
	config = &unstructured.Unstructured{Object: map[string]any{}}
	raw, err := yaml.YAMLToJSON(patch)
	if err != nil {
		err = fmt.Errorf("error converting YAML to JSON: %w", err)
	} else {
		err = kjson.UnmarshalCaseSensitivePreserveInts(raw, &config.Object)
	}
	if err != nil {
		return nil, nil, apierrors.NewBadRequest(fmt.Sprintf("error decoding patch: %v", err))
	}
	if config.Object == nil {
		config.Object = map[string]any{} // nothing was said
	}
	return config, yaml.UnmarshalStrict(patch, &map[string]any{}), nil
}

// Apply merges a configuration into the current object, which is empty if there
// is none. Another manager's fields are a Conflict unless force is set.
func (m *Managers) Apply(k *kinds.Kind, subresource string, current kinds.Object, config *unstructured.Unstructured, who string, force bool) (kinds.Object, error) {
	f, err := m.of(k, subresource)
	if err != nil {
		return nil, err
	}
	var merged runtime.Object
	named(k, current, func() { merged, err = f.Apply(current, config.DeepCopy(), who, force) })
	if err != nil {
		return nil, err
	}
	out, ok := merged.(kinds.Object)
	if !ok {
		return nil, fmt.Errorf("apply made a %T of a %s", merged, k.Kind)
	}
	out.GetObjectKind().SetGroupVersionKind(schema.GroupVersionKind{})
	return out, nil
}
