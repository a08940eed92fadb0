// Package queue keeps the pods that wait for a node: active ones in the order
// in which they are tried, those that back off, and those that wait until
// something happens that may help them.
package queue

import (
	"container/heap"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"coracle.local/services/scheduler/internal/cluster"
)

const (
	// InitialBackoff is how long a pod waits after its first failed attempt, at
	// least; each further failure doubles it up to MaxBackoff.
	InitialBackoff = time.Second
	// MaxBackoff is the longest wait.
	MaxBackoff = 10 * time.Second
	// MaxUnschedulable is how long a pod waits for an event before it is tried
	// without one.
	MaxUnschedulable = 5 * time.Minute
)

// Place is the part of the queue that a pod is in.
type Place uint8

// The parts of the queue.
const (
	// Nowhere is the place of pods that are being bound.
	Nowhere Place = iota
	Active
	Backoff
	Unschedulable
	// Gated pods have scheduling gates and are not tried.
	Gated
)

// String names the place in logs, metrics and answers.
func (p Place) String() string {
	return [...]string{"nowhere", "active", "backoff", "unschedulable", "gated"}[p]
}

// Entry is a waiting pod. Only the queue modifies it.
type Entry struct {
	Pod *cluster.Pod
	// Created is when the queue first heard of the pod, Queued when it last
	// came into the queue.
	Created, Queued time.Time
	// Attempts counts how often the pod was tried.
	Attempts int
	// RejectedBy are the filters that rejected it last: events that do not
	// concern them do not help.
	RejectedBy []string
	// Message is why it was not placed last time.
	Message string
	// Place is where the entry is.
	Place Place

	// fruitless counts attempts that found no node, errors those in a row that
	// failed otherwise. Either decides the length of the backoff.
	fruitless, errors int
	// until is the end of the backoff.
	until time.Time
	// order settles what times do not.
	order uint64
	index int
}

// Queue is owned by one goroutine and has no locks. Times are passed in.
type Queue struct {
	entries map[types.UID]*Entry
	active  activeHeap
	// backoff are pods that found no node, broken those whose attempt failed
	// for another reason. Only the former are tried early when nothing else is
	// to do: more haste does not repair an API server.
	backoff, broken backoffHeap
	waiting         map[types.UID]*Entry
	gated           map[types.UID]*Entry
	counter         uint64
}

// New makes an empty queue.
func New() *Queue {
	return &Queue{entries: map[types.UID]*Entry{}, waiting: map[types.UID]*Entry{}, gated: map[types.UID]*Entry{}}
}

// Get finds a pod in any part of the queue, those being bound included.
func (q *Queue) Get(uid types.UID) (*Entry, bool) {
	e, ok := q.entries[uid]
	return e, ok
}

// Add puts a new pod into the queue.
func (q *Queue) Add(p *cluster.Pod, now time.Time) *Entry {
	if e, ok := q.entries[p.UID()]; ok {
		return e
	}
	e := &Entry{Pod: p, Created: now, index: -1}
	q.stamp(e, now)
	q.entries[p.UID()] = e
	if gates(p) {
		q.put(e, Gated)
	} else {
		q.put(e, Active)
	}
	return e
}

// Remove forgets a pod.
func (q *Queue) Remove(uid types.UID) (*Entry, bool) {
	e, ok := q.entries[uid]
	if !ok {
		return nil, false
	}
	q.take(e)
	delete(q.entries, uid)
	return e, true
}

// Pop takes the next pod to try; nil if there is none. The pod stays known to
// the queue until it is removed or comes back by Requeue or Fail.
func (q *Queue) Pop(now time.Time) *Entry {
	q.Flush(now)
	var e *Entry
	switch {
	case q.active.Len() > 0:
		e = q.active.line[0]
	case q.backoff.Len() > 0:
		e = q.backoff.line[0]
	default:
		return nil
	}
	q.take(e)
	e.Attempts++
	return e
}

