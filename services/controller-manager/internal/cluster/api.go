// Package cluster is the API server as controllers see it: untyped calls over
// the kinds of the table, and caches that tell of changes.
package cluster

import (
	"context"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
)

// Calls is what controllers ask of the API server. Every method does I/O and
// returns errors of k8s.io/apimachinery/pkg/api/errors. Objects handed in are
// not kept, objects handed out belong to the caller.
type Calls interface {
	Get(ctx context.Context, k *kinds.Kind, namespace, name string) (kinds.Object, error)
	// List reads the present state, not a cache. An empty namespace is all.
	List(ctx context.Context, k *kinds.Kind, namespace string) ([]kinds.Object, error)
	Create(ctx context.Context, o kinds.Object) (kinds.Object, error)
	// Update writes the object, or one subresource of it if that is not empty.
	Update(ctx context.Context, o kinds.Object, subresource string) (kinds.Object, error)
	Patch(ctx context.Context, k *kinds.Kind, namespace, name string, pt types.PatchType, data []byte, subresource string) (kinds.Object, error)
	Delete(ctx context.Context, k *kinds.Kind, namespace, name string, o metav1.DeleteOptions) error
	// DeleteCollection deletes everything of a kind in a namespace.
	DeleteCollection(ctx context.Context, k *kinds.Kind, namespace string, o metav1.DeleteOptions) error
}

// API is Calls, caches and events: all that a controller may touch.
type API interface {
	Calls
	// Cache is the one shared cache of a kind; asking for it makes it run.
	Cache(k *kinds.Kind) Cache
	// Metadata is a cache in which only the metadata of objects can be relied
	// on. It is the kind's Cache where some controller asked for that.
	Metadata(k *kinds.Kind) Cache
	// Named is a cache of only the objects of a name, whatever their namespace.
	Named(k *kinds.Kind, name string) Cache
	// Recorder writes events in the name of a component.
	Recorder(component string) record.EventRecorder
}

// Change is a listener: old is nil for an object that appeared, new for one
// that went. The objects are shared and must not be modified.
type Change func(before, after kinds.Object)

// Cache holds the newest known version of every object of one kind. Indexes
// and listeners are added before it runs, which is when the manager is put
// together; what they are given and what is read is shared and read-only.
type Cache interface {
	Kind() *kinds.Kind
	// Indexer is client-go's thread-safe store, for reading.
	Indexer() cache.Indexer
	// Index adds an index unless one of that name is there.
	Index(name string, keys cache.IndexFunc)
	// OnChange adds a listener. It is called after the store was changed, one
	// change at a time, and must be quick.
	OnChange(Change)
	// Synced is closed when the initial state is in the store and every
	// listener was told of it.
	Synced() <-chan struct{}
}
