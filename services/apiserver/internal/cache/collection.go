package cache

import (
	"sync"
	"time"

	"github.com/google/btree"
	"k8s.io/apimachinery/pkg/watch"

	"coracle.local/libs/kinds"
)

// Bounds of what a collection remembers of the past, for watches that resume.
const (
	keepEvents = 10000
	keepFor    = 5 * time.Minute
)

// event is one change, shared by all watchers that see it.
type event struct {
	kind     watch.EventType
	item     *Item // nil when deleted
	previous *Item // nil when added
	revision int64
	at       time.Time

	gone     *Item // previous, at the event's revision
	goneOnce sync.Once
}

// last is the object's last state, at the revision of its end.
func (e *event) last() *Item {
	e.goneOnce.Do(func() { e.gone = e.previous.at(e.revision) })
	return e.gone
}

// collection is all objects of a kind.
type collection struct {
	prefix string // of etcd's keys

	mu       sync.RWMutex
	kind     *kinds.Kind
	before   *kinds.Kind // the row that kind has replaced
	b        Behaviour
	held     *[]held // changes that wait until the collection is filled, if it is not
	filled   int64   // the revision that it was filled at
	items    *btree.BTreeG[*Item]
	past     []*event // oldest first
	floor    int64    // changes after this revision are in past
	newest   int64    // the revision of the last change
	watchers watchers
	observe  []func(*Item, bool)
}

func newCollection(k *kinds.Kind, b Behaviour) *collection {
	return &collection{
		kind: k, prefix: prefixOf(k), b: b,
		items:    btree.NewG(32, func(a, b *Item) bool { return a.key < b.key }),
		watchers: newWatchers(),
	}
}

func (c *collection) get(namespace, name string) *Item {
	c.mu.RLock()
	defer c.mu.RUnlock()
	i, _ := c.items.Get(place(Key(namespace, name)))
	return i
}

// list calls visit with each chosen item in order of keys, from a key on,
// until it returns false, and returns the revision of this state. Nothing
// changes meanwhile.
func (c *collection) list(s Selector, from string, revision func() int64, visit func(*Item) bool) int64 {
	c.mu.RLock()
	defer c.mu.RUnlock()
	c.scan(s, from, visit)
	return max(c.newest, revision())
}

func (c *collection) scan(s Selector, from string, visit func(*Item) bool) {
	if s.key != "" {
		if i, ok := c.items.Get(place(s.key)); ok && i.key >= from {
			visit(i)
		}
		return
	}
	if name, ok := s.exact("metadata.name"); ok && (s.Namespace != "" || !c.kind.Namespaced) {
		if i, ok := c.items.Get(place(Key(s.Namespace, name))); ok && i.key >= from && s.Matches(i) {
			visit(i)
		}
		return
	}
	if s.Namespace != "" && from == "" {
		from = s.Namespace + "/"
	}
	c.items.AscendGreaterOrEqual(place(from), func(i *Item) bool {
		if s.Namespace != "" && i.Namespace != s.Namespace {
			return i.key < s.Namespace+"/"
		}
		return !s.Matches(i) || visit(i)
	})
}

// apply takes a change in and hands it to the watchers. No item says that the
// object is gone. What the collection was filled with is not applied again.
func (c *collection) apply(item *Item, key string, revision int64, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if revision <= c.filled {
		return
	}
	e := &event{revision: revision, at: now}
	if item == nil {
		previous, ok := c.items.Delete(place(key))
		if !ok {
			return
		}
		e.kind, e.previous = watch.Deleted, previous
	} else {
		item = c.current(item)
		previous, ok := c.items.ReplaceOrInsert(item)
		e.kind, e.item = watch.Added, item
		if ok {
			e.kind, e.previous = watch.Modified, previous
		}
	}
	c.newest = revision
	c.remember(e)
	c.tell(e)
	c.watchers.send(e)
}

// tell keeps the indexes that others keep of this collection.
func (c *collection) tell(e *event) {
	for _, observe := range c.observe {
		if e.item != nil {
			observe(e.item, false)
		} else {
			observe(e.previous, true)
		}
	}
}

func (c *collection) remember(e *event) {
	c.past = append(c.past, e)
	drop := 0
	for drop < len(c.past)-1 && (len(c.past)-drop > keepEvents || e.at.Sub(c.past[drop].at) > keepFor) {
		drop++
	}
	if drop == 0 {
		return
	}
	c.floor = c.past[drop-1].revision
	clear(c.past[:drop])
	c.past = c.past[drop:]
}

// reset replaces everything after the stream from etcd broke: watchers are cut
// off, since what happened meanwhile is not known.
func (c *collection) reset(items []*Item, revision int64) {
	c.mu.Lock()
	defer c.mu.Unlock()
	old := c.items
	c.items = old.Clone()
	c.items.Clear(false)
	for _, i := range items {
		c.items.ReplaceOrInsert(i)
		c.tell(&event{item: i})
	}
	old.Ascend(func(i *Item) bool {
		if !c.items.Has(i) {
			c.tell(&event{previous: i})
		}
		return true
	})
	c.past, c.floor, c.newest, c.filled = nil, revision, revision, revision
	c.watchers.cut(errReset)
}
