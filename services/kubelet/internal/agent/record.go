package agent

import (
	"context"
	"errors"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/lifecycle"
)

// record is what the agent knows of one pod.
type record struct {
	uid types.UID

	// mu guards what follows up to the next comment.
	mu     sync.Mutex
	pod    *corev1.Pod // never modified, only replaced
	orphan bool
	// busy: a worker is at it. again: it has to look once more.
	busy, again bool
	interrupt   context.CancelCauseFunc
	timer       clock.Timer
	memory      lifecycle.Memory
	seen        engine.Pod
	fresh       bool // seen is what the engine has now
	status      *corev1.PodStatus
	action      lifecycle.Action
	failure     error
	firstSeen   time.Time

	// Only the worker uses these.
	messages map[string]string // last words by container ID
	hooked   map[string]bool   // containers whose preStop hook has been begun
	retries  int               // failures of the pod's own steps in a row
	started  time.Time         // the last container's start
	ready    bool
	stepped  bool
}

// errInterrupted is the cause of a step's end when the pod needs another one.
var errInterrupted = errors.New("the pod has to stop")

// view is a consistent copy of what a step rests on.
type view struct {
	pod    *corev1.Pod
	orphan bool
	memory lifecycle.Memory
	seen   engine.Pod
	status *corev1.PodStatus
}

func (r *record) view() view {
	r.mu.Lock()
	defer r.mu.Unlock()
	return view{pod: r.pod, orphan: r.orphan, memory: copyMemory(r.memory), seen: r.seen, status: r.status}
}

// remember changes the record's memory.
func (r *record) remember(f func(m *lifecycle.Memory)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f(&r.memory)
}

// copyMemory lets a step read without the lock while others change the maps.
func copyMemory(m lifecycle.Memory) lifecycle.Memory {
	m.Holds, m.Backoffs, m.Images, m.Failed = clone(m.Holds), clone(m.Backoffs), clone(m.Images), clone(m.Failed)
	return m
}

func clone[K comparable, V any](m map[K]V) map[K]V {
	if m == nil {
		return nil
	}
	out := make(map[K]V, len(m))
	for k, v := range m {
		out[k] = v
	}
	return out
}

// put sets an entry of a map that may not be there yet.
func put[K comparable, V any](m *map[K]V, k K, v V) {
	if *m == nil {
		*m = map[K]V{}
	}
	(*m)[k] = v
}
