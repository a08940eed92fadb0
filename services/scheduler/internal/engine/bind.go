package engine

import (
	"fmt"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/queue"
	"coracle.local/services/scheduler/internal/storage"
)

// binding is a pod that has a node and that the API server has not bound yet.
type binding struct {
	entry *queue.Entry
	node  string
	// start is when the attempt began, sent when the API server was asked.
	start, sent time.Time
	plan        storage.Plan
	// volumes is set while the pod's volumes are being bound.
	volumes bool
}

// bind asks the API server. The answer comes back through the inbox.
func (e *Engine) bind(b *binding) {
	b.sent = e.cfg.Clock.Now()
	b.volumes = false
	uid := b.entry.Pod.UID()
	e.cfg.Binder.Bind(b.entry.Pod.Object, b.node, func(err error) {
		e.Do(func() {
			// The pod may have been placed again meanwhile; that is another
			// binding, with an answer of its own.
			if e.binding[uid] == b {
				e.bound(b, err)
			}
		})
	})
}

// bound handles the API server's answer.
func (e *Engine) bound(b *binding, err error) {
	p := b.entry.Pod
	now := e.cfg.Clock.Now()
	if _, node, assumed := e.state.Lookup(p.UID()); node == b.node && !assumed {
		// It was seen bound: a request that was repeated after the connection
		// broke is answered with a conflict.
		err = nil
	}
	e.cfg.Tracer.Record(p.UID(), "bind", b.sent, now, attribute.String("node", b.node), attribute.Bool("bound", err == nil))
	if err != nil {
		e.unbind(b, fmt.Errorf("running Bind plugin %q: %w", "DefaultBinder", err))
		return
	}
	delete(e.binding, p.UID())
	e.release(b)
	e.queue.Remove(p.UID())
	e.cfg.Recorder.Event(p.Object, corev1.EventTypeNormal, reasonScheduled,
		fmt.Sprintf("Successfully assigned %v/%v to %v", p.Object.Namespace, p.Object.Name, b.node))
	e.cfg.Metrics.scheduled(now.Sub(b.start), now.Sub(b.entry.Created), b.entry.Attempts)
	e.cfg.Log.Debug("pod bound", podField(p.Object), zap.String("node", b.node))
	e.feed.publish(Decision{Time: now, Pod: p.Object, Outcome: Bound, Node: b.node, Attempt: b.entry.Attempts, Took: now.Sub(b.sent)})
}

// unbind takes a placement back that did not come about, and tries again later.
func (e *Engine) unbind(b *binding, err error) {
	p := b.entry.Pod
	delete(e.binding, p.UID())
	e.release(b)
	if event, forgotten := e.state.Forget(p.UID()); forgotten {
		e.wakeIf(event, func(entry *queue.Entry) bool { return entry != b.entry })
	}
	if _, node, _ := e.state.Lookup(p.UID()); node != "" {
		// Somebody else has bound it, to another node.
		e.queue.Remove(p.UID())
	}
	if _, queued := e.queue.Get(p.UID()); queued {
		e.broken(&attempt{entry: b.entry, pod: p, start: b.start}, err)
	}
}

// updateBinding notes a new version of a pod that is being bound.
func (e *Engine) updateBinding(b *binding, p *corev1.Pod) {
	old := b.entry.Pod
	next := cluster.NewPod(p)
	e.queue.Update(next, e.cfg.Clock.Now(), func([]string) bool { return false })
	if p.DeletionTimestamp == nil || old.Terminating() {
		return
	}
	// It goes before it has come. The binding will fail, or succeed and be of
	// no consequence; others can have the room.
	if event, forgotten := e.state.Forget(p.UID); forgotten {
		e.wake(event)
	}
}
