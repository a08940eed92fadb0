package queue_test

import (
	"slices"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/harness"
	"coracle.local/services/scheduler/internal/queue"
)

func add(q *queue.Queue, now time.Time, name string, options ...harness.PodOption) *queue.Entry {
	return q.Add(cluster.NewPod(harness.NewPod(name, options...)), now)
}

func popped(q *queue.Queue, now time.Time) []string {
	var names []string
	for e := q.Pop(now); e != nil; e = q.Pop(now) {
		names = append(names, e.Pod.Object.Name)
	}
	return names
}

func TestOrder(t *testing.T) {
	q, now := queue.New(), harness.Start()
	add(q, now, "a")
	add(q, now, "b")
	add(q, now.Add(-time.Hour), "old")
	add(q, now, "high", harness.Priority(3))
	if got := popped(q, now); !slices.Equal(got, []string{"high", "old", "a", "b"}) {
		t.Errorf("popped %v", got)
	}
}

func TestBackoffGrows(t *testing.T) {
	q, now := queue.New(), harness.Start()
	add(q, now, "p")
	for i, want := range []time.Duration{1, 2, 4, 8, 10, 10} {
		e := q.Pop(now)
		if e == nil {
			t.Fatalf("attempt %d: nothing to pop", i)
		}
		q.Fail(e, now, "broken")
		if got := q.Next().Sub(now); got != want*time.Second {
			t.Errorf("attempt %d: backoff is %v, want %d s", i+1, got, want)
		}
		if q.Pop(q.Next().Add(-1)) != nil {
			t.Errorf("attempt %d: popped before the backoff was over", i+1)
		}
		now = q.Next()
	}
}

func TestFruitlessPodsAreTriedEarlyWhenNothingElseIsToDo(t *testing.T) {
	q, now := queue.New(), harness.Start()
	e := add(q, now, "p")
	q.Pop(now)
	q.Requeue(e, now, []string{"NodeResourcesFit"}, "no room")
	if q.Pop(now) != nil {
		t.Error("popped though nothing has happened")
	}
	yes := func(*queue.Entry) bool { return true }
	if n := q.Wake(now, yes); n != 1 || e.Place != queue.Backoff {
		t.Errorf("woke %d, now in %v", n, e.Place)
	}
	add(q, now, "fresh", harness.Priority(-5))
	if got := popped(q, now); !slices.Equal(got, []string{"fresh", "p"}) {
		t.Errorf("popped %v", got)
	}
}

func TestUnschedulablePodsWaitForHelp(t *testing.T) {
	q, now := queue.New(), harness.Start()
	for _, name := range []string{"a", "b"} {
		e := add(q, now, name)
		q.Pop(now)
		q.Requeue(e, now, []string{name}, "")
	}
	now = now.Add(time.Minute)
	q.Wake(now, func(e *queue.Entry) bool { return e.RejectedBy[0] == "b" })
	if got := popped(q, now); !slices.Equal(got, []string{"b"}) {
		t.Errorf("popped %v", got)
	}
	now = now.Add(queue.MaxUnschedulable)
	q.FlushUnschedulable(now)
	if got := popped(q, now); !slices.Equal(got, []string{"a"}) {
		t.Errorf("popped %v", got)
	}
}

func TestGatesAndRemoval(t *testing.T) {
	q, now := queue.New(), harness.Start()
	gated := func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "g"}} }
	e := add(q, now, "p", gated)
	q.Activate(e.Pod.UID())
	if q.Pop(now) != nil || q.Len(queue.Gated) != 1 {
		t.Error("a gated pod was popped")
	}
	q.Update(cluster.NewPod(harness.NewPod("p")), now, nil)
	if q.Len(queue.Active) != 1 {
		t.Error("the pod stays gated")
	}
	if _, ok := q.Remove(e.Pod.UID()); !ok || q.Len(queue.Active) != 0 {
		t.Error("the pod was not removed")
	}
	q.Requeue(e, now, nil, "")
	q.Fail(e, now, "")
	if _, ok := q.Get(e.Pod.UID()); ok || q.Len(queue.Backoff)+q.Len(queue.Unschedulable) != 0 {
		t.Error("a removed pod came back")
	}
}

func TestUpdateChangesThePlaceInLine(t *testing.T) {
	q, now := queue.New(), harness.Start()
	add(q, now, "a")
	add(q, now, "b")
	q.Update(cluster.NewPod(harness.NewPod("b", harness.Priority(7))), now, nil)
	if got := popped(q, now); !slices.Equal(got, []string{"b", "a"}) {
		t.Errorf("popped %v", got)
	}
	if q.Len(queue.Nowhere) != 2 {
		t.Errorf("%d pods are being bound", q.Len(queue.Nowhere))
	}
}
