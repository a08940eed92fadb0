package engine

import (
	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/queue"
)

// What the informers tell. Each returns at once.

// PodSeen notes a pod that was added or updated.
func (e *Engine) PodSeen(p *corev1.Pod) { e.Do(func() { e.podSeen(p) }) }

// PodGone notes a pod that was deleted, or has ended.
func (e *Engine) PodGone(p *corev1.Pod) { e.Do(func() { e.podGone(p) }) }

// NodeSeen notes a node that was added or updated.
func (e *Engine) NodeSeen(n *corev1.Node) {
	e.Do(func() {
		if event, changed := e.state.SetNode(n); changed {
			e.wake(event)
		}
	})
}

// NodeGone notes a node that was deleted.
func (e *Engine) NodeGone(n *corev1.Node) {
	e.Do(func() {
		if event, changed := e.state.RemoveNode(n.Name); changed {
			e.wake(event)
		}
	})
}

// NamespaceSeen notes a namespace that was added or updated.
func (e *Engine) NamespaceSeen(ns *corev1.Namespace) {
	e.Do(func() {
		if e.state.SetNamespace(ns) {
			e.wake(cluster.Event{Kind: cluster.NamespaceChanged, Name: ns.Name})
		}
	})
}

// NamespaceGone notes a namespace that was deleted.
func (e *Engine) NamespaceGone(ns *corev1.Namespace) {
	e.Do(func() { e.state.RemoveNamespace(ns.Name) })
}

// StorageSeen notes that a claim, a volume or a storage class was added or
// updated. The object itself is read through Config.Volumes.
func (e *Engine) StorageSeen(kind cluster.EventKind, namespace, name string) {
	e.Do(func() {
		e.wake(cluster.Event{Kind: kind, Namespace: namespace, Name: name})
		if kind != cluster.ClassChanged {
			e.volumesMoved()
		}
	})
}

func (e *Engine) podSeen(p *corev1.Pod) {
	switch {
	case p.Spec.NodeName != "":
		e.assigned(p)
	case e.ours(p):
		e.pending(p)
	}
}

// assigned notes a pod that has a node: one we placed, or one that somebody
// else did.
func (e *Engine) assigned(p *corev1.Pod) {
	event, changed := e.state.SetPod(p)
	if _, binding := e.binding[p.UID]; !binding {
		e.queue.Remove(p.UID)
	}
	e.promises.withdraw(p.UID)
	if changed {
		e.wake(event)
	}
}

// pending notes a pod that waits for a node.
func (e *Engine) pending(p *corev1.Pod) {
	now := e.cfg.Clock.Now()
	if b, ok := e.binding[p.UID]; ok {
		e.updateBinding(b, p)
		return
	}
	known, ok := e.queue.Get(p.UID)
	if !ok {
		if _, node, _ := e.state.Lookup(p.UID); node != "" {
			// It is bound, and this version is older than that.
			return
		}
		entry := e.queue.Add(cluster.NewPod(p), now)
		e.promises.follow(entry.Pod)
		return
	}
	if known.Pod.Object.ResourceVersion == p.ResourceVersion && p.ResourceVersion != "" {
		return
	}
	old := known.Pod
	next := cluster.NewPod(p)
	e.queue.Update(next, now, func(rejectedBy []string) bool {
		return e.helps(cluster.Event{Kind: cluster.TargetChanged, OldPod: old, Pod: next}, next, rejectedBy)
	})
	if was := old.Object.Status.NominatedNodeName; was != "" && was != p.Status.NominatedNodeName {
		e.promises.withdraw(p.UID)
		e.freed(old)
	}
	e.promises.follow(next)
}

// podGone forgets a pod, wherever it was.
func (e *Engine) podGone(p *corev1.Pod) {
	event, removed := e.state.RemovePod(p.UID)
	entry, queued := e.queue.Remove(p.UID)
	promised := e.promises.withdraw(p.UID)
	delete(e.evicting, p.UID)
	switch {
	case removed:
		e.wake(event)
	case queued && promised:
		e.freed(entry.Pod)
	}
}

// freed wakes pods for which room has become free that was promised to another.
// Pods of higher priority had not respected the promise.
func (e *Engine) freed(p *cluster.Pod) {
	e.wakeIf(cluster.Event{Kind: cluster.PodGone, OldPod: p}, func(entry *queue.Entry) bool {
		return entry.Pod.Priority <= p.Priority
	})
}
