package cluster

import (
	"context"
	"sync"

	"go.uber.org/zap"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
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
}

// scope is what a cache holds: objects of a kind, all or those of a name.
type scope struct {
	kind *kinds.Kind
	name string
}

// NewGRPC returns the API over a connection. Events are written until ctx ends.
func NewGRPC(ctx context.Context, conn *client.Conn, log *zap.Logger) *GRPC {
	return &GRPC{ctx: ctx, log: log, conn: conn, informers: client.NewInformers(conn).LogTo(log), caches: map[scope]*informed{}}
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
func (g *GRPC) Run(ctx context.Context) error { return g.informers.Run(ctx) }

func (g *GRPC) of(k *kinds.Kind) client.Client[kinds.Object] {
	return client.Dynamic(g.conn, k).As("kube-controller-manager")
}

// Get implements Calls.
func (g *GRPC) Get(ctx context.Context, k *kinds.Kind, namespace, name string) (kinds.Object, error) {
	return g.of(k).Get(ctx, namespace, name)
}

// List implements Calls.
func (g *GRPC) List(ctx context.Context, k *kinds.Kind, namespace string) ([]kinds.Object, error) {
	out, _, err := g.of(k).List(ctx, client.ListOptions{Namespace: namespace})
	return out, err
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
	return g.of(k).Patch(ctx, namespace, name, pt, data, subresource)
}

// Delete implements Calls.
func (g *GRPC) Delete(ctx context.Context, k *kinds.Kind, namespace, name string, o metav1.DeleteOptions) error {
	return g.of(k).Delete(ctx, namespace, name, o)
}

// DeleteCollection implements Calls.
func (g *GRPC) DeleteCollection(ctx context.Context, k *kinds.Kind, namespace string, o metav1.DeleteOptions) error {
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
func (g *GRPC) Named(k *kinds.Kind, name string) Cache {
	c := g.cache(scope{k, name})
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
