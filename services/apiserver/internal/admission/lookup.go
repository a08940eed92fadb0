package admission

import (
	"context"
	"fmt"
	"net/http"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
)

// Live reads an object as it is stored at this moment. It fails with NotFound.
type Live func(ctx context.Context, k *kinds.Kind, namespace, name string) (kinds.Object, error)

// lookup finds the objects that a plugin needs to know: in the cache, and if
// it is not there yet, where it is stored. Somebody who creates a namespace
// and then a pod in it must not be told that there is no such namespace.
type lookup struct {
	reader Reader
	live   Live
}

// ordinary is an error with nothing but a code and its words, as upstream
// answers where a plugin fails with an error that is none of the API's.
func ordinary(err error) error {
	return &apierrors.StatusError{ErrStatus: metav1.Status{Status: metav1.StatusFailure, Code: http.StatusInternalServerError, Message: err.Error()}}
}

// find returns an object, or a NotFound error.
func find[T kinds.Object](ctx context.Context, l lookup, namespace, name string) (T, error) {
	if o, ok := auth.Get[T](l.reader, namespace, name); ok {
		return o, nil
	}
	return findLive[T](ctx, l, namespace, name)
}

func findLive[T kinds.Object](ctx context.Context, l lookup, namespace, name string) (T, error) {
	var zero T
	k := kinds.For[T]()
	if l.live == nil {
		return zero, apierrors.NewNotFound(k.GroupResource(), name)
	}
	object, err := l.live(ctx, k, namespace, name)
	if err != nil {
		return zero, err
	}
	typed, ok := object.(T)
	if !ok {
		return zero, apierrors.NewInternalError(fmt.Errorf("%s %s is a %T", k.Kind, name, object))
	}
	return typed, nil
}

// cached returns an object of the cache, or a NotFound error.
func cached[T kinds.Object](l lookup, namespace, name string) (T, error) {
	if o, ok := auth.Get[T](l.reader, namespace, name); ok {
		return o, nil
	}
	var zero T
	return zero, apierrors.NewNotFound(kinds.For[T]().GroupResource(), name)
}
