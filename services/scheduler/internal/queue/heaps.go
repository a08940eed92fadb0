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

type activeHeap []*Entry

func (h activeHeap) Len() int           { return len(h) }
func (h activeHeap) Less(i, j int) bool { return before(h[i], h[j]) }
func (h activeHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for container/heap.
func (h *activeHeap) Push(x any) {
	e := x.(*Entry)
	e.index = len(*h)
	*h = append(*h, e)
}

// Pop is for container/heap.
func (h *activeHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.index = -1
	return e
}

// backoffHeap has the entry whose backoff ends first in front.
type backoffHeap []*Entry

func (h backoffHeap) Len() int { return len(h) }
func (h backoffHeap) Less(i, j int) bool {
	if !h[i].until.Equal(h[j].until) {
		return h[i].until.Before(h[j].until)
	}
	return before(h[i], h[j])
}

func (h backoffHeap) Swap(i, j int) {
	h[i], h[j] = h[j], h[i]
	h[i].index, h[j].index = i, j
}

// Push is for container/heap.
func (h *backoffHeap) Push(x any) {
	e := x.(*Entry)
	e.index = len(*h)
	*h = append(*h, e)
}

// Pop is for container/heap.
func (h *backoffHeap) Pop() any {
	old := *h
	e := old[len(old)-1]
	old[len(old)-1] = nil
	*h = old[:len(old)-1]
	e.index = -1
	return e
}
