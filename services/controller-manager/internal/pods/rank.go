package pods

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
)

// phaseOrder: what has come less far is deleted first.
var phaseOrder = map[corev1.PodPhase]int{corev1.PodPending: 0, corev1.PodUnknown: 1, corev1.PodRunning: 2}

// DeletionOrder sorts pods so that those to delete first come first, by
// upstream's rules: not assigned, earlier phase, not ready, lower deletion
// cost, more siblings on the node, ready for a shorter time, more restarts,
// younger. onNode counts the related active pods of each node. Times are
// compared on a logarithmic scale, so that among pods of about one age chance,
// by UID, decides.
func DeletionOrder(pods []*corev1.Pod, onNode map[string]int, now time.Time) {
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(
			first(a.Spec.NodeName == "", b.Spec.NodeName == ""),
			cmp.Compare(phaseOrder[a.Status.Phase], phaseOrder[b.Status.Phase]),
			first(!Ready(a), !Ready(b)),
			cmp.Compare(deletionCost(a), deletionCost(b)),
			-cmp.Compare(onNode[a.Spec.NodeName], onNode[b.Spec.NodeName]),
			byAge(readySince(a), readySince(b), a, b, now),
			byRestarts(a, b),
			byAge(a.CreationTimestamp.Time, b.CreationTimestamp.Time, a, b, now),
		)
	})
}

// OnNodes counts the active pods of each node.
func OnNodes(pods []*corev1.Pod) map[string]int {
	n := map[string]int{}
	for _, p := range pods {
		if Active(p) {
			n[p.Spec.NodeName]++
		}
	}
	return n
}

// ActiveOrder is the order in which a Job deletes pods it has too many of:
// DeletionOrder's rules without costs, nodes and logarithms.
func ActiveOrder(pods []*corev1.Pod) {
	slices.SortStableFunc(pods, func(a, b *corev1.Pod) int {
		return cmp.Or(
			first(a.Spec.NodeName == "", b.Spec.NodeName == ""),
			cmp.Compare(phaseOrder[a.Status.Phase], phaseOrder[b.Status.Phase]),
			first(!Ready(a), !Ready(b)),
			younger(readySince(a), readySince(b)),
			byRestarts(a, b),
			younger(a.CreationTimestamp.Time, b.CreationTimestamp.Time),
		)
	})
}

// first orders what is true before what is false.
func first(a, b bool) int {
	switch {
	case a == b:
		return 0
	case a:
		return -1
	}
	return 1
}

func deletionCost(p *corev1.Pod) int32 {
	// An annotation that is not a plain number counts as none.
	v := p.Annotations[corev1.PodDeletionCost]
	if v == "" || v[0] == '+' || len(v) > 1 && v[0] == '0' {
		return 0
	}
	n, err := strconv.ParseInt(v, 10, 32)
	if err != nil {
		return 0
	}
	return int32(n)
}

func readySince(p *corev1.Pod) time.Time {
	if !Ready(p) {
		return time.Time{}
	}
	return Condition(p, corev1.PodReady).LastTransitionTime.Time
}

// younger orders later times first; no time at all is latest.
func younger(a, b time.Time) int {
	if a.Equal(b) {
		return 0
	}
	if a.IsZero() || !b.IsZero() && a.After(b) {
		return -1
	}
	return 1
}

func byAge(ta, tb time.Time, a, b *corev1.Pod, now time.Time) int {
	if ta.Equal(tb) {
		return 0
	}
	if ta.IsZero() || tb.IsZero() {
		return younger(ta, tb)
	}
	return cmp.Or(cmp.Compare(logAge(ta, now), logAge(tb, now)), cmp.Compare(a.UID, b.UID))
}

func logAge(t, now time.Time) int {
	if age := now.Sub(t); age > 0 {
		return int(math.Log2(float64(age)))
	}
	return -1
}

func byRestarts(a, b *corev1.Pod) int {
	regularA, sidecarA := restarts(a)
	regularB, sidecarB := restarts(b)
	return -cmp.Or(cmp.Compare(regularA, regularB), cmp.Compare(sidecarA, sidecarB))
}

func restarts(p *corev1.Pod) (regular, sidecar int32) {
	for _, s := range p.Status.ContainerStatuses {
		regular = max(regular, s.RestartCount)
	}
	for _, c := range p.Spec.InitContainers {
		if c.RestartPolicy == nil || *c.RestartPolicy != corev1.ContainerRestartPolicyAlways {
			continue
		}
		for _, s := range p.Status.InitContainerStatuses {
			if s.Name == c.Name {
				sidecar = max(sidecar, s.RestartCount)
			}
		}
	}
	return regular, sidecar
}
