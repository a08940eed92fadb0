package agent

import (
	"context"
	"slices"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/services/kubelet/internal/engine"
)

// watch follows the engine's events until ctx is done. Whenever events may
// have been lost, and every now and then, all pods are looked through.
func (a *Agent) watch(ctx context.Context) {
	wait := firstRetry
	for ctx.Err() == nil {
		events, err := a.cfg.Engine.Events(ctx)
		if err != nil {
			a.cfg.Log.Warn("engine has no events", zap.Error(err))
			events = nil
		} else {
			wait = firstRetry
		}
		a.relist(ctx)
		if events != nil {
			a.follow(ctx, events)
			continue
		}
		select {
		case <-ctx.Done():
		case <-a.cfg.Clock.After(wait):
		}
		wait = min(2*wait, 10*time.Second)
	}
}

// follow returns when events end.
func (a *Agent) follow(ctx context.Context, events <-chan engine.Event) {
	for {
		timer := a.cfg.Clock.NewTimer(a.cfg.Relist)
		for relist := false; !relist; {
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case e, ok := <-events:
				if !ok {
					timer.Stop()
					return
				}
				a.Wake(e.PodUID)
			case <-timer.C():
				relist = true
			}
		}
		a.relist(ctx)
	}
}

// relist wakes the pods that are not as they were last seen, and finds what
// belongs to no pod.
func (a *Agent) relist(ctx context.Context) {
	pods, err := a.cfg.Engine.Pods(ctx)
	if err != nil {
		if ctx.Err() == nil {
			a.cfg.Log.Warn("engine does not list its pods", zap.Error(err))
		}
		return
	}
	alive := map[types.UID]bool{}
	for _, seen := range pods {
		alive[seen.UID] = true
		a.mu.Lock()
		r, known := a.records[seen.UID]
		if !known {
			r = &record{uid: seen.UID, pod: orphanPod(seen), orphan: true, firstSeen: a.cfg.Clock.Now()}
			a.records[seen.UID] = r
		}
		a.mu.Unlock()
		if !known {
			a.cfg.Log.Info("engine holds a pod that the API server does not have", zap.String("pod", seen.Namespace+"/"+seen.Name))
		}
		a.wakeIfChanged(r, seen)
	}
	a.vanished(alive)
	a.sweep(alive)
}

// wakeIfChanged wakes a pod whose containers are not as they were last seen.
func (a *Agent) wakeIfChanged(r *record, seen engine.Pod) {
	r.mu.Lock()
	changed := !slices.Equal(fingerprint(r.seen), fingerprint(seen))
	if changed {
		r.fresh = false
	}
	r.mu.Unlock()
	if changed {
		a.wake(r)
	}
}

// vanished wakes pods of which the engine holds nothing any more.
func (a *Agent) vanished(alive map[types.UID]bool) {
	a.mu.Lock()
	var gone []*record
	for uid, r := range a.records {
		if !alive[uid] {
			gone = append(gone, r)
		}
	}
	a.mu.Unlock()
	for _, r := range gone {
		a.wakeIfChanged(r, engine.Pod{})
	}
}

// fingerprint is what decisions rest on, in a form that compares.
func fingerprint(p engine.Pod) []string {
	var out []string
	for _, s := range p.Sandboxes {
		ready := "dead"
		if s.Ready {
			ready = "ready"
		}
		out = append(out, s.ID+ready)
		out = append(out, s.IPs...)
	}
	for _, c := range p.Containers {
		out = append(out, c.ID+string(c.State))
	}
	slices.Sort(out)
	return out
}

// orphanPod stands for a pod of which only the engine knows.
func orphanPod(seen engine.Pod) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: seen.Namespace, Name: seen.Name, UID: seen.UID}}
}

// sweep removes files of pods that neither API server nor engine have.
func (a *Agent) sweep(alive map[types.UID]bool) {
	uids, err := a.cfg.Files.Pods()
	if err != nil {
		a.cfg.Log.Warn("pods' directories cannot be listed", zap.Error(err))
		return
	}
	for _, uid := range uids {
		a.mu.Lock()
		_, known := a.records[uid]
		a.mu.Unlock()
		if known || alive[uid] {
			continue
		}
		a.cfg.Log.Info("removing files of a pod that is no more", zap.String("pod", string(uid)))
		if err := a.cfg.Files.Remove(uid); err != nil {
			a.cfg.Log.Warn("files of a pod that is no more cannot be removed", zap.String("pod", string(uid)), zap.Error(err))
		}
	}
}
