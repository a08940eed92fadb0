package engine

import (
	"context"
	"errors"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// Outcome is what came of an attempt to place a pod.
type Outcome uint8

// The outcomes.
const (
	Placed Outcome = iota + 1
	Bound
	Unschedulable
	Preempting
	Failed
)

// Decision is one event in the course of placing a pod.
type Decision struct {
	Time     time.Time
	Pod      *corev1.Pod
	Outcome  Outcome
	Node     string
	Message  string
	Attempt  int
	Feasible int
	Score    int64
	Took     time.Duration
	Victims  []string
}

const (
	// historyLength is the number of decisions that are remembered.
	historyLength = 1000
	// backlog is how many decisions a reader may be behind.
	backlog = 4096
)

// ErrSlow ends the stream of a reader that is too far behind.
var ErrSlow = errors.New("decisions were made faster than they were read")

// Feed hands decisions to any number of readers.
type Feed struct {
	mu      sync.Mutex
	history []Decision
	readers map[*reader]struct{}
	closed  bool
}

type reader struct {
	decisions chan Decision
	slow      bool
}

// NewFeed makes a feed without readers.
func NewFeed() *Feed { return &Feed{readers: map[*reader]struct{}{}} }

func (f *Feed) publish(d Decision) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.history) == 2*historyLength {
		f.history = append(f.history[:0], f.history[historyLength:]...)
	}
	f.history = append(f.history, d)
	for r := range f.readers {
		select {
		case r.decisions <- d:
		default:
			r.slow = true
			f.drop(r)
		}
	}
}

func (f *Feed) drop(r *reader) {
	if _, ok := f.readers[r]; ok {
		delete(f.readers, r)
		close(r.decisions)
	}
}

// close ends all readers' streams.
func (f *Feed) close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.closed = true
	for r := range f.readers {
		f.drop(r)
	}
}

// Read calls f with the latest decisions, at most history of them, and then
// with every new one until ctx ends, the engine stops, or f fails.
func (f *Feed) Read(ctx context.Context, history int, each func(Decision) error) error {
	r := &reader{decisions: make(chan Decision, backlog)}
	f.mu.Lock()
	past := slices.Clone(f.history[max(0, len(f.history)-min(max(history, 0), historyLength)):])
	if f.closed {
		close(r.decisions)
	} else {
		f.readers[r] = struct{}{}
	}
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		f.drop(r)
	}()
	for _, d := range past {
		if err := each(d); err != nil {
			return err
		}
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case d, ok := <-r.decisions:
			if !ok {
				if r.slow {
					return ErrSlow
				}
				return nil
			}
			if err := each(d); err != nil {
				return err
			}
		}
	}
}
