package workbench

import (
	"cmp"
	"context"
	"slices"
	"sync"

	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"coracle.local/libs/apitest"
	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
)

// API is an API server whose caches lag behind until Deliver is called.
type API struct {
	*apitest.API
	// DiscoveryErr, if not nil, comes with what Discover answers.
	DiscoveryErr error

	mu     sync.Mutex
	caches map[*kinds.Kind]*fakeCache
	taken  int // changes that the caches hold
	events []Event
	beyond beyond

	delivery sync.Mutex
}

var _ cluster.API = (*API)(nil)

// NewAPI returns an empty API.
func NewAPI(c clock.PassiveClock) *API {
	a := &API{API: apitest.New(), caches: map[*kinds.Kind]*fakeCache{}}
	a.Clock = c
	return a
}

// fakeCache is a client-go store that is told of changes when the test says
// so. Its pending changes are guarded by API.mu.
type fakeCache struct {
	kind      *kinds.Kind
	indexer   cache.Indexer
	listeners []cluster.Change
	pending   []apitest.Change
	held      bool
}

func (a *API) cache(k *kinds.Kind) *fakeCache {
	c := a.caches[k]
	if c == nil {
		c = &fakeCache{kind: k, indexer: cache.NewIndexer(cache.MetaNamespaceKeyFunc, cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc})}
		a.caches[k] = c
	}
	return c
}

// Cache implements cluster.API.
func (a *API) Cache(k *kinds.Kind) cluster.Cache {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.cache(k)
}

// Metadata implements cluster.API.
func (a *API) Metadata(k *kinds.Kind) cluster.Cache { return a.Cache(k) }

// Named implements cluster.API. It is the cache of all, which tests bear.
func (a *API) Named(k *kinds.Kind, _ string) cluster.Cache { return a.Cache(k) }

// Selected implements cluster.API, as Named does.
func (a *API) Selected(k *kinds.Kind, _ string) cluster.Cache { return a.Cache(k) }

// Hold keeps the cache of a kind where it is, until it is let go.
func (a *API) Hold(k *kinds.Kind, held bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.cache(k).held = held
}

// Follow delivers every change at once, until ctx ends.
func (a *API) Follow(ctx context.Context) {
	for {
		a.mu.Lock()
		_, changed := a.Changes(a.taken)
		a.mu.Unlock()
		a.Deliver()
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

// Deliver brings the caches up to date and tells their listeners. It tells
// whether there was anything new.
func (a *API) Deliver() bool {
	a.delivery.Lock()
	defer a.delivery.Unlock()
	some := false
	for {
		c, next := a.next()
		if c == nil {
			return some
		}
		some = true
		c.apply(next)
		for _, l := range c.listeners {
			l(next.Before, next.After)
		}
	}
}

func (a *API) next() (*fakeCache, apitest.Change) {
	a.mu.Lock()
	defer a.mu.Unlock()
	fresh, _ := a.Changes(a.taken)
	a.taken += len(fresh)
	for _, n := range fresh {
		c := a.cache(n.Kind)
		c.pending = append(c.pending, n)
	}
	var waiting []*fakeCache
	for _, c := range a.caches {
		if len(c.pending) > 0 && !c.held {
			waiting = append(waiting, c)
		}
	}
	if len(waiting) == 0 {
		return nil, apitest.Change{}
	}
	slices.SortFunc(waiting, func(a, b *fakeCache) int { return cmp.Compare(a.kind.String(), b.kind.String()) })
	c := waiting[0]
	next := c.pending[0]
	c.pending = c.pending[1:]
	return c, next
}

func (c *fakeCache) apply(n apitest.Change) {
	var err error
	if n.After == nil {
		err = c.indexer.Delete(n.Before)
	} else {
		err = c.indexer.Update(n.After)
	}
	if err != nil {
		panic(err) // objects of the table always have a key
	}
}

func (c *fakeCache) Kind() *kinds.Kind         { return c.kind }
func (c *fakeCache) Indexer() cache.Indexer    { return c.indexer }
func (c *fakeCache) OnChange(l cluster.Change) { c.listeners = append(c.listeners, l) }

func (c *fakeCache) Index(name string, keys cache.IndexFunc) {
	if _, ok := c.indexer.GetIndexers()[name]; ok {
		return
	}
	if err := c.indexer.AddIndexers(cache.Indexers{name: keys}); err != nil {
		panic(err) // a name that is taken, and that was checked
	}
}

var closed = func() chan struct{} {
	c := make(chan struct{})
	close(c)
	return c
}()

func (c *fakeCache) Synced() <-chan struct{} { return closed }
