package backend

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
)

// Cached are the Objects of a cache, without I/O.
func Cached(r auth.Reader) Objects { return cached{r} }

type cached struct{ reader auth.Reader }

func find[T kinds.Object](r auth.Reader, namespace, name string) (T, error) {
	o, ok := auth.Get[T](r, namespace, name)
	if !ok {
		return o, apierrors.NewNotFound(kinds.For[T]().GroupResource(), name)
	}
	return o, nil
}

func (c cached) Pod(_ context.Context, namespace, name string) (*corev1.Pod, error) {
	return find[*corev1.Pod](c.reader, namespace, name)
}

func (c cached) Service(_ context.Context, namespace, name string) (*corev1.Service, error) {
	s, err := find[*corev1.Service](c.reader, namespace, name)
	if err != nil {
		return nil, apierrors.NewNotFound(corev1.Resource("service"), name) // upstream's lister says it so
	}
	return s, nil
}

func (c cached) EndpointSlices(_ context.Context, namespace, service string) ([]*discoveryv1.EndpointSlice, error) {
	var out []*discoveryv1.EndpointSlice
	for _, s := range auth.List[*discoveryv1.EndpointSlice](c.reader, namespace) {
		if s.Labels[discoveryv1.LabelServiceName] == service {
			out = append(out, s)
		}
	}
	return out, nil
}
