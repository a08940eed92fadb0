package agent

import (
	"cmp"
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/lifecycle"
	"coracle.local/services/kubelet/internal/podstatus"
)

// Agent works on the pods of a node.
type Agent struct {
	cfg Config

	mu      sync.Mutex
	ctx     context.Context // of Run, once work may begin
	records map[types.UID]*record
	group   sync.WaitGroup
	synced  bool // Update has told all pods there are

	// admission is one at a time: each must count the ones before.
	admission sync.Mutex
	admitted  map[types.UID]*corev1.Pod
}

// New makes an agent. It works while Run runs.
func New(cfg Config) *Agent {
	return &Agent{cfg: cfg, records: map[types.UID]*record{}, admitted: map[types.UID]*corev1.Pod{}}
}

// Update tells of a pod of this node as the API server has it. pod must not be
// modified afterwards.
func (a *Agent) Update(pod *corev1.Pod) {
	a.mu.Lock()
	r, known := a.records[pod.UID]
	if !known {
		r = &record{uid: pod.UID, firstSeen: a.cfg.Clock.Now()}
		a.records[pod.UID] = r
	}
	a.mu.Unlock()
	a.cfg.Reporter.Seen(pod)

	r.mu.Lock()
	before := r.pod
	r.pod, r.orphan = pod, false
	if known && before != nil && !matters(before, pod) {
		r.mu.Unlock()
		return
	}
	if before != nil {
		a.changedBetween(r, before, pod)
	}
	r.mu.Unlock()
	a.wake(r)
}

// changedBetween adjusts a record, which is locked, to a changed pod.
func (a *Agent) changedBetween(r *record, before, pod *corev1.Pod) {
	if stopsSooner(before, pod) {
		r.memory.Grace = lifecycle.StopGrace(pod, r.memory.Grace)
		delete(r.memory.Holds, "")
		if r.interrupt != nil {
			r.interrupt(errInterrupted)
		}
	}
	if r.memory.Mounted && !(maps.Equal(before.Labels, pod.Labels) && maps.Equal(before.Annotations, pod.Annotations)) {
		r.memory.Remount = a.cfg.Clock.Now() // files may tell of them
	}
	for i := range pod.Spec.Containers {
		was := lifecycle.SpecOf(before, pod.Spec.Containers[i].Name)
		if was != nil && was.Image != pod.Spec.Containers[i].Image {
			delete(r.memory.Images, was.Name)
			delete(r.memory.Holds, was.Name)
		}
	}
}

// stopsSooner tells whether a pod has to stop that did not, or sooner.
func stopsSooner(before, after *corev1.Pod) bool {
	if after.DeletionTimestamp == nil {
		return false
	}
	if before.DeletionTimestamp == nil {
		return true
	}
	b, a := before.DeletionGracePeriodSeconds, after.DeletionGracePeriodSeconds
	return a != nil && (b == nil || *a < *b)
}

// matters tells whether a change is more than the echo of a status that was
// written here.
func matters(before, after *corev1.Pod) bool {
	return before.Generation != after.Generation || before.Generation == 0 && !equality.Semantic.DeepEqual(before.Spec, after.Spec) ||
		!before.DeletionTimestamp.Equal(after.DeletionTimestamp) || stopsSooner(before, after) ||
		!maps.Equal(before.Labels, after.Labels) || !maps.Equal(before.Annotations, after.Annotations) ||
		before.Status.Phase != after.Status.Phase || othersConditions(before, after)
}

func othersConditions(before, after *corev1.Pod) bool {
	of := func(p *corev1.Pod) []corev1.PodCondition {
		return slices.DeleteFunc(slices.Clone(p.Status.Conditions), func(c corev1.PodCondition) bool { return podstatus.Ours(c.Type) })
	}
	return !equality.Semantic.DeepEqual(of(before), of(after))
}

// Remove tells that the API server has the pod no more. pod is its last state.
func (a *Agent) Remove(pod *corev1.Pod) {
	a.mu.Lock()
	r, ok := a.records[pod.UID]
	a.mu.Unlock()
	if !ok {
		return
	}
	r.mu.Lock()
	r.pod, r.orphan = pod, true
	delete(r.memory.Holds, "")
	// Whoever deletes the pod right now has to see that through; any other
	// step has lost its point.
	if r.interrupt != nil && r.action.Verb != lifecycle.Delete {
		r.interrupt(errInterrupted)
	}
	r.mu.Unlock()
	a.wake(r)
}

// Wake says that something about a pod has changed.
func (a *Agent) Wake(uid types.UID) {
	a.mu.Lock()
	r, ok := a.records[uid]
	a.mu.Unlock()
	if !ok {
		return
	}
	r.mu.Lock()
	r.fresh = false
	r.mu.Unlock()
	a.wake(r)
}

