package strategy

import (
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/apiserver/pkg/authentication/user"

	"coracle.local/libs/kinds"
)

// Erased is a Kind whose functions take any object and expect the right type.
type Erased = Kind[kinds.Object]

// Erase returns the same behaviour over kinds.Object. Its functions panic if
// they are given an object of another type than T, which only a programming
// error does.
func (k Kind[T]) Erase() *Erased {
	return &Erased{
		Default:                  one(k.Default),
		PrepareWarnings:          oneTo[T, []string](k.PrepareWarnings),
		PrepareCreate:            one(k.PrepareCreate),
		PrepareUpdate:            two(k.PrepareUpdate),
		ValidateCreate:           oneTo[T, field.ErrorList](k.ValidateCreate),
		ValidateUpdate:           twoTo[T, field.ErrorList](k.ValidateUpdate),
		NameRule:                 k.NameRule,
		GenerateName:             k.GenerateName,
		MetadataLast:             k.MetadataLast,
		Author:                   eraseAuthor(k.Author),
		Status:                   k.Status.erase(),
		Subresources:             eraseSubresources(k.Subresources),
		Scale:                    k.Scale.erase(),
		Fields:                   oneTo[T, fields.Set](k.Fields),
		Warnings:                 twoTo[T, []string](k.Warnings),
		Deprecation:              k.Deprecation,
		GracefulDelete:           eraseGraceful(k.GracefulDelete),
		OrphansByDefault:         k.OrphansByDefault,
		OrphanWarning:            k.OrphanWarning,
		Columns:                  k.Columns,
		Cells:                    oneTo[T, []any](k.Cells),
		RowConditions:            oneTo[T, []metav1.TableRowCondition](k.RowConditions),
		Reread:                   oneTo[T, bool](k.Reread),
		AllowCreateOnUpdate:      k.AllowCreateOnUpdate,
		AllowUnconditionalUpdate: k.AllowUnconditionalUpdate,
		ResetFields:              k.ResetFields,
		Shared:                   k.Shared.erase(),
	}
}

func (s *Sub[T]) erase() *Sub[kinds.Object] {
	if s == nil {
		return nil
	}
	return &Sub[kinds.Object]{
		PrepareUpdate:  two(s.PrepareUpdate),
		ValidateUpdate: twoTo[T, field.ErrorList](s.ValidateUpdate),
		Warnings:       twoTo[T, []string](s.Warnings),
	}
}

func eraseSubresources[T kinds.Object](subs map[string]*Sub[T]) map[string]*Sub[kinds.Object] {
	if subs == nil {
		return nil
	}
	erased := make(map[string]*Sub[kinds.Object], len(subs))
	for name, sub := range subs {
		erased[name] = sub.erase()
	}
	return erased
}

func (s *Scale[T]) erase() *Scale[kinds.Object] {
	if s == nil {
		return nil
	}
	return &Scale[kinds.Object]{
		Replicas:       oneTo[T, int32](s.Replicas),
		SetReplicas:    func(obj kinds.Object, replicas int32) { s.SetReplicas(cast[T](obj), replicas) },
		StatusReplicas: oneTo[T, int32](s.StatusReplicas),
		Selector:       func(obj kinds.Object) (string, error) { return s.Selector(cast[T](obj)) },
		Path:           s.Path,
		Missing:        oneTo[T, bool](s.Missing),
	}
}

func (s *Shared[T]) erase() *Shared[kinds.Object] {
	if s == nil {
		return nil
	}
	return &Shared[kinds.Object]{
		FromStored: func(stored kinds.Object) (kinds.Object, error) { return s.FromStored(stored) },
		ToStored:   func(obj kinds.Object) (kinds.Object, error) { return s.ToStored(cast[T](obj)) },
	}
}

func eraseAuthor[T kinds.Object](f func(T, user.Info)) func(kinds.Object, user.Info) {
	if f == nil {
		return nil
	}
	return func(obj kinds.Object, author user.Info) { f(cast[T](obj), author) }
}

func eraseGraceful[T kinds.Object](f func(T, *metav1.DeleteOptions) (int64, bool)) func(kinds.Object, *metav1.DeleteOptions) (int64, bool) {
	if f == nil {
		return nil
	}
	return func(obj kinds.Object, opts *metav1.DeleteOptions) (int64, bool) { return f(cast[T](obj), opts) }
}

// cast keeps nil as nil: Warnings gets no old object on create.
func cast[T kinds.Object](obj kinds.Object) T {
	var none T
	if obj == nil {
		return none
	}
	typed, ok := obj.(T)
	if !ok {
		panic(fmt.Sprintf("strategy of %T was given a %T", none, obj))
	}
	return typed
}

func one[T kinds.Object](f func(T)) func(kinds.Object) {
	if f == nil {
		return nil
	}
	return func(obj kinds.Object) { f(cast[T](obj)) }
}

func two[T kinds.Object](f func(T, T)) func(kinds.Object, kinds.Object) {
	if f == nil {
		return nil
	}
	return func(obj, old kinds.Object) { f(cast[T](obj), cast[T](old)) }
}

func oneTo[T kinds.Object, R any](f func(T) R) func(kinds.Object) R {
	if f == nil {
		return nil
	}
	return func(obj kinds.Object) R { return f(cast[T](obj)) }
}

func twoTo[T kinds.Object, R any](f func(T, T) R) func(kinds.Object, kinds.Object) R {
	if f == nil {
		return nil
	}
	return func(obj, old kinds.Object) R { return f(cast[T](obj), cast[T](old)) }
}