// Requeue takes a pod back for which there is no node. rejectedBy are the
// filters to blame.
func (q *Queue) Requeue(e *Entry, now time.Time, rejectedBy []string, message string) {
	if q.entries[e.Pod.UID()] != e {
		return
	}
	e.fruitless++
	e.errors = 0
	e.RejectedBy, e.Message = rejectedBy, message
	q.stamp(e, now)
	e.until = now.Add(backoff(e.fruitless))
	q.put(e, Unschedulable)
}

// Fail takes a pod back whose attempt failed though there may be a node. It is
// tried again after a backoff.
func (q *Queue) Fail(e *Entry, now time.Time, message string) {
	if q.entries[e.Pod.UID()] != e {
		return
	}
	e.errors++
	e.RejectedBy, e.Message = nil, message
	q.stamp(e, now)
	e.until = now.Add(backoff(e.errors))
	q.put(e, Backoff)
}

// Update gives a waiting pod its new version. helps tells whether the change
// may let it pass the filters that rejected it.
func (q *Queue) Update(p *cluster.Pod, now time.Time, helps func(rejectedBy []string) bool) {
	e, ok := q.entries[p.UID()]
	if !ok {
		return
	}
	old := e.Pod
	e.Pod = p
	switch e.Place {
	case Gated:
		if !gates(p) {
			q.take(e)
			q.stamp(e, now)
			q.put(e, Active)
		}
	case Active:
		if old.Priority != p.Priority {
			heap.Fix(&q.active, e.index)
		}
	case Unschedulable:
		if helps(e.RejectedBy) {
			q.wake(e, now)
		}
	}
}

// Wake moves the pods that an event may help. It returns their number.
func (q *Queue) Wake(now time.Time, helps func(e *Entry) bool) int {
	woken := 0
	for _, e := range q.waiting {
		if helps(e) {
			q.wake(e, now)
			woken++
		}
	}
	return woken
}

// Activate moves a pod to the active part whatever it waits for.
func (q *Queue) Activate(uid types.UID) {
	e, ok := q.entries[uid]
	if !ok || e.Place == Nowhere || e.Place == Gated {
		return
	}
	q.take(e)
	q.put(e, Active)
}

func (q *Queue) wake(e *Entry, now time.Time) {
	q.take(e)
	if now.Before(e.until) {
		q.put(e, Backoff)
	} else {
		q.put(e, Active)
	}
}

// Flush moves pods whose backoff or longest wait is over.
func (q *Queue) Flush(now time.Time) {
	for _, h := range [...]*backoffHeap{&q.backoff, &q.broken} {
		for h.Len() > 0 && !now.Before(h.line[0].until) {
			e := h.line[0]
			q.take(e)
			q.put(e, Active)
		}
	}
}

// FlushUnschedulable moves pods that have waited for an event for too long.
func (q *Queue) FlushUnschedulable(now time.Time) {
	for _, e := range q.waiting {
		if now.Sub(e.Queued) >= MaxUnschedulable {
			q.wake(e, now)
		}
	}
}

// Next is when Flush will have something to do; zero if never. Pods that
// merely back off are popped at once, so only errors count.
func (q *Queue) Next() time.Time {
	if q.broken.Len() > 0 {
		return q.broken.line[0].until
	}
	return time.Time{}
}

// Len counts the pods in a part of the queue.
func (q *Queue) Len(p Place) int {
	switch p {
	case Active:
		return q.active.Len()
	case Backoff:
		return q.backoff.Len() + q.broken.Len()
	case Unschedulable:
		return len(q.waiting)
	case Gated:
		return len(q.gated)
	default:
		return len(q.entries) - q.active.Len() - q.backoff.Len() - q.broken.Len() - len(q.waiting) - len(q.gated)
	}
}

// Each calls f with every entry.
func (q *Queue) Each(f func(e *Entry)) {
	for _, e := range q.entries {
		f(e)
	}
}

func (q *Queue) stamp(e *Entry, now time.Time) {
	q.counter++
	e.Queued, e.order = now, q.counter
}

func gates(p *cluster.Pod) bool { return len(p.Object.Spec.SchedulingGates) > 0 }

// backoff doubles with every attempt.
func backoff(attempts int) time.Duration {
	d := InitialBackoff
	for i := 1; i < attempts && d < MaxBackoff; i++ {
		d *= 2
	}
	return min(d, MaxBackoff)
}
