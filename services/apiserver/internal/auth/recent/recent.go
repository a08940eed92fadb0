// Package recent remembers results for a while, in bounded memory.
package recent

import (
	"sync"
	"time"
)

// Cache is a map whose entries end. It holds between size and twice size of
// the most recently used ones: when the young generation is full it becomes
// the old one, and the old one is forgotten.
type Cache[K comparable, V any] struct {
	size int

	mu         sync.Mutex
	young, old map[K]entry[V]
}

type entry[V any] struct {
	value V
	until time.Time
}

// New returns a cache for about size entries.
func New[K comparable, V any](size int) *Cache[K, V] {
	return &Cache[K, V]{size: size, young: map[K]entry[V]{}}
}

// Get returns what was put under the key, if it has not ended.
func (c *Cache[K, V]) Get(key K, now time.Time) (V, bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e, ok := c.young[key]
	if !ok {
		if e, ok = c.old[key]; ok {
			c.put(key, e)
		}
	}
	if !ok || !now.Before(e.until) {
		var zero V
		return zero, false
	}
	return e.value, true
}

// Put remembers a value until then.
func (c *Cache[K, V]) Put(key K, value V, until time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.put(key, entry[V]{value, until})
}

func (c *Cache[K, V]) put(key K, e entry[V]) {
	if len(c.young) >= c.size {
		c.old, c.young = c.young, make(map[K]entry[V], c.size)
	}
	c.young[key] = e
}
