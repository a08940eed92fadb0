package queue

import "container/heap"

// put adds an entry to a part of the queue.
func (q *Queue) put(e *Entry, p Place) {
	e.Place = p
	switch p {
	case Active:
		heap.Push(&q.active, e)
	case Backoff:
		heap.Push(q.heapOf(e), e)
	case Unschedulable:
		q.waiting[e.Pod.UID()] = e
	case Gated:
		q.gated[e.Pod.UID()] = e
	}
}

// take removes an entry from the part of the queue that it is in.
func (q *Queue) take(e *Entry) {
	switch e.Place {
	case Active:
		heap.Remove(&q.active, e.index)
	case Backoff:
		heap.Remove(q.heapOf(e), e.index)
	case Unschedulable:
		delete(q.waiting, e.Pod.UID())
	case Gated:
		delete(q.gated, e.Pod.UID())
	}
	e.Place = Nowhere
}

func (q *Queue) heapOf(e *Entry) *backoffHeap {
	if e.errors > 0 {
		return &q.broken
	}
	return &q.backoff
}

// before orders pods as they are tried: by priority, then by age in the queue.
func before(a, b *Entry) bool {
	if a.Pod.Priority != b.Pod.Priority {
		return a.Pod.Priority > b.Pod.Priority
	}
	if !a.Queued.Equal(b.Queued) {
		return a.Queued.Before(b.Queued)
	}
	return a.order < b.order
}

// activeHeap has the entry that is tried first in front.
type activeHeap struct{ line }

func (h activeHeap) Less(i, j int) bool { return before(h.line[i], h.line[j]) }

// backoffHeap has the entry whose backoff ends first in front.
type backoffHeap struct{ line }

func (h backoffHeap) Less(i, j int) bool {
	a, b := h.line[i], h.line[j]
	if !a.until.Equal(b.until) {
		return a.until.Before(b.until)
	}
	return before(a, b)
}

// line is what every heap does for container/heap, but for the order.
type line []*Entry

func (l line) Len() int { return len(l) }

func (l line) Swap(i, j int) {
	l[i], l[j] = l[j], l[i]
	l[i].index, l[j].index = i, j
}

// Push is for container/heap.
func (l *line) Push(x any) {
	e := x.(*Entry)
	e.index = len(*l)
	*l = append(*l, e)
}

// Pop is for container/heap.
func (l *line) Pop() any {
	old := *l
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*l = old[:len(old)-1]
	e.index = -1
	return e
}
