package apitest

import (
	"cmp"
	"slices"
	"time"

	"k8s.io/client-go/tools/cache"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
)

type change struct{ before, after kinds.Object }

// fakeCache is a client-go store that is told of changes when the test says
// so. Its pending changes are guarded by API.mu.
type fakeCache struct {
	kind      *kinds.Kind
	indexer   cache.Indexer
	listeners []cluster.Change
	pending   []change
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
			l(next.before, next.after)
		}
	}
}

func (a *API) next() (*fakeCache, change) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var waiting []*fakeCache
	for _, c := range a.caches {
		if len(c.pending) > 0 && !c.held {
			waiting = append(waiting, c)
		}
	}
	if len(waiting) == 0 {
		return nil, change{}
	}
	slices.SortFunc(waiting, func(a, b *fakeCache) int { return cmp.Compare(a.kind.String(), b.kind.String()) })
	c := waiting[0]
	next := c.pending[0]
	c.pending = c.pending[1:]
	return c, next
}

func (c *fakeCache) hold(n change) { c.pending = append(c.pending, n) }

func (c *fakeCache) apply(n change) {
	var err error
	if n.after == nil {
		err = c.indexer.Delete(n.before)
	} else {
		err = c.indexer.Update(n.after)
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

func sortObjects(objects []kinds.Object) {
	slices.SortFunc(objects, func(a, b kinds.Object) int {
		return cmp.Or(cmp.Compare(a.GetNamespace(), b.GetNamespace()), cmp.Compare(a.GetName(), b.GetName()))
	})
}

func seconds(n int64) time.Duration { return time.Duration(n) * time.Second }
