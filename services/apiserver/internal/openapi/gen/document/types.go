package document

import (
	"bytes"
	"cmp"
	"encoding/gob"
	"encoding/json"
	"slices"

	"k8s.io/kube-openapi/pkg/schemaconv"
	"k8s.io/kube-openapi/pkg/validation/spec"
	smd "sigs.k8s.io/structured-merge-diff/v6/schema"
)

// types writes what server-side apply must know of each type: which lists are
// sets, which are maps and by what keys. It is a small part of the documents,
// in a form that loads fast.
func (w *writer) types(models map[string]*spec.Schema) error {
	// Through JSON, defaults of named types become plain strings and numbers.
	raw, err := json.Marshal(models)
	if err != nil {
		return err
	}
	models = map[string]*spec.Schema{}
	if err := json.Unmarshal(raw, &models); err != nil {
		return err
	}
	schema, err := schemaconv.ToSchemaFromOpenAPI(models, false)
	if err != nil {
		return err
	}
	slices.SortFunc(schema.Types, func(a, b smd.TypeDef) int { return cmp.Compare(a.Name, b.Name) })
	for i := range schema.Types {
		order(&schema.Types[i].Atom)
	}
	gob.Register(map[string]any{})
	gob.Register([]any{})
	var b bytes.Buffer
	if err := gob.NewEncoder(&b).Encode(schema); err != nil {
		return err
	}
	return w.file("types.gob.gz", b.Bytes())
}

// order sorts fields, which come out of a map.
func order(a *smd.Atom) {
	if a.List != nil {
		order(&a.List.ElementType.Inlined)
	}
	if a.Map == nil {
		return
	}
	slices.SortFunc(a.Map.Fields, func(a, b smd.StructField) int { return cmp.Compare(a.Name, b.Name) })
	for i := range a.Map.Fields {
		order(&a.Map.Fields[i].Type.Inlined)
	}
	order(&a.Map.ElementType.Inlined)
}
