package strategy

import (
	"fmt"

	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/libs/kinds"
)

// Shape says how the objects of one kind are seen as another. From and To
// return new objects and keep nothing of what they are given; Set makes dst
// what src is.
type Shape[V, S kinds.Object] struct {
	From func(stored S) V
	To   func(obj V) S
	Set  func(dst, src V)
}

// Reshape is the behaviour of a kind's objects in a second shape: each
// function of the stored kind works on the object in its stored shape.
func Reshape[V, S kinds.Object](k Kind[S], shape Shape[V, S]) Kind[V] {
	reshaped := Kind[V]{
		Default:                  shape.one(k.Default),
		PrepareWarnings:          read[V, S, []string](shape, k.PrepareWarnings),
		PrepareCreate:            shape.one(k.PrepareCreate),
		PrepareUpdate:            shape.two(k.PrepareUpdate),
		ValidateCreate:           read[V, S, field.ErrorList](shape, k.ValidateCreate),
		ValidateUpdate:           compare[V, S, field.ErrorList](shape, k.ValidateUpdate),
		NameRule:                 k.NameRule,
		GenerateName:             k.GenerateName,
		MetadataLast:             k.MetadataLast,
		Fields:                   read[V, S, fields.Set](shape, k.Fields),
		Warnings:                 compare[V, S, []string](shape, k.Warnings),
		OrphansByDefault:         k.OrphansByDefault,
		OrphanWarning:            k.OrphanWarning,
		Columns:                  k.Columns,
		Cells:                    read[V, S, []any](shape, k.Cells),
		AllowCreateOnUpdate:      k.AllowCreateOnUpdate,
		AllowUnconditionalUpdate: k.AllowUnconditionalUpdate,
		ResetFields:              k.ResetFields,
		Shared: &Shared[V]{
			ToStored: func(obj V) (kinds.Object, error) { return shape.To(obj), nil },
			FromStored: func(stored kinds.Object) (V, error) {
				typed, ok := stored.(S)
				if !ok {
					var none V
					return none, fmt.Errorf("%T is not stored as %T", none, stored)
				}
				return shape.From(typed), nil
			},
		},
	}
	if k.Status != nil {
		reshaped.Status = &Sub[V]{
			PrepareUpdate:  shape.two(k.Status.PrepareUpdate),
			ValidateUpdate: compare[V, S, field.ErrorList](shape, k.Status.ValidateUpdate),
			Warnings:       compare[V, S, []string](shape, k.Status.Warnings),
		}
	}
	return reshaped
}

// stored is the object in its stored shape, and nil if it is nil: there is no
// old object on create.
func (s Shape[V, S]) stored(obj V) S {
	var absent V
	if any(obj) == any(absent) {
		var none S
		return none
	}
	return s.To(obj)
}

func (s Shape[V, S]) one(f func(S)) func(V) {
	if f == nil {
		return nil
	}
	return func(obj V) {
		stored := s.To(obj)
		f(stored)
		s.Set(obj, s.From(stored))
	}
}

func (s Shape[V, S]) two(f func(S, S)) func(V, V) {
	if f == nil {
		return nil
	}
	return func(obj, old V) {
		stored := s.To(obj)
		f(stored, s.To(old))
		s.Set(obj, s.From(stored))
	}
}

func read[V, S kinds.Object, R any](s Shape[V, S], f func(S) R) func(V) R {
	if f == nil {
		return nil
	}
	return func(obj V) R { return f(s.To(obj)) }
}

func compare[V, S kinds.Object, R any](s Shape[V, S], f func(S, S) R) func(V, V) R {
	if f == nil {
		return nil
	}
	return func(obj, old V) R { return f(s.To(obj), s.stored(old)) }
}
