package registry

import (
	"context"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/cache"
)

// absent is the error for an object that the cache does not have: there is none,
// or it is sealed by a key that is not known here, which is another thing.
func (r *Registry) absent(ctx context.Context, k *kinds.Kind, namespace, name string) error {
	if store := r.Cache.Store(); store.Protected() {
		if kv, err := store.Get(ctx, cache.StoreKey(stored(k), namespace, name)); kv != nil && err != nil {
			return apierrors.NewInternalError(err)
		}
	}
	return apierrors.NewNotFound(k.GroupResource(), name)
}
