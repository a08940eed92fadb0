package cache

// unchanged reads a page of the state at a revision from what is at hand, as long
// as that is the same: nothing has changed since. rest counts what follows it.
func (c *collection) unchanged(namespace, from string, revision, limit int64, seen func() int64) (items []*Item, rest int64, ok bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if c.newest > revision || seen() < revision {
		return nil, 0, false
	}
	c.scan(Selector{Namespace: namespace}, from, func(i *Item) bool {
		if limit > 0 && int64(len(items)) == limit {
			rest++
		} else {
			items = append(items, i)
		}
		return true
	})
	return items, rest, true
}
