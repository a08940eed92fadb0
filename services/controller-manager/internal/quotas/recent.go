package quotas

import (
	"sync"
	"time"

	"coracle.local/services/controller-manager/internal/loop"
)

// recent remembers when quotas were last charged.
type recent struct {
	mu    sync.Mutex
	clock interface{ Now() time.Time }
	at    map[loop.Key]time.Time
	since map[loop.Key]time.Time // since when a recount has been put off
}

func newRecent(clock interface{ Now() time.Time }) *recent {
	return &recent{clock: clock, at: map[loop.Key]time.Time{}, since: map[loop.Key]time.Time{}}
}

func (r *recent) charged(k loop.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.at[k] = r.clock.Now()
}

func (r *recent) forget(k loop.Key) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.at, k)
	delete(r.since, k)
}

// quiet is how long a quota must still be left alone before its usage may be
// lowered: what was charged just now may not be stored yet.
func (r *recent) quiet(k loop.Key, now time.Time) time.Duration {
	r.mu.Lock()
	defer r.mu.Unlock()
	at, ok := r.at[k]
	left := at.Add(settling).Sub(now)
	if !ok || left <= 0 {
		delete(r.since, k)
		return 0
	}
	since, ok := r.since[k]
	if !ok {
		since, r.since[k] = now, now
	}
	if now.Sub(since) >= patience {
		delete(r.since, k)
		return 0
	}
	return left
}
