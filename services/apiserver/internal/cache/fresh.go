package cache

import (
	"context"
	"fmt"
	"net/http"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Waiting for a revision: the longest time, and when etcd is asked for its
// progress, since a revision may have been made by a key that is not ours.
const (
	waitLongest  = 3 * time.Second
	waitProgress = 5 * time.Millisecond
)

// reading is a batch of consistent reads that share one question to etcd.
type reading struct {
	done     chan struct{}
	revision int64
	err      error
}

// Fresh waits until the cache holds everything that was committed before the
// call.
func (c *Cache) Fresh(ctx context.Context) error {
	revision, err := c.current(ctx)
	if err != nil {
		return err
	}
	return c.Reach(ctx, revision)
}

// current asks etcd for its revision. Calls that come while a question is
// under way share the next one: an answer may be older than their call.
func (c *Cache) current(ctx context.Context) (int64, error) {
	c.mu.Lock()
	r := c.next
	if r == nil {
		r = &reading{done: make(chan struct{})}
		c.next = r
	}
	if !c.asking {
		c.asking = true
		go c.ask()
	}
	c.mu.Unlock()
	select {
	case <-r.done:
		return r.revision, r.err
	case <-ctx.Done():
		return 0, ctx.Err()
	}
}

func (c *Cache) ask() {
	for {
		c.mu.Lock()
		r := c.next
		c.next = nil
		if r == nil {
			c.asking = false
			c.mu.Unlock()
			return
		}
		c.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		r.revision, r.err = c.store.Revision(ctx)
		cancel()
		close(r.done)
	}
}

// Reach waits until the cache has seen everything up to a revision. One that
// is far ahead is a Timeout error, as upstream's.
func (c *Cache) Reach(ctx context.Context, revision int64) error {
	if c.Revision() >= revision {
		return nil
	}
	w := &waiter{revision: revision, done: make(chan struct{})}
	c.mu.Lock()
	if c.Revision() >= revision {
		c.mu.Unlock()
		return nil
	}
	c.waiters[w] = struct{}{}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		delete(c.waiters, w)
		c.mu.Unlock()
	}()

	progress := time.NewTimer(waitProgress)
	defer progress.Stop()
	longest := time.NewTimer(waitLongest)
	defer longest.Stop()
	for {
		select {
		case <-w.done:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		case <-longest.C:
			return tooLarge(revision, c.Revision())
		case <-progress.C:
			if err := c.store.RequestProgress(ctx); err != nil && ctx.Err() == nil {
				return fmt.Errorf("ask etcd for its progress: %w", err)
			}
			progress.Reset(50 * time.Millisecond)
		}
	}
}

func tooLarge(asked, have int64) error {
	err := apierrors.NewTimeoutError(fmt.Sprintf("Too large resource version: %d, current: %d", asked, have), 1)
	err.ErrStatus.Code = http.StatusGatewayTimeout
	err.ErrStatus.Details.Causes = []metav1.StatusCause{{
		Type: metav1.CauseTypeResourceVersionTooLarge, Message: "Too large resource version",
	}}
	return err
}

// advance tells those who wait how far the cache is.
func (c *Cache) advance(revision int64) {
	if revision <= c.Revision() {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.revision.Store(revision)
	for w := range c.waiters {
		if w.revision <= revision {
			delete(c.waiters, w)
			close(w.done)
		}
	}
}
