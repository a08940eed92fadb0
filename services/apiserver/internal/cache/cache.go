package cache

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/fields"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/etcd"
)

// bookmarkEvery is how often idle watchers hear how far they are.
const bookmarkEvery = 30 * time.Second

// Behaviour is what the cache has to know of a kind.
type Behaviour struct {
	// Fields are the selectable fields; nil for a kind without any.
	Fields func(kinds.Object) fields.Set
	// Reread completes an object that was read, and tells whether there was
	// anything to complete; nil for most kinds.
	Reread func(kinds.Object) bool
}

// Cache is all collections. Make it with New, fill and follow with Run.
type Cache struct {
	store *etcd.Store
	log   *zap.Logger

	served atomic.Pointer[served]
	// loading is held while collections are filled from etcd: all of them, or
	// some that are added.
	loading sync.Mutex

	ready    chan struct{}
	revision atomic.Int64

	mu      sync.Mutex
	waiters map[*waiter]struct{}
	next    *reading // consistent reads that wait for a question to etcd
	asking  bool
}

// served are the collections. It is replaced, never modified.
type served struct {
	byKind   map[*kinds.Kind]*collection
	byFolder map[string]*collection
}

type waiter struct {
	revision int64
	done     chan struct{}
}

// New returns an empty cache of every stored kind.
func New(store *etcd.Store, behaviour func(*kinds.Kind) Behaviour, log *zap.Logger) *Cache {
	c := &Cache{
		store: store, log: log,
		ready: make(chan struct{}), waiters: map[*waiter]struct{}{},
	}
	s := &served{byKind: map[*kinds.Kind]*collection{}, byFolder: map[string]*collection{}}
	for _, k := range kinds.Stored() {
		col := newCollection(k, behaviour(k))
		s.byKind[k] = col
		s.byFolder[k.Prefix] = col
	}
	c.served.Store(s)
	return c
}

func prefixOf(k *kinds.Kind) string { return etcd.Root + k.Prefix + "/" }

// StoreKey is the etcd key of an object.
func StoreKey(k *kinds.Kind, namespace, name string) string {
	return prefixOf(k) + Key(namespace, name)
}

func split(k *kinds.Kind, key string) (namespace, name string) {
	if !k.Namespaced {
		return "", key
	}
	namespace, name, _ = strings.Cut(key, "/")
	return namespace, name
}

// Ready is closed once the cache holds what etcd held when Run began.
func (c *Cache) Ready() <-chan struct{} { return c.ready }

// Revision is the revision up to which the cache has seen everything.
func (c *Cache) Revision() int64 { return c.revision.Load() }

// Run reads everything and follows etcd until ctx ends. It returns an error
// when the stream breaks: run it again.
func (c *Cache) Run(ctx context.Context) error {
	if c.Revision() == 0 {
		if err := c.load(ctx); err != nil {
			return err
		}
	}
	ticks, stop := context.WithCancel(ctx)
	defer stop()
	go c.bookmark(ticks)
	for {
		err := c.store.Watch(ctx, c.Revision(), c.take)
		if !errors.Is(err, etcd.ErrCompacted) && !errors.Is(err, etcd.ErrReread) {
			return err
		}
		// What happened since is lost, or could not be read: begin anew.
		if err := c.load(ctx); err != nil {
			return err
		}
	}
}

func (c *Cache) load(ctx context.Context) error {
	c.loading.Lock()
	defer c.loading.Unlock()
	items := map[*collection][]*Item{}
	var revision int64
	from := ""
	for {
		page, err := c.store.Range(ctx, etcd.Root, from, revision, 1000)
		if err != nil {
			return fmt.Errorf("load the cache: %w", err)
		}
		revision = page.Revision
		for _, kv := range page.KVs {
			if col, key := c.collectionOf(kv.Key); col != nil {
				if i := c.item(col, key, kv); i != nil {
					items[col] = append(items[col], i)
				}
			}
		}
		if int64(len(page.KVs)) >= page.Count {
			break
		}
		from = page.KVs[len(page.KVs)-1].Key + "\x00"
	}
	for _, col := range c.served.Load().byFolder {
		col.reset(items[col], revision)
	}
	c.advance(revision)
	select {
	case <-c.ready:
	default:
		close(c.ready)
	}
	return nil
}

// collectionOf finds the collection of an etcd key and the key in it. Folders
// are one or two parts deep.
func (c *Cache) collectionOf(key string) (*collection, string) {
	byFolder := c.served.Load().byFolder
	rest := strings.TrimPrefix(key, etcd.Root)
	folder, in, _ := strings.Cut(rest, "/")
	if col := byFolder[folder]; col != nil {
		return col, in
	}
	more, in, _ := strings.Cut(in, "/")
	return byFolder[rest[:min(len(folder)+1+len(more), len(rest))]], in
}

// take applies changes in etcd's order.
func (c *Cache) take(changes []etcd.Change, through int64) {
	now := time.Now()
	for _, ch := range changes {
		col, key := c.collectionOf(ch.Key)
		if col == nil {
			continue
		}
		if !col.hold(key, ch) {
			c.apply(col, key, ch, now)
		}
	}
	c.advance(through)
}

