package engine

import (
	"context"
	"time"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/scheduler/internal/queue"
)

// Waiting is a pod without a node, or one that is being bound to it.
type Waiting struct {
	Pod        *corev1.Pod
	Place      queue.Place
	Binding    bool
	Priority   int32
	Attempts   int
	Since      time.Time
	RejectedBy []string
	Message    string
	// Node is where the pod is being bound, or where room was promised to it.
	Node string
}

// Queue lists the pods that wait, in no order.
func (e *Engine) Queue(ctx context.Context) ([]Waiting, error) {
	var list []Waiting
	err := e.Ask(ctx, func() {
		e.queue.Each(func(entry *queue.Entry) {
			w := Waiting{
				Pod: entry.Pod.Object, Place: entry.Place, Priority: entry.Pod.Priority, Attempts: entry.Attempts,
				Since: entry.Created, RejectedBy: entry.RejectedBy, Message: entry.Message,
				Node: e.promises.nodeOf(entry.Pod.UID()),
			}
			if b, ok := e.binding[entry.Pod.UID()]; ok {
				w.Binding, w.Node = true, b.node
			}
			list = append(list, w)
		})
	})
	return list, err
}
