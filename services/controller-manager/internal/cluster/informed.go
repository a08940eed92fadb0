package cluster

import (
	"k8s.io/client-go/tools/cache"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/client"
	"coracle.local/libs/kinds"
)

// informed is a Cache over an informer. It has one listener with client-go,
// whose listeners cost two goroutines and a ring of 16 kB each, and calls its
// own one after the other.
type informed struct {
	scope     scope
	whole     bool
	indexers  cache.Indexers
	listeners []Change
	// Set by open.
	indexer cache.Indexer
	synced  <-chan struct{}
}

// open makes the informer. Until then the cache only gathers what is wanted.
func (c *informed) open(f *client.Informers) {
	transform := dropManagedFields
	if !c.whole {
		transform = onlyMetadata
	}
	options := []client.InformerOption{client.WithIndexers(c.indexers), client.WithTransform(transform)}
	if c.scope.fields != "" {
		options = append(options, client.WithFieldSelector(c.scope.fields))
	}
	inf := client.DynamicInformer(f, c.scope.kind, options...)
	c.indexer = inf.GetIndexer()
	registration, err := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { c.tell(nil, o) },
		UpdateFunc: func(before, after any) { c.tell(before, after) },
		DeleteFunc: func(o any) { c.tell(o, nil) },
	})
	if err != nil {
		// Only a stopped informer refuses, and this one has not begun.
		panic(err)
	}
	c.synced = registration.HasSyncedChecker().Done()
}

func (c *informed) tell(before, after any) {
	if gone, ok := before.(cache.DeletedFinalStateUnknown); ok {
		before = gone.Obj
	}
	b, _ := before.(kinds.Object)
	a, _ := after.(kinds.Object)
	if b == nil && a == nil {
		return
	}
	for _, l := range c.listeners {
		l(b, a)
	}
}

func (c *informed) Kind() *kinds.Kind       { return c.scope.kind }
func (c *informed) Indexer() cache.Indexer  { return c.indexer }
func (c *informed) OnChange(l Change)       { c.listeners = append(c.listeners, l) }
func (c *informed) Synced() <-chan struct{} { return c.synced }

func (c *informed) Index(name string, keys cache.IndexFunc) { c.indexers[name] = keys }

var _ kinds.Object = (*metav1.PartialObjectMetadata)(nil)

func dropManagedFields(o any) (any, error) {
	if m, ok := o.(metav1.Object); ok {
		m.SetManagedFields(nil)
	}
	return o, nil
}

// onlyMetadata keeps of an object what the garbage collector reads.
func onlyMetadata(o any) (any, error) {
	m, ok := o.(metav1.Object)
	if !ok {
		return o, nil
	}
	return &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{
		Namespace: m.GetNamespace(), Name: m.GetName(), UID: m.GetUID(), ResourceVersion: m.GetResourceVersion(),
		DeletionTimestamp: m.GetDeletionTimestamp(), Finalizers: m.GetFinalizers(), OwnerReferences: m.GetOwnerReferences(),
	}}, nil
}
