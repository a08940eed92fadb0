package cluster

import (
	"context"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"

	"coracle.local/libs/kinds"
)

// found is the answer of a call by metadata, or why it could not be made.
func found(_ metadata.ResourceInterface, err error, call func() (*metav1.PartialObjectMetadata, error)) (kinds.Object, error) {
	if err != nil {
		return nil, err
	}
	o, err := call()
	if err != nil {
		return nil, err
	}
	return o, nil
}

func listed(ctx context.Context, r metadata.ResourceInterface, err error) ([]kinds.Object, error) {
	if err != nil {
		return nil, err
	}
	list, err := r.List(ctx, metav1.ListOptions{})
	if err != nil {
		return nil, err
	}
	out := make([]kinds.Object, len(list.Items))
	for i := range list.Items {
		out[i] = &list.Items[i]
	}
	return out, nil
}

func subresources(s string) []string {
	if s == "" {
		return nil
	}
	return []string{s}
}

// remoteCache is a Cache over an informer of metadata by REST.
type remoteCache struct {
	kind     *kinds.Kind
	informer cache.SharedIndexInformer
	cancel   context.CancelFunc
}

func (c *remoteCache) Kind() *kinds.Kind      { return c.kind }
func (c *remoteCache) Indexer() cache.Indexer { return c.informer.GetIndexer() }
func (c *remoteCache) Index(string, cache.IndexFunc) {
	panic("cluster: indexes of extensions are added to all of them")
}

func (c *remoteCache) OnChange(Change) {
	panic("cluster: listeners to extensions are added to all of them")
}
func (c *remoteCache) Synced() <-chan struct{} { return c.informer.HasSyncedChecker().Done() }

// unhurried has no limit of its own: what is slow is told by the server.
func unhurried(c *rest.Config) *rest.Config {
	c = rest.CopyConfig(c)
	c.QPS = -1
	return c
}
