package loop

import (
	"context"
	"time"

	"k8s.io/utils/clock"
)

// Stepper drives a loop by hand.
type Stepper interface {
	// Step looks at one key that is due, if there is one. It tells whether
	// there was.
	Step(ctx context.Context) bool
	// Due is when the next key becomes due; false if none waits for a time.
	Due() (time.Time, bool)
}

// Manual implements Loop.
func (l *loop[K, S]) Manual() Stepper {
	m := &manual[K, S]{loop: l, clock: l.Clock, failures: map[K]int{}, at: map[K]time.Time{}, first: l.First}
	l.state.set(func(*Status) { l.queue = m })
	l.begin()
	return m
}

// manual is a queue without goroutines, in order of arrival.
type manual[K comparable, S any] struct {
	loop     *loop[K, S]
	clock    clock.PassiveClock
	ready    []K
	at       map[K]time.Time
	failures map[K]int
	first    time.Duration
}

func (m *manual[K, S]) Step(ctx context.Context) bool {
	now := m.clock.Now()
	for k, t := range m.at {
		if !t.After(now) {
			delete(m.at, k)
			m.Add(k)
		}
	}
	if len(m.ready) == 0 {
		return false
	}
	k := m.ready[0]
	m.ready = m.ready[1:]
	m.loop.process(ctx, k)
	return true
}

func (m *manual[K, S]) Due() (time.Time, bool) {
	var first time.Time
	for _, t := range m.at {
		if first.IsZero() || t.Before(first) {
			first = t
		}
	}
	return first, !first.IsZero()
}

func (m *manual[K, S]) Add(k K) {
	for _, r := range m.ready {
		if r == k {
			return
		}
	}
	m.ready = append(m.ready, k)
}

func (m *manual[K, S]) AddAfter(k K, d time.Duration) {
	t := m.clock.Now().Add(d)
	if old, ok := m.at[k]; !ok || t.Before(old) {
		m.at[k] = t
	}
}

func (m *manual[K, S]) AddRateLimited(k K) {
	m.AddAfter(k, m.first<<min(m.failures[k], 20))
	m.failures[k]++
}

func (m *manual[K, S]) Forget(k K) { delete(m.failures, k) }
func (m *manual[K, S]) Get() (K, bool) {
	var none K
	return none, true
}
func (m *manual[K, S]) Done(K)    {}
func (m *manual[K, S]) Len() int  { return len(m.ready) }
func (m *manual[K, S]) ShutDown() {}
