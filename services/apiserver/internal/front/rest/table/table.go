// Package table shows objects as rows of a table, as kubectl prints them, or
// by their metadata alone.
package table

import (
	"encoding/json"
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	metaapi "k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metav1beta1 "k8s.io/apimachinery/pkg/apis/meta/v1beta1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/strategy"
)

// Printer makes the tables of one kind.
type Printer struct {
	kind     *kinds.Kind
	strategy *strategy.Erased
}

// For returns the printer of a kind.
func For(k *kinds.Kind, s *strategy.Erased) Printer { return Printer{k, s} }

// Row shows one object, which is taken over, and which the row carries along
// whole, by its metadata, or not at all.
func (p Printer) Row(o kinds.Object, version string, include metav1.IncludeObjectPolicy) metav1.TableRow {
	var row metav1.TableRow
	if p.strategy.Cells != nil && p.strategy.Columns != nil {
		row.Cells = p.strategy.Cells(o)
	} else {
		row.Cells = strategy.DefaultCells(o)
	}
	if p.strategy.RowConditions != nil {
		row.Conditions = p.strategy.RowConditions(o)
	}
	switch include {
	case metav1.IncludeNone:
	case metav1.IncludeObject:
		o.GetObjectKind().SetGroupVersionKind(p.kind.GroupVersionKind())
		row.Object.Object = o
	default:
		row.Object.Object = Metadata(o, version)
	}
	return row
}

// Table puts rows together. Without headers it continues an earlier table.
func (p Printer) Table(version string, meta metav1.ListMeta, rows []metav1.TableRow, headers bool) *metav1.Table {
	t := &metav1.Table{ListMeta: meta, Rows: rows}
	if headers {
		if t.ColumnDefinitions = p.strategy.Columns; t.ColumnDefinitions == nil {
			t.ColumnDefinitions = strategy.DefaultColumns()
		}
	}
	return t
}

// Kind is the kind of a shape in a version of meta.k8s.io.
func Kind(version, kind string) schema.GroupVersionKind {
	return schema.GroupVersionKind{Group: metav1.GroupName, Version: version, Kind: kind}
}

const partialKind = "PartialObjectMetadata"

// Metadata is an object's metadata.
func Metadata(o metav1.Object, version string) *metav1.PartialObjectMetadata {
	var meta *metav1.ObjectMeta
	if has, ok := o.(metav1.ObjectMetaAccessor); ok {
		meta, _ = has.GetObjectMeta().(*metav1.ObjectMeta)
	}
	out := &metav1.PartialObjectMetadata{}
	if meta != nil {
		out.ObjectMeta = *meta
	} else {
		out = metaapi.AsPartialObjectMetadata(o)
	}
	if _, ok := o.(*appsv1.DaemonSet); ok {
		withoutTemplateGeneration(out)
	}
	out.SetGroupVersionKind(Kind(version, partialKind))
	return out
}

// withoutTemplateGeneration hides an annotation that upstream keeps elsewhere, so
// that only the whole DaemonSet has it.
func withoutTemplateGeneration(o *metav1.PartialObjectMetadata) {
	if _, ok := o.Annotations[appsv1.DeprecatedTemplateGeneration]; ok {
		o.Annotations = maps.Clone(o.Annotations)
		delete(o.Annotations, appsv1.DeprecatedTemplateGeneration)
	}
}

// FrameMetadata reads the metadata out of an encoded object, of which it is the
// first field in every kind; the others are skipped.
func FrameMetadata(frame []byte, version string) (*metav1.PartialObjectMetadata, error) {
	out := &metav1.PartialObjectMetadata{}
	if err := out.Unmarshal(frame); err != nil {
		return nil, err
	}
	out.SetGroupVersionKind(Kind(version, partialKind))
	return out, nil
}

// Encoded is an object that is encoded already.
type Encoded interface {
	JSON() ([]byte, error)
	Frame() []byte
}

// EncodedMetadata reads the metadata out of an encoded object.
func EncodedMetadata(k *kinds.Kind, e Encoded, version string) (*metav1.PartialObjectMetadata, error) {
	if !k.Custom() {
		out, err := FrameMetadata(e.Frame(), version)
		if err == nil && k.Kind == "DaemonSet" {
			withoutTemplateGeneration(out)
		}
		return out, err
	}
	raw, err := e.JSON()
	if err != nil {
		return nil, err
	}
	var o struct {
		Metadata metav1.ObjectMeta `json:"metadata"`
	}
	if err := json.Unmarshal(raw, &o); err != nil {
		return nil, err
	}
	out := &metav1.PartialObjectMetadata{ObjectMeta: o.Metadata}
	out.SetGroupVersionKind(Kind(version, partialKind))
	return out, nil
}

// MetadataList makes a list of metadata.
func MetadataList(version string, meta metav1.ListMeta, items []metav1.PartialObjectMetadata) runtime.Object {
	if items == nil {
		items = []metav1.PartialObjectMetadata{}
	}
	if version == metav1beta1.SchemeGroupVersion.Version {
		return &metav1beta1.PartialObjectMetadataList{ListMeta: meta, Items: items}
	}
	return &metav1.PartialObjectMetadataList{ListMeta: meta, Items: items}
}
