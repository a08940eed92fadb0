package agent

import (
	"cmp"
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/lifecycle"
)

// Snapshot is what the agent knows of a pod, for those who ask.
type Snapshot struct {
	// Pod is as the API server has it, with the status computed here. It must
	// not be modified.
	Pod    *corev1.Pod
	Orphan bool
	Seen   engine.Pod
	Memory lifecycle.Memory
	Probes map[string]lifecycle.Probes
	// Next is the step in progress, or the one that was last decided on.
	Next    lifecycle.Action
	Failure error
	// Stop is set while the pod stops or has stopped.
	Stop *lifecycle.Stop
}

// Snapshots returns all pods, by namespace and name.
func (a *Agent) Snapshots() []Snapshot {
	a.mu.Lock()
	records := make([]*record, 0, len(a.records))
	for _, r := range a.records {
		records = append(records, r)
	}
	a.mu.Unlock()
	out := make([]Snapshot, 0, len(records))
	for _, r := range records {
		out = append(out, a.snapshot(r))
	}
	slices.SortFunc(out, func(x, y Snapshot) int {
		return cmp.Or(cmp.Compare(x.Pod.Namespace, y.Pod.Namespace), cmp.Compare(x.Pod.Name, y.Pod.Name), cmp.Compare(x.Pod.UID, y.Pod.UID))
	})
	return out
}

// Snapshot returns the pod of a name. Where an old one of that name is still
// being cleaned up, the one the API server has is meant. uid, when not empty,
// must match.
func (a *Agent) Snapshot(namespace, name string, uid types.UID) (Snapshot, bool) {
	var found Snapshot
	ok := false
	for _, s := range a.Snapshots() {
		if s.Pod.Namespace != namespace || s.Pod.Name != name || uid != "" && s.Pod.UID != uid {
			continue
		}
		if !ok || found.Orphan {
			found, ok = s, true
		}
	}
	return found, ok
}

func (a *Agent) snapshot(r *record) Snapshot {
	probes := a.cfg.Probes.Results(r.uid)
	r.mu.Lock()
	defer r.mu.Unlock()
	s := Snapshot{
		Pod: r.pod, Orphan: r.orphan, Seen: r.seen, Memory: copyMemory(r.memory), Probes: probes, Next: r.action, Failure: r.failure,
	}
	if r.status != nil {
		pod := *r.pod
		pod.Status = *r.status
		s.Pod = &pod
	}
	s.Stop = lifecycle.Stopping(r.pod, lifecycle.Observed{
		Now: a.cfg.Clock.Now(), Runtime: r.seen, Memory: s.Memory, Backoff: a.cfg.Backoff, Orphan: r.orphan,
	})
	return s
}
