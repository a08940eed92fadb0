package cluster

import (
	"context"
	"errors"
	"sync"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/record"

	"coracle.local/libs/client"
	"coracle.local/libs/kinds"
)

// GRPC is the API over a connection to the API server.
type GRPC struct {
	ctx       context.Context
	log       *zap.Logger
	conn      *client.Conn
	informers *client.Informers

	mu     sync.Mutex
	caches map[scope]*informed
	beyond *extensions // nil until asked for
	rest   func() (*rest.Config, error)
}

// scope is what a cache holds: objects of a kind, all or those that match a
// field selector.
type scope struct {
	kind   *kinds.Kind
	fields string
}

// NewGRPC returns the API over a connection. Events are written until ctx ends.
// What is not in the table of kinds is reached by REST, if rest is not nil; it
// is called when there is something to reach.
func NewGRPC(ctx context.Context, conn *client.Conn, rest func() (*rest.Config, error), log *zap.Logger) *GRPC {
	return &GRPC{ctx: ctx, log: log, conn: conn, rest: rest, informers: client.NewInformers(conn).LogTo(log), caches: map[scope]*informed{}}
}

// Open makes the caches that were asked for. It stands between the making of
// the controllers, which ask, and the running of any of them.
func (g *GRPC) Open() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, c := range g.caches {
		c.open(g.informers)
	}
}

// Run fills the caches and blocks until ctx ends.
func (g *GRPC) Run(ctx context.Context) error {
	if g.beyond == nil {
		return g.informers.Run(ctx)
	}
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { g.beyond.run(ctx) })
	return g.informers.Run(ctx)
}

// Extensions implements API.
func (g *GRPC) Extensions() Extensions {
	if g.beyond == nil {
		g.beyond = newExtensions(g)
	}
	return g.beyond
}

// Discover implements Calls.
func (g *GRPC) Discover(ctx context.Context) ([]*kinds.Kind, error) {
	if g.beyond == nil {
		return nil, nil
	}
	return g.beyond.discover(ctx)
}

// remote is the way to a kind that is not in the table, nil for one that is.
func (g *GRPC) remote(k *kinds.Kind, namespace string) (metadata.ResourceInterface, error) {
	if kinds.ByResource(k.GroupVersionResource()) == k {
		return nil, nil
	}
	if g.beyond == nil {
		return nil, errors.New("no way to resources beyond the table")
	}
	return g.beyond.resource(k, namespace)
}

func (g *GRPC) of(k *kinds.Kind) client.Client[kinds.Object] {
	return client.Dynamic(g.conn, k).As("kube-controller-manager")
}

// Get implements Calls.
func (g *GRPC) Get(ctx context.Context, k *kinds.Kind, namespace, name string) (kinds.Object, error) {
	if r, err := g.remote(k, namespace); r != nil || err != nil {
		return found(r, err, func() (*metav1.PartialObjectMetadata, error) { return r.Get(ctx, name, metav1.GetOptions{}) })
	}
	return g.of(k).Get(ctx, namespace, name)
}

// List implements Calls.
func (g *GRPC) List(ctx context.Context, k *kinds.Kind, namespace string) ([]kinds.Object, error) {
	if r, err := g.remote(k, namespace); r != nil || err != nil {
		return listed(ctx, r, err)
	}
	out, _, err := g.of(k).List(ctx, client.ListOptions{Namespace: namespace})
	return out, err
}

// nowhere is a namespace that is not there, of which a list costs nothing.
const nowhere = "coracle-no-such-namespace"

// Revision implements Calls.
func (g *GRPC) Revision(ctx context.Context, k *kinds.Kind) (string, error) {
	in := ""
	if k.Namespaced {
		in = nowhere
	}
	r, err := g.remote(k, in)
	if err != nil {
		return "", err
	}
	if r == nil {
		_, revision, err := g.of(k).List(ctx, client.ListOptions{Namespace: in, Limit: 1})
		return revision, err
	}
	list, err := r.List(ctx, metav1.ListOptions{Limit: 1})
	if err != nil {
		return "", err
	}
	return list.ResourceVersion, nil
}

// Create implements Calls.
func (g *GRPC) Create(ctx context.Context, o kinds.Object) (kinds.Object, error) {
	return g.of(kinds.ForObject(o)).Create(ctx, o)
}

// Update implements Calls.
func (g *GRPC) Update(ctx context.Context, o kinds.Object, subresource string) (kinds.Object, error) {
	c := g.of(kinds.ForObject(o))
	switch subresource {
	case "":
		return c.Update(ctx, o)
	case "status":
		return c.UpdateStatus(ctx, o)
	}
	return c.UpdateSubresource(ctx, o, subresource)
}

// Patch implements Calls.
func (g *GRPC) Patch(ctx context.Context, k *kinds.Kind, namespace, name string, pt types.PatchType, data []byte, subresource string) (kinds.Object, error) {
	if r, err := g.remote(k, namespace); r != nil || err != nil {
		return found(r, err, func() (*metav1.PartialObjectMetadata, error) {
			return r.Patch(ctx, name, pt, data, metav1.PatchOptions{FieldManager: "kube-controller-manager"}, subresources(subresource)...)
		})
	}
	return g.of(k).Patch(ctx, namespace, name, pt, data, subresource)
}

// Delete implements Calls.
func (g *GRPC) Delete(ctx context.Context, k *kinds.Kind, namespace, name string, o metav1.DeleteOptions) error {
	if r, err := g.remote(k, namespace); err != nil {
		return err
	} else if r != nil {
		return r.Delete(ctx, name, o)
	}
	return g.of(k).Delete(ctx, namespace, name, o)
}

// DeleteCollection implements Calls.
func (g *GRPC) DeleteCollection(ctx context.Context, k *kinds.Kind, namespace string, o metav1.DeleteOptions) error {
	if r, err := g.remote(k, namespace); err != nil {
		return err
	} else if r != nil {
		return r.DeleteCollection(ctx, o, metav1.ListOptions{})
	}
	return g.of(k).DeleteCollection(ctx, client.ListOptions{Namespace: namespace}, o)
}

// Cache implements API.
func (g *GRPC) Cache(k *kinds.Kind) Cache {
	c := g.cache(scope{kind: k})
	c.whole = true
	return c
}

// Metadata implements API.
func (g *GRPC) Metadata(k *kinds.Kind) Cache { return g.cache(scope{kind: k}) }

// Named implements API.
func (g *GRPC) Named(k *kinds.Kind, name string) Cache { return g.Selected(k, "metadata.name="+name) }

// Selected implements API.
func (g *GRPC) Selected(k *kinds.Kind, fields string) Cache {
	c := g.cache(scope{k, fields})
	c.whole = true
	return c
}

func (g *GRPC) cache(s scope) *informed {
	g.mu.Lock()
	defer g.mu.Unlock()
	c := g.caches[s]
	if c == nil {
		c = &informed{scope: s, indexers: cache.Indexers{}}
		g.caches[s] = c
	}
	return c
}

// Recorder implements API. What is behind it costs tens of kilobytes, so it
// comes into being with the first event.
func (g *GRPC) Recorder(component string) record.EventRecorder {
	return lazyRecorder(sync.OnceValue(func() record.EventRecorder {
		return client.NewRecorder(g.ctx, g.conn, component, g.log)
	}))
}
