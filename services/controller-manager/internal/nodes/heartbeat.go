package nodes

import (
	"sync"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
)

// heartbeats remembers when this process last saw each node's kubelet alive.
// It goes by its own clock and not by the times that kubelets write, since
// those clocks may differ. It is the only memory of node health that a restart
// loses, and what a restart gives is a fresh grace period, as upstream's does.
type heartbeats struct {
	mu    sync.Mutex
	nodes map[string]*heartbeat
}

type heartbeat struct {
	node   corev1.Node // name and UID
	lease  time.Time   // what the kubelet wrote last
	status time.Time
	// hasReady says whether a Ready condition was seen.
	hasReady bool
	seen     time.Time
}

// observe notes what the caches show of a node, and returns when it was last
// seen alive; first says that it was not known before.
func (h *heartbeats) observe(n *corev1.Node, l *coordinationv1.Lease, now time.Time) (seen time.Time, first bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.nodes == nil {
		h.nodes = map[string]*heartbeat{}
	}
	ready := condition(n, corev1.NodeReady)
	b := h.nodes[n.Name]
	if b == nil || b.node.UID != n.UID {
		first = true
		b = &heartbeat{node: stub(n), seen: now, hasReady: ready != nil}
		if ready == nil {
			b.seen = n.CreationTimestamp.Time
		}
		h.nodes[n.Name] = b
	}
	if ready != nil {
		if !b.hasReady || !b.status.IsZero() && !b.status.Equal(ready.LastHeartbeatTime.Time) {
			b.seen = now
		}
		b.hasReady, b.status = true, ready.LastHeartbeatTime.Time
	}
	if t := renewed(l); t.After(b.lease) {
		b.lease, b.seen = t, now
	}
	return b.seen, first
}

// renewal notes that a lease was renewed, of a node that is known.
func (h *heartbeats) renewal(l *coordinationv1.Lease, now time.Time) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if b := h.nodes[l.Name]; b != nil {
		if t := renewed(l); t.After(b.lease) {
			b.lease, b.seen = t, now
		}
	}
}

// gone forgets a node, and returns what it was if it was known.
func (h *heartbeats) gone(name string) (corev1.Node, bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	b := h.nodes[name]
	if b == nil {
		return corev1.Node{}, false
	}
	delete(h.nodes, name)
	return b.node, true
}

func renewed(l *coordinationv1.Lease) time.Time {
	if l == nil || l.Spec.RenewTime == nil {
		return time.Time{}
	}
	return l.Spec.RenewTime.Time
}

func stub(n *corev1.Node) corev1.Node {
	out := corev1.Node{}
	out.Name, out.UID = n.Name, n.UID
	return out
}
