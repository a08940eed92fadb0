package engine

import "sync"

// inbox holds functions for the engine to run. It has no bound: its writers are
// informers, which must never wait, and callers, who wait for an answer.
type inbox struct {
	mu      sync.Mutex
	pending []func()
	signal  chan struct{}
}

func newInbox() *inbox { return &inbox{signal: make(chan struct{}, 1)} }

func (b *inbox) put(f func()) {
	b.mu.Lock()
	b.pending = append(b.pending, f)
	b.mu.Unlock()
	select {
	case b.signal <- struct{}{}:
	default:
	}
}

// drain runs all functions, those that they add included.
func (b *inbox) drain() {
	for {
		b.mu.Lock()
		batch := b.pending
		b.pending = nil
		b.mu.Unlock()
		if len(batch) == 0 {
			return
		}
		for _, f := range batch {
			f()
		}
	}
}
