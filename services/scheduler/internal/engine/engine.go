// Package engine is the scheduler's main loop. One goroutine owns the cluster's
// state, the queue and the classes; everybody else hands it functions to run.
// So every decision sees one state of things, and tests can go step by step.
package engine

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"coracle.local/libs/trace"
	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/filter"
	"coracle.local/services/scheduler/internal/placement"
	"coracle.local/services/scheduler/internal/queue"
)

const (
	// maxBinding bounds the placements that the API server has not answered:
	// what is placed on top of them may be placed in vain.
	maxBinding = 4096
	// tick is how often long waits are looked at.
	tick = 30 * time.Second
	// maxNote is the length of an event's message that the API server accepts.
	maxNote = 1024
	// volumesTimeout is how long the binding of volumes may take.
	volumesTimeout = 10 * time.Minute
)

// Config is what the engine needs. Tracer may be nil.
type Config struct {
	Log   *zap.Logger
	Clock clock.Clock
	// SchedulerName is the spec.schedulerName that this scheduler answers to.
	SchedulerName string

	Binder       Binder
	Status       StatusWriter
	Evictor      Evictor
	VolumeBinder VolumeBinder
	Recorder     Recorder

	Workloads cluster.Workloads
	Volumes   cluster.Volumes
	Budgets   Budgets

	Tracer  *trace.Tracer
	Metrics *Metrics
}

// Engine places pods.
type Engine struct {
	cfg     Config
	inbox   *inbox
	state   *cluster.State
	classes *placement.Classes
	queue   *queue.Queue
	filters map[string]filter.Filter
	feed    *Feed

	// leading is set while this process may place pods.
	leading  bool
	binding  map[types.UID]*binding
	promises promises
	// evicting are pods whose victims are being asked to leave; the value says
	// that something has happened since that might have helped them.
	evicting map[types.UID]bool
	// attempts counts decisions; preemption begins its search elsewhere each time.
	attempts int
	lastTick time.Time
	lastUse  time.Time
}

// New makes an engine that knows nothing and does not lead.
func New(cfg Config) *Engine {
	e := &Engine{
		cfg: cfg, inbox: newInbox(), queue: queue.New(), feed: NewFeed(),
		state:   cluster.NewState(cfg.Workloads, cfg.Volumes),
		filters: map[string]filter.Filter{}, binding: map[types.UID]*binding{},
		promises: newPromises(), evicting: map[types.UID]bool{},
		lastTick: cfg.Clock.Now(),
	}
	e.classes = placement.NewClasses(e.state)
	for _, f := range filter.All() {
		e.filters[f.Name()] = f
	}
	return e
}

// Feed streams decisions.
func (e *Engine) Feed() *Feed { return e.feed }

// Do hands the engine a function to run in its own time. It never blocks.
func (e *Engine) Do(f func()) { e.inbox.put(f) }

// Ask runs a function in the engine and waits for it.
func (e *Engine) Ask(ctx context.Context, f func()) error {
	done := make(chan struct{})
	e.Do(func() {
		defer close(done)
		f()
	})
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("ask the scheduler's loop: %w", ctx.Err())
	}
}

// Snapshot is the cluster at one moment, for readers elsewhere.
type Snapshot struct {
	View *cluster.View

	promises promises
}

// Promised lists the pods whose promised room a pod has to respect.
func (s *Snapshot) Promised(p *cluster.Pod) placement.Promised { return s.promises.before(p) }

// Snapshot returns the cluster as of now.
func (e *Engine) Snapshot(ctx context.Context) (*Snapshot, error) {
	var s *Snapshot
	err := e.Ask(ctx, func() { s = &Snapshot{View: e.state.Snapshot(), promises: e.promises.clone()} })
	return s, err
}

// Lead lets the engine place pods, or stops it.
func (e *Engine) Lead(leading bool) {
	e.Do(func() { e.leading = leading })
}

// Run works until ctx ends.
func (e *Engine) Run(ctx context.Context) error {
	defer e.feed.close()
	for ctx.Err() == nil {
		e.Turn()
		if e.Step() {
			continue
		}
		e.wait(ctx)
	}
	if err := ctx.Err(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// Turn does what was handed to the engine and what is due by the clock.
func (e *Engine) Turn() {
	e.inbox.drain()
	now := e.cfg.Clock.Now()
	e.queue.Flush(now)
	if now.Sub(e.lastTick) < tick {
		return
	}
	e.lastTick = now
	e.queue.FlushUnschedulable(now)
	e.expireVolumes(now)
	if now.Sub(e.lastUse) > 2*tick {
		e.classes.Clear()
	}
}

// Step makes one decision; false if there is nothing to decide.
func (e *Engine) Step() bool {
	if !e.leading || len(e.binding) >= maxBinding {
		return false
	}
	now := e.cfg.Clock.Now()
	entry := e.queue.Pop(now)
	if entry == nil {
		return false
	}
	e.lastUse = now
	e.decide(entry, now)
	return true
}

// wait blocks until there may be something to do.
func (e *Engine) wait(ctx context.Context) {
	e.cfg.Metrics.update(e)
	now := e.cfg.Clock.Now()
	until := e.lastTick.Add(tick)
	if next := e.queue.Next(); !next.IsZero() && next.Before(until) {
		until = next
	}
	timer := e.cfg.Clock.NewTimer(max(until.Sub(now), time.Millisecond))
	defer timer.Stop()
	select {
	case <-ctx.Done():
	case <-e.inbox.signal:
	case <-timer.C():
	}
}

// wake moves the waiting pods that an event may help.
func (e *Engine) wake(event cluster.Event) {
	e.wakeIf(event, nil)
}

// wakeIf is wake for those that may be woken.
func (e *Engine) wakeIf(event cluster.Event, may func(*queue.Entry) bool) {
	if e.queue.Len(queue.Unschedulable) == 0 {
		return
	}
	e.queue.Wake(e.cfg.Clock.Now(), func(entry *queue.Entry) bool {
		if may != nil && !may(entry) || !e.helps(event, entry.Pod, entry.RejectedBy) {
			return false
		}
		if _, busy := e.evicting[entry.Pod.UID()]; busy {
			e.evicting[entry.Pod.UID()] = true
			return false
		}
		return true
	})
}

// helps asks the filters that rejected a pod. A pod that no filter rejected
// found an empty cluster; anything but its own update will do.
func (e *Engine) helps(event cluster.Event, p *cluster.Pod, rejectedBy []string) bool {
	for _, name := range rejectedBy {
		f, ok := e.filters[name]
		if !ok || f.Helps(event, p) {
			return true
		}
	}
	return len(rejectedBy) == 0 && event.Kind != cluster.TargetChanged
}

// ours tells whether a pod asks for this scheduler.
func (e *Engine) ours(p *corev1.Pod) bool { return p.Spec.SchedulerName == e.cfg.SchedulerName }

func podField(p *corev1.Pod) zap.Field { return zap.String("pod", p.Namespace+"/"+p.Name) }
