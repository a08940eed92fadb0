package loop

import (
	"maps"
	"slices"
	"sync"
	"time"
)

// Record is one look at a key that did something or failed.
type Record struct {
	Controller, Part, Key string
	Start                 time.Time
	Took                  time.Duration
	// Actions is what was done, in order, for people to read.
	Actions []string
	Err     string
	// After is when the key is looked at again even if nothing changes.
	After time.Duration
}

// Status is what a loop is doing.
type Status struct {
	Controller, Part string
	// Running is true once the caches are filled and keys are worked on.
	Running        bool
	Workers, Depth int
	// Reconciles and Failures count since the start.
	Reconciles, Failures uint64
	// Last is when a key was looked at last; zero if never.
	Last time.Time
	// Failing has the newest failure of each key whose last look failed.
	Failing []Record
	// Recent has the newest records, newest last.
	Recent []Record
}

const (
	// keepRecent bounds the records a loop keeps.
	keepRecent = 16
	// keepFailing bounds the failing keys it keeps.
	keepFailing = 256
)

type state struct {
	mu      sync.Mutex
	status  Status
	failing map[string]Record
}

func (s *state) set(change func(*Status)) {
	s.mu.Lock()
	defer s.mu.Unlock()
	change(&s.status)
}

func (s *state) record(r Record) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.status.Reconciles++
	s.status.Last = r.Start.Add(r.Took)
	switch {
	case r.Err == "":
		delete(s.failing, r.Key)
	case len(s.failing) < keepFailing || s.failing[r.Key].Key != "":
		if s.failing == nil {
			s.failing = map[string]Record{}
		}
		s.failing[r.Key] = r
	}
	if r.Err != "" {
		s.status.Failures++
	}
	if len(r.Actions) == 0 && r.Err == "" {
		return
	}
	if len(s.status.Recent) == keepRecent {
		s.status.Recent = append(s.status.Recent[:0], s.status.Recent[1:]...)
	}
	s.status.Recent = append(s.status.Recent, r)
}

func (s *state) get() Status {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := s.status
	out.Recent = slices.Clone(out.Recent)
	out.Failing = slices.SortedFunc(maps.Values(s.failing), func(a, b Record) int { return a.Start.Compare(b.Start) })
	return out
}

// Journal hands the records of all loops of a manager to whoever listens.
type Journal struct {
	mu        sync.Mutex
	listeners map[chan Record]bool
}

// journalBuffer is how far a listener may fall behind before it is cut off.
const journalBuffer = 256

// Listen returns a channel of the records from now on. It is closed when stop
// is called, and when the listener cannot keep up.
func (j *Journal) Listen() (records <-chan Record, stop func()) {
	c := make(chan Record, journalBuffer)
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.listeners == nil {
		j.listeners = map[chan Record]bool{}
	}
	j.listeners[c] = true
	return c, func() {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.drop(c)
	}
}

func (j *Journal) drop(c chan Record) {
	if j.listeners[c] {
		delete(j.listeners, c)
		close(c)
	}
}

func (j *Journal) publish(r Record) {
	if j == nil {
		return
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	for c := range j.listeners {
		select {
		case c <- r:
		default:
			j.drop(c)
		}
	}
}
