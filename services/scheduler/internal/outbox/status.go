package outbox

import (
	"context"
	"encoding/json"
	"sync"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/services/scheduler/internal/engine"
)

// Patcher patches pods, as client.Client[*corev1.Pod] does.
type Patcher interface {
	Patch(ctx context.Context, namespace, name string, pt types.PatchType, data []byte, subresource string) (*corev1.Pod, error)
}

// StatusWriter patches the status of pods. Of the changes to one pod that wait,
// the newest counts.
type StatusWriter struct {
	log        *zap.Logger
	pods       Patcher
	background *Background

	mu      sync.Mutex
	waiting map[types.UID]engine.StatusChange
	// busy are pods that are being written; what comes meanwhile follows.
	busy map[types.UID]bool
}

// NewStatusWriter makes a writer.
func NewStatusWriter(log *zap.Logger, pods Patcher, background *Background) *StatusWriter {
	return &StatusWriter{
		log: log, pods: pods, background: background,
		waiting: map[types.UID]engine.StatusChange{}, busy: map[types.UID]bool{},
	}
}

// WriteStatus is engine.StatusWriter.
func (w *StatusWriter) WriteStatus(p *corev1.Pod, change engine.StatusChange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	merged := w.waiting[p.UID]
	if change.Condition != nil {
		merged.Condition = change.Condition
	}
	if change.Nominated != nil {
		merged.Nominated = change.Nominated
	}
	w.waiting[p.UID] = merged
	if !w.busy[p.UID] {
		w.busy[p.UID] = true
		w.next(p)
	}
}

// next writes what waits for a pod, and then what has come meanwhile. The
// caller holds the lock.
func (w *StatusWriter) next(p *corev1.Pod) {
	w.background.run(func(ctx context.Context) error {
		w.mu.Lock()
		change := w.waiting[p.UID]
		w.mu.Unlock()
		patch, err := statusPatch(p.UID, change)
		if err != nil {
			return err
		}
		_, err = w.pods.Patch(ctx, p.Namespace, p.Name, types.StrategicMergePatchType, patch, "status")
		if err == nil || apierrors.IsNotFound(err) {
			w.written(p.UID, change)
			return nil
		}
		return err
	}, func(err error) {
		if err != nil && w.background.ctx.Err() == nil {
			w.log.Warn("pod status was not written", zap.String("pod", p.Namespace+"/"+p.Name), zap.Error(err))
		}
		w.mu.Lock()
		defer w.mu.Unlock()
		if _, more := w.waiting[p.UID]; more && err == nil {
			w.next(p)
			return
		}
		delete(w.busy, p.UID)
		delete(w.waiting, p.UID)
	})
}

// written forgets a change unless another has come since.
func (w *StatusWriter) written(uid types.UID, change engine.StatusChange) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.waiting[uid] == change {
		delete(w.waiting, uid)
	}
}

// statusPatch is a strategic merge patch, in which conditions merge by type. The
// UID makes it fail for a pod of the same name that came later.
func statusPatch(uid types.UID, change engine.StatusChange) ([]byte, error) {
	status := map[string]any{}
	if change.Condition != nil {
		status["conditions"] = []corev1.PodCondition{*change.Condition}
	}
	if change.Nominated != nil {
		if *change.Nominated == "" {
			status["nominatedNodeName"] = nil
		} else {
			status["nominatedNodeName"] = *change.Nominated
		}
	}
	return json.Marshal(map[string]any{"metadata": map[string]any{"uid": uid}, "status": status})
}
