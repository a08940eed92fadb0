package cache

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"strings"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/etcd"
)

// loaders is how many collections are filled at once.
const loaders = 8

// Serving is a kind that is to be served, and its behaviour.
type Serving struct {
	Kind *kinds.Kind
	Behaviour
}

// held is a change that came while its collection was being filled.
type held struct {
	key    string
	change etcd.Change
}

// Add serves further kinds, which are stored as themselves. When it returns,
// what etcd had when it was called can be read; changes follow from the one
// watch of etcd, each once. Of the kinds that fail nothing is kept.
func (c *Cache) Add(ctx context.Context, kinds ...Serving) error {
	c.loading.Lock()
	defer c.loading.Unlock()
	added, err := c.place(kinds)
	if err != nil {
		return err
	}
	errs := make([]error, len(added))
	slots := make(chan struct{}, loaders)
	var group sync.WaitGroup
	for n, col := range added {
		slots <- struct{}{}
		group.Go(func() {
			defer func() { <-slots }()
			errs[n] = c.fill(ctx, col)
		})
	}
	group.Wait()
	c.change(func(s *served) {
		for n, col := range added {
			if errs[n] == nil {
				s.byKind[col.kind] = col
			} else {
				delete(s.byFolder, folderOf(col.kind))
			}
		}
	})
	return errors.Join(errs...)
}

func folderOf(k *kinds.Kind) string { return k.Prefix }

// place makes collections that hold what comes, before they are filled: from
// here on no change is missed.
func (c *Cache) place(kinds []Serving) ([]*collection, error) {
	var added []*collection
	var taken error
	c.change(func(s *served) {
		for _, k := range kinds {
			if s.byFolder[folderOf(k.Kind)] != nil {
				taken = errors.Join(taken, fmt.Errorf("another kind is stored where %s is", k.Kind))
				continue
			}
			col := newCollection(k.Kind, k.Behaviour)
			col.held = &[]held{}
			added = append(added, col)
		}
		if taken == nil {
			for _, col := range added {
				s.byFolder[folderOf(col.kind)] = col
			}
		}
	})
	return added, taken
}

// change replaces the table of collections.
func (c *Cache) change(f func(*served)) {
	old := c.served.Load()
	s := &served{byKind: maps.Clone(old.byKind), byFolder: maps.Clone(old.byFolder)}
	f(s)
	c.served.Store(s)
}

// fill reads a collection, and lets it go on with the changes since.
func (c *Cache) fill(ctx context.Context, col *collection) error {
	var items []*Item
	var revision int64
	for from := ""; ; {
		page, err := c.store.Range(ctx, col.prefix, from, revision, 1000)
		if err != nil {
			return fmt.Errorf("load %s: %w", col.kind, err)
		}
		revision = page.Revision
		for _, kv := range page.KVs {
			if i := c.item(col, strings.TrimPrefix(kv.Key, col.prefix), kv); i != nil {
				items = append(items, i)
			}
		}
		if int64(len(page.KVs)) >= page.Count {
			break
		}
		from = page.KVs[len(page.KVs)-1].Key + "\x00"
	}
	col.reset(items, revision)
	for {
		more := col.release()
		if len(more) == 0 {
			return nil
		}
		now := time.Now()
		for _, h := range more {
			c.apply(col, h.key, h.change, now)
		}
	}
}

// Replace serves a kind in the place of another that is stored alike: the rows
// of one definition before and after it changed. Nothing is read anew. Open
// watches end; who still holds the old row is served until the next Replace.
func (c *Cache) Replace(old *kinds.Kind, by Serving) error {
	c.loading.Lock()
	defer c.loading.Unlock()
	col := c.collection(old)
	if col == nil || old.Prefix != by.Kind.Prefix {
		return fmt.Errorf("%s is not served yet", by.Kind)
	}
	before := col.become(by)
	c.change(func(s *served) {
		delete(s.byKind, before)
		s.byKind[by.Kind] = col
	})
	return nil
}

// Remove ends the service of a kind: its watches end, and its objects are no
// longer in memory. In etcd nothing is changed.
func (c *Cache) Remove(k *kinds.Kind) {
	c.loading.Lock()
	defer c.loading.Unlock()
	col := c.collection(k)
	if col == nil {
		return
	}
	c.change(func(s *served) {
		delete(s.byFolder, folderOf(k))
		maps.DeleteFunc(s.byKind, func(_ *kinds.Kind, other *collection) bool { return other == col })
	})
	col.mu.Lock()
	defer col.mu.Unlock()
	col.watchers.cut(ErrClosed)
}

func (c *Cache) collection(k *kinds.Kind) *collection { return c.served.Load().byKind[k] }

// unserved is the error of a read of a kind that is no longer served.
func unserved(k *kinds.Kind) error {
	return apierrors.NewGenericServerResponse(http.StatusNotFound, "", k.GroupResource(), "", "", 0, false)
}

// shape is what the collection holds at the moment.
func (c *collection) shape() (*kinds.Kind, Behaviour) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.kind, c.b
}

// hold keeps a change for later if the collection is not filled yet.
func (c *collection) hold(key string, ch etcd.Change) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil {
		return false
	}
	*c.held = append(*c.held, held{key, ch})
	return true
}

// release takes the changes out that were held. Once there are none, changes
// are no longer held.
func (c *collection) release() []held {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.held == nil || len(*c.held) == 0 {
		c.held = nil
		return nil
	}
	more := *c.held
	c.held = &[]held{}
	return more
}

// become makes the collection one of another row, and returns the row that is
// not served any more. Who watches must watch again, as the changes until now
// are not shown as the new row has them.
func (c *collection) become(by Serving) (gone *kinds.Kind) {
	c.mu.Lock()
	defer c.mu.Unlock()
	gone, c.before = c.before, c.kind
	c.kind, c.b = by.Kind, by.Behaviour
	old := c.items
	c.items = old.Clone()
	c.items.Clear(false)
	old.Ascend(func(i *Item) bool {
		c.items.ReplaceOrInsert(c.current(i))
		return true
	})
	c.past, c.floor = nil, c.newest
	c.watchers.cut(ErrClosed)
	return gone
}

// current is an item as the collection's present kind has it.
func (c *collection) current(i *Item) *Item {
	if i.Kind == c.kind {
		return i
	}
	out, err := i.as(c.kind, nil, c.b.Fields)
	if err != nil {
		return i // only kinds of the table fail, and these are never replaced
	}
	return out
}
