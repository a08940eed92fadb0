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
	// Revision is the resource version that a list of the kind has now.
	Revision(ctx context.Context, k *kinds.Kind) (string, error)
	Create(ctx context.Context, o kinds.Object) (kinds.Object, error)
	// Update writes the object, or one subresource of it if that is not empty.
	Update(ctx context.Context, o kinds.Object, subresource string) (kinds.Object, error)
	Patch(ctx context.Context, k *kinds.Kind, namespace, name string, pt types.PatchType, data []byte, subresource string) (kinds.Object, error)
	Delete(ctx context.Context, k *kinds.Kind, namespace, name string, o metav1.DeleteOptions) error
	// DeleteCollection deletes everything of a kind in a namespace.
	DeleteCollection(ctx context.Context, k *kinds.Kind, namespace string, o metav1.DeleteOptions) error
	// Discover asks for the kinds beyond the table that can be deleted. What of
	// them could be learned comes with the error, which is a *DiscoveryError if
	// only some groups failed.
	Discover(ctx context.Context) ([]*kinds.Kind, error)
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
	// Selected is a cache of only the objects that match a field selector.
	Selected(k *kinds.Kind, fields string) Cache
	// Extensions is the kinds beyond the table.
	Extensions() Extensions
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

// Extensions is the kinds that are not in the table: custom resources, and what
// other API servers serve behind this one. They come and go. Their rows are
// made as they are found, and of their objects only metadata is read, as
// *metav1.PartialObjectMetadata.
type Extensions interface {
	// Index adds an index to the cache of every kind, OnChange a listener to
	// changes of all objects, OnKind one to kinds whose objects are all known
	// by now. All are called before anything runs.
	Index(name string, keys cache.IndexFunc)
	OnChange(func(k *kinds.Kind, before, after kinds.Object))
	OnKind(func(k *kinds.Kind))
	// Caches is the caches of the kinds there are.
	Caches() []Cache
	// Reads is the caches that must be filled before Discover knows anything.
	Reads() []Cache
	// Settled tells whether the objects of the kinds found at the start are
	// known, or were waited for long enough.
	Settled() bool
}
