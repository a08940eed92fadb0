package cache

import (
	"context"
	"errors"
	"fmt"
	"sync"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/watch"
)

// maxQueue is how many events a watcher may be behind before it is cut off.
const maxQueue = 50000

var errReset = apierrors.NewServiceUnavailable("the stream from etcd broke: watch again")

// ErrClosed is what Next returns after Close.
var ErrClosed = errors.New("the watch is closed")

// Event is one change as one watcher sees it.
type Event struct {
	Type watch.EventType
	// Item is nil for bookmarks.
	Item     *Item
	Revision int64
	// InitialEnd marks the bookmark after the initial events.
	InitialEnd bool

	// change is what the event is to be made of, by whoever reads it: how
	// another kind shows an object may take a call to somebody else. A first
	// is an item of the initial state, to be looked at likewise.
	change *event
	first  bool
}

// WatchOptions say what a watch sees and from when.
type WatchOptions struct {
	Selector
	// After is the revision after which changes are wanted. It is ignored if
	// Initial is set.
	After int64
	// Initial asks for the present state first.
	Initial bool
	// MarkInitialEnd asks for a bookmark after the present state.
	MarkInitialEnd bool
	// Bookmarks asks for bookmarks when idle.
	Bookmarks bool
	// Show turns items into those of another kind before they are selected;
	// nil leaves them. It is called by whoever reads the watch.
	Show func(*Item) (*Item, error)
}

// Watch is one watcher's queue. Next and Pending are for one goroutine.
type Watch struct {
	selector  Selector
	after     int64 // changes up to here are not wanted
	told      int64 // bookmarks up to here are not wanted
	bookmarks bool
	show      func(*Item) (*Item, error)
	remove    func(*Watch)

	batch []Event // taken out of the queue, not yet returned

	mu    sync.Mutex
	queue []Event
	err   error
	wake  chan struct{}
}

// Next waits for the next event. It fails with an API error when the watch was
// cut off, and with ctx's error when that ends.
func (w *Watch) Next(ctx context.Context) (Event, error) {
	for {
		more, failed := w.advance()
		if failed != nil {
			return Event{}, failed
		}
		if more {
			e := w.batch[0]
			w.batch = w.batch[1:]
			return e, nil
		}
		select {
		case <-w.wake:
		case <-ctx.Done():
			return Event{}, ctx.Err()
		}
	}
}

// advance makes the first of batch an event that the watcher wants, and tells
// whether there is one.
func (w *Watch) advance() (bool, error) {
	for {
		for len(w.batch) > 0 {
			e, wanted, err := w.look(w.batch[0])
			if err != nil {
				w.cut(err)
				w.batch = nil
				return false, err
			}
			if wanted {
				w.batch[0] = e
				return true, nil
			}
			w.batch = w.batch[1:]
		}
		w.mu.Lock()
		w.batch, w.queue = w.queue, nil
		err := w.err
		w.mu.Unlock()
		if len(w.batch) == 0 {
			return false, err
		}
	}
}

// Pending tells whether Next would return an event without waiting, so that a
// front knows when to flush.
func (w *Watch) Pending() bool {
	more, _ := w.advance() // an error comes again
	return more
}

// Close ends the watch; nothing more is queued.
func (w *Watch) Close() {
	w.remove(w)
	w.cut(ErrClosed)
}

func (w *Watch) cut(err error) {
	w.mu.Lock()
	if w.err == nil {
		w.err = err
	}
	w.mu.Unlock()
	w.signal()
}

func (w *Watch) signal() {
	select {
	case w.wake <- struct{}{}:
	default:
	}
}

func (w *Watch) push(e Event) {
	w.mu.Lock()
	switch {
	case w.err != nil:
	case len(w.queue) >= maxQueue:
		w.queue = nil
		w.err = apierrors.NewTooManyRequests(fmt.Sprintf("the watcher is more than %d events behind: watch again", maxQueue), 1)
	default:
		w.queue = append(w.queue, e)
	}
	first := len(w.queue) <= 1
	w.mu.Unlock()
	if first {
		w.signal()
	}
}

// offer queues a change as this watcher sees it: an object that stops matching
// is deleted, one that begins to match is added.
func (w *Watch) offer(e *event) {
	if e.revision <= w.after {
		return
	}
	if w.show != nil {
		w.push(Event{change: e, Revision: e.revision})
		return
	}
	// Nothing fails that is not shown as something else.
	if out, wanted, _ := w.seen(e); wanted {
		w.push(out)
	}
}

// look makes an event out of what was put off.
func (w *Watch) look(e Event) (Event, bool, error) {
	if e.change != nil {
		return w.seen(e.change)
	}
	if !e.first {
		return e, true, nil
	}
	item, wanted, err := w.see(e.Item)
	e.Item, e.first = item, false
	return e, wanted, err
}

// seen is a change as the watcher sees it, and whether it does.
func (w *Watch) seen(e *event) (Event, bool, error) {
	item, now, err := w.see(e.item)
	if err != nil {
		return Event{}, false, err
	}
	_, before, err := w.see(e.previous)
	switch {
	case err != nil:
		return Event{}, false, err
	case now && before:
		return Event{Type: watch.Modified, Item: item, Revision: e.revision}, true, nil
	case now:
		return Event{Type: watch.Added, Item: item, Revision: e.revision}, true, nil
	case before:
		last, _, err := w.see(e.last())
		return Event{Type: watch.Deleted, Item: last, Revision: e.revision}, err == nil, err
	}
	return Event{}, false, nil
}

// see tells how the watcher sees an item, and whether it wants it.
func (w *Watch) see(i *Item) (*Item, bool, error) {
	switch {
	case i == nil:
		return nil, false, nil
	case w.show == nil:
		return i, w.selector.everything() || w.selector.Matches(i), nil
	}
	i, err := w.show(i)
	if err != nil {
		return nil, false, err
	}
	wanted, err := w.selector.Chooses(i)
	return i, wanted, err
}

// watch opens a watch at a state of the collection that holds everything up to
// revision.
func (c *collection) watch(o WatchOptions, revision func() int64) (*Watch, error) {
	w := &Watch{selector: o.Selector, after: o.After, told: o.After, bookmarks: o.Bookmarks, show: o.Show, wake: make(chan struct{}, 1)}
	c.mu.Lock()
	defer c.mu.Unlock()
	if o.Initial {
		w.after, w.told = 0, max(c.newest, revision())
		c.scan(o.Selector.before(c.kind, o.Show != nil), "", func(i *Item) bool {
			w.batch = append(w.batch, Event{Type: watch.Added, Item: i, Revision: i.Revision, first: o.Show != nil})
			return true
		})
		if o.MarkInitialEnd {
			w.batch = append(w.batch, Event{Type: watch.Bookmark, Revision: w.told, InitialEnd: true})
		}
	} else {
		if o.After < c.floor {
			return nil, apierrors.NewResourceExpired(fmt.Sprintf("too old resource version: %d (%d)", o.After, c.floor+1))
		}
		for _, e := range c.past {
			w.offer(e)
		}
		if len(w.queue) > 0 {
			w.batch, w.queue = w.queue, nil
		}
	}
	w.remove = func(w *Watch) {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.watchers.remove(w)
	}
	c.watchers.add(w)
	return w, nil
}
