package node

import (
	"hash/fnv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// announce tells of conditions that turned, in upstream's words.
func (k *Keeper) announce(old, n *corev1.Node) {
	say := func(reason string) {
		k.cfg.Events.Node(k.cfg.Name, n.UID, corev1.EventTypeNormal, reason, "Node %s status is now: %s", k.cfg.Name, reason)
	}
	for _, c := range n.Status.Conditions {
		before := corev1.ConditionStatus("")
		if old != nil {
			before = statusOf(old.Status, c.Type)
		}
		switch {
		case before == c.Status:
		case c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue:
			say("NodeReady")
		case c.Type == corev1.NodeReady && before != "":
			say("NodeNotReady")
		case c.Type == corev1.NodeMemoryPressure:
			say(oneOf(c.Status == corev1.ConditionTrue, "NodeHasInsufficientMemory", "NodeHasSufficientMemory"))
		case c.Type == corev1.NodeDiskPressure:
			say(oneOf(c.Status == corev1.ConditionTrue, "NodeHasDiskPressure", "NodeHasNoDiskPressure"))
		case c.Type == corev1.NodePIDPressure:
			say(oneOf(c.Status == corev1.ConditionTrue, "NodeHasInsufficientPID", "NodeHasSufficientPID"))
		}
	}
	if old == nil {
		return
	}
	if was, is := old.Status.NodeInfo.BootID, n.Status.NodeInfo.BootID; was != "" && was != is {
		k.cfg.Events.Node(k.cfg.Name, n.UID, corev1.EventTypeWarning, "Rebooted", "Node %s has been rebooted, boot id: %s", k.cfg.Name, is)
	}
}

func oneOf(first bool, a, b string) string {
	if first {
		return a
	}
	return b
}

// offset spreads the nodes of one process over a period.
func offset(name string, period time.Duration) time.Duration {
	h := fnv.New32a()
	_, _ = h.Write([]byte(name)) // never fails
	return time.Duration(float64(period) * float64(h.Sum32()) / (1 << 32))
}