// apply takes one change into its collection. An object that can no longer be
// read is gone for readers.
func (c *Cache) apply(col *collection, key string, ch etcd.Change, now time.Time) {
	var i *Item
	if !ch.Deleted {
		i = c.item(col, key, ch.KV)
	}
	col.apply(i, key, ch.Revision, now)
}

// item makes an item of a stored value; one that is no object of the kind is
// reported and left out.
func (c *Cache) item(col *collection, key string, kv etcd.KV) *Item {
	k, b := col.shape()
	message, err := []byte(nil), kv.Err
	if err == nil {
		message, err = Message(k, kv.Value)
	}
	if err == nil && b.Reread != nil {
		message, err = completed(k, b, message)
	}
	if err != nil {
		c.log.Error("stored object does not decode and is not served",
			zap.String("key", kv.Key), zap.Int64("revision", kv.Revision), zap.Error(err))
		return nil
	}
	namespace, name := split(k, key)
	return NewItem(k, namespace, name, message, kv.Revision, b.Fields)
}

// completed adds to a message what whoever stored it left to readers.
func completed(k *kinds.Kind, b Behaviour, message []byte) ([]byte, error) {
	o := k.New()
	if err := o.Unmarshal(message); err != nil {
		return nil, err
	}
	if !b.Reread(o) {
		return message, nil
	}
	return o.Marshal()
}

func (c *Cache) bookmark(ctx context.Context) {
	tick := time.NewTicker(bookmarkEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, col := range c.served.Load().byFolder {
			// Under the collection's lock nothing is applied, so what is not
			// queued yet lies after the revision that is read here.
			col.mu.Lock()
			col.watchers.bookmark(c.Revision())
			col.mu.Unlock()
		}
	}
}

// Get finds an object of a stored kind as the cache has it, nil if it is absent.
// Of a kind that is no longer served there is nothing.
func (c *Cache) Get(k *kinds.Kind, namespace, name string) *Item {
	col := c.collection(k)
	if col == nil {
		return nil
	}
	return col.get(namespace, name)
}

// List visits the chosen items in order of keys, from a key on, until visit
// returns false, and returns the revision that the state is of.
func (c *Cache) List(k *kinds.Kind, s Selector, from string, visit func(*Item) bool) int64 {
	col := c.collection(k)
	if col == nil {
		return c.Revision()
	}
	return col.list(s, from, c.Revision, visit)
}

// Scan visits the items of which a selector may choose some, in order of keys
// and from a key on, and tells of each whether it is chosen.
func (c *Cache) Scan(k *kinds.Kind, s Selector, from string, visit func(i *Item, chosen bool) bool) int64 {
	return c.List(k, s.before(k, true), from, func(i *Item) bool { return visit(i, s.Matches(i)) })
}

// Candidates are the stored items, in order of keys and from a key on, of which
// a selector may choose some once they are shown as another kind. The caller
// looks at them, since that may take a while.
func (c *Cache) Candidates(k *kinds.Kind, s Selector, from string) ([]*Item, int64) {
	var out []*Item
	revision := c.List(k, s.before(k, true), from, func(i *Item) bool {
		out = append(out, i)
		return true
	})
	return out, revision
}

// Watch opens a watch. An After that the cache no longer remembers is an
// Expired error.
func (c *Cache) Watch(k *kinds.Kind, o WatchOptions) (*Watch, error) {
	col := c.collection(k)
	if col == nil {
		return nil, unserved(k)
	}
	return col.watch(o, c.Revision)
}

// At reads a page of a collection as it was at a revision.
func (c *Cache) At(ctx context.Context, k *kinds.Kind, namespace, from string, revision, limit int64) ([]*Item, int64, error) {
	col := c.collection(k)
	if col == nil {
		return nil, 0, unserved(k)
	}
	if revision > c.store.Compacted() {
		if items, rest, ok := col.unchanged(namespace, from, revision, limit, c.Revision); ok {
			return items, rest, nil
		}
	}
	prefix := col.prefix
	if namespace != "" {
		prefix += namespace + "/"
	}
	start := ""
	if from != "" {
		start = col.prefix + from
	}
	page, err := c.store.Range(ctx, prefix, start, revision, limit)
	if err != nil {
		return nil, 0, err
	}
	items := make([]*Item, 0, len(page.KVs))
	for _, kv := range page.KVs {
		if i := c.item(col, strings.TrimPrefix(kv.Key, col.prefix), kv); i != nil {
			items = append(items, i)
		}
	}
	return items, page.Count - int64(len(page.KVs)), nil
}

// Observe calls f with each object of a kind: the present ones when the cache is
// filled, then each change, in order; gone tells that the object went. f must
// be quick. Call Observe before Run.
func (c *Cache) Observe(k *kinds.Kind, f func(i *Item, gone bool)) {
	col := c.collection(k)
	col.observe = append(col.observe, f)
}

// Store is the etcd below, for writes.
func (c *Cache) Store() *etcd.Store { return c.store }