// ObjectChanged says that something a pod names has changed: its volumes are to
// be rendered again, and what failed for want of it is tried again.
func (a *Agent) ObjectChanged(uid types.UID) {
	a.mu.Lock()
	r, ok := a.records[uid]
	a.mu.Unlock()
	if !ok {
		return
	}
	r.mu.Lock()
	if r.memory.Mounted {
		r.memory.Remount = a.cfg.Clock.Now()
	}
	for name, h := range r.memory.Holds {
		if h.Reason == reasonMount || h.Reason == reasonConfig {
			h.Until = a.cfg.Clock.Now()
			r.memory.Holds[name] = h
		}
	}
	r.mu.Unlock()
	a.wake(r)
}

// Run works until ctx is done. listed blocks until Update has been called for
// every pod there is. Containers run on afterwards.
func (a *Agent) Run(ctx context.Context, listed func(context.Context) error) error {
	if err := listed(ctx); err != nil {
		if ctx.Err() != nil {
			return nil
		}
		return err
	}
	if err := a.adopt(ctx); err != nil {
		return nil // ctx is done
	}
	a.mu.Lock()
	a.ctx, a.synced = ctx, true
	all := make([]*record, 0, len(a.records))
	for _, r := range a.records {
		all = append(all, r)
	}
	a.mu.Unlock()
	slices.SortFunc(all, func(x, y *record) int {
		return cmp.Or(x.pod.CreationTimestamp.Compare(y.pod.CreationTimestamp.Time), cmp.Compare(x.uid, y.uid))
	})
	for _, r := range all {
		a.wake(r)
	}
	a.watch(ctx)
	a.mu.Lock()
	for _, r := range a.records {
		r.mu.Lock()
		if r.timer != nil {
			r.timer.Stop()
		}
		r.mu.Unlock()
	}
	a.mu.Unlock()
	a.group.Wait()
	return nil
}

// adopt takes over what runs: pods whose containers are here were admitted
// once, and count before any new one does.
func (a *Agent) adopt(ctx context.Context) error {
	for wait := firstRetry; ; wait = min(2*wait, lastRetry) {
		pods, err := a.cfg.Engine.Pods(ctx)
		if err == nil {
			a.takeOver(pods)
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		a.cfg.Log.Warn("engine does not answer", zap.Error(err))
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-a.cfg.Clock.After(wait):
		}
	}
}

func (a *Agent) takeOver(pods []engine.Pod) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.admission.Lock()
	defer a.admission.Unlock()
	for _, seen := range pods {
		r, ok := a.records[seen.UID]
		if !ok {
			continue
		}
		r.mu.Lock()
		r.memory.Admitted = true
		if p := r.pod.Status.Phase; p != corev1.PodSucceeded && p != corev1.PodFailed {
			a.admitted[r.uid] = r.pod
		}
		r.mu.Unlock()
	}
}

// wake has a worker look at the pod.
func (a *Agent) wake(r *record) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.ctx == nil || a.ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.busy {
		r.again = true
		return
	}
	r.busy = true
	if r.timer != nil {
		r.timer.Stop()
		r.timer = nil
	}
	ctx := a.ctx
	a.group.Go(func() { a.work(ctx, r) })
}

// Steps a pod may need in a row: for itself, and for each container.
const (
	podSteps       = 30
	containerSteps = 6
	// pauseFor is how long a pod rests that has used them up.
	pauseFor = 5 * time.Second
)

// work takes steps until there is nothing to do.
func (a *Agent) work(ctx context.Context, r *record) {
	for taken := 1; ; taken++ {
		action := a.do(ctx, r)
		idle := action.Verb == lifecycle.Wait || action.Verb == lifecycle.Done || ctx.Err() != nil
		if !idle && a.tooMany(r, taken, action) {
			// Steps succeed and change nothing: an engine that says one thing
			// and does another must not keep a processor busy.
			a.hold(r, "", reasonNoProgress, "the last steps brought no progress", a.cfg.Clock.Now().Add(pauseFor))
			taken = 0
		}
		if idle && a.rest(ctx, r, action) {
			return
		}
	}
}

func (a *Agent) tooMany(r *record, taken int, action lifecycle.Action) bool {
	r.mu.Lock()
	pod := r.pod
	r.mu.Unlock()
	if taken < podSteps+containerSteps*(len(pod.Spec.InitContainers)+len(pod.Spec.Containers)+len(pod.Spec.EphemeralContainers)) {
		return false
	}
	a.cfg.Log.Warn("pod makes no progress", zap.String("pod", lifecycle.Format(pod)), zap.Stringer("step", action), zap.String("why", action.Why))
	return true
}

// rest ends a worker, unless there was news meanwhile.
func (a *Agent) rest(ctx context.Context, r *record, action lifecycle.Action) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.again && ctx.Err() == nil {
		r.again = false
		return false
	}
	r.busy = false
	if action.Verb == lifecycle.Done && r.orphan {
		delete(a.records, r.uid)
		a.cfg.Reporter.Forget(r.uid)
		return true
	}
	if action.Verb == lifecycle.Wait && !action.Until.IsZero() && ctx.Err() == nil {
		r.timer = a.cfg.Clock.AfterFunc(max(action.Until.Sub(a.cfg.Clock.Now()), 0), func() { a.wake(r) })
	}
	return true
}
