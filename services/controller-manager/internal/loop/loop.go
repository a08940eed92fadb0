// Package loop runs reconcilers: it waits for a key, reads the caches,
// computes a plan, carries it out and backs off.
package loop

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"

	"coracle.local/libs/kinds"
	"coracle.local/libs/trace"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/plan"
)

// Key names the object that most controllers reconcile.
type Key = cache.ObjectName

// Spec is one reconciler: where its keys come from, and two functions. S is
// the observed state, which holds all that Compute may look at.
type Spec[K comparable, S any] struct {
	// Name is the controller's, as in --controllers.
	Name string
	// Part tells apart the loops of a controller that has several.
	Part string
	// Component is the source of its events; empty is Name.
	Component string
	// Workers is how many keys are worked on at once; 0 is 5. 1 is not to be
	// overridden.
	Workers int
	Sources []Source[K]
	// Listen, if not nil, is given a way to have keys looked at for changes that
	// no source of the list tells of.
	Listen func(add func(K))
	// Start is looked at when the loop begins, whatever there is in the caches.
	Start []K
	// Reads are the caches that Observe needs beside those of Sources.
	Reads []cluster.Cache
	// Observe reads caches; false means that there is nothing to reconcile.
	Observe func(key K, now time.Time) (S, bool)
	// Compute is pure.
	Compute func(observed S, now time.Time) plan.Plan
	// First and Longest are the back-off after failures; 0 is 5 ms and 1000 s.
	First, Longest time.Duration
}

// Source says which keys a change of some cache concerns.
type Source[K comparable] struct {
	Cache cluster.Cache
	Keys  func(before, after kinds.Object) []K
	// Delay gathers changes that come in bursts.
	Delay time.Duration
}

// Deps is what all loops of a manager share.
type Deps struct {
	Log     *zap.Logger
	API     cluster.API
	Clock   clock.WithTicker
	Journal *Journal
	Metrics *Metrics
	Tracer  *trace.Tracer
	// Workers overrides how many keys a controller works on at once, by name.
	Workers map[string]int
}

// Loop is a reconciler that can run.
type Loop interface {
	// Run blocks until ctx ends and leaves no goroutine.
	Run(ctx context.Context) error
	// Status tells what the loop is doing.
	Status() Status
	// Requeue makes the loop look at a key soon. The text is what Status shows.
	Requeue(key string) bool
	// Manual makes the loop one that is stepped by hand, for tests. It must be
	// called before the first change is told to it.
	Manual() Stepper
}

const (
	defaultWorkers = 5
	defaultFirst   = 5 * time.Millisecond
	defaultLongest = 1000 * time.Second
	// recheck is how soon a key that waits for a cache is looked at again even
	// if no change releases it, as when another kind than it waited for first
	// is behind, too.
	recheck = time.Second
)

type loop[K comparable, S any] struct {
	Spec[K, S]
	Deps
	log    *zap.Logger
	queue  queue[K]
	behind *behind[K]
	env    plan.Env
	known  sync.Map // text of a key -> K, of the keys that failed last
	state  state
}

// queue is the part of workqueue.TypedRateLimitingInterface in use here.
type queue[K comparable] interface {
	Add(K)
	AddAfter(K, time.Duration)
	AddRateLimited(K)
	Forget(K)
	Get() (K, bool)
	Done(K)
	Len() int
	ShutDown()
}

// New makes a loop of a spec and listens to its sources.
func New[K comparable, S any](d Deps, spec Spec[K, S]) Loop {
	if n := d.Workers[spec.Name]; n > 0 && spec.Workers != 1 {
		spec.Workers = n
	}
	if spec.Workers == 0 {
		spec.Workers = defaultWorkers
	}
	if spec.Component == "" {
		spec.Component = spec.Name
	}
	if spec.First == 0 {
		spec.First, spec.Longest = defaultFirst, defaultLongest
	}
	l := &loop[K, S]{Spec: spec, Deps: d, log: d.Log.Named(spec.Name)}
	if spec.Part != "" {
		l.log = l.log.With(zap.String("part", spec.Part))
	}
	var caches []cluster.Cache
	for _, s := range spec.Sources {
		caches = append(caches, s.Cache)
	}
	l.behind = newBehind[K](caches)
	l.env = plan.Env{Calls: d.API, Events: d.API.Recorder(spec.Component)}
	for _, s := range spec.Sources {
		s.Cache.OnChange(func(before, after kinds.Object) {
			for _, k := range s.Keys(before, after) {
				l.add(k, s.Delay)
			}
			for _, k := range l.behind.released(s.Cache.Kind(), l.Clock.Now()) {
				l.add(k, 0)
			}
		})
	}
	if spec.Listen != nil {
		spec.Listen(func(k K) { l.add(k, 0) })
	}
	return l
}

// add is also called before the loop runs, while caches fill.
func (l *loop[K, S]) add(k K, delay time.Duration) {
	q := l.work()
	if delay > 0 {
		q.AddAfter(k, delay)
		return
	}
	q.Add(k)
}

// work is the queue, made when first needed so that Manual can set another.
func (l *loop[K, S]) work() queue[K] {
	l.state.mu.Lock()
	defer l.state.mu.Unlock()
	if l.queue == nil {
		l.queue = workqueue.NewTypedRateLimitingQueueWithConfig(
			workqueue.NewTypedItemExponentialFailureRateLimiter[K](l.First, l.Longest),
			workqueue.TypedRateLimitingQueueConfig[K]{Clock: l.Clock})
	}
	return l.queue
}

func (l *loop[K, S]) Run(ctx context.Context) error {
	q := l.work()
	stop := context.AfterFunc(ctx, q.ShutDown)
	defer stop()
	defer q.ShutDown()
	for _, c := range l.caches() {
		select {
		case <-c.Synced():
		case <-ctx.Done():
			return nil
		}
	}
	l.begin()
	l.state.set(func(s *Status) { s.Running = true })
	defer l.state.set(func(s *Status) { s.Running = false })
	// One goroutine waits; workers exist only while they work, because many
	// controllers idle most of the time.
	var wg sync.WaitGroup
	defer wg.Wait()
	slots := make(chan struct{}, l.Spec.Workers)
	for {
		slots <- struct{}{}
		k, closed := q.Get()
		if closed {
			return nil
		}
		wg.Go(func() {
			defer func() { <-slots }()
			l.process(ctx, k)
		})
	}
}

func (l *loop[K, S]) begin() {
	for _, k := range l.Start {
		l.add(k, 0)
	}
}

func (l *loop[K, S]) caches() []cluster.Cache {
	out := append([]cluster.Cache(nil), l.Reads...)
	for _, s := range l.Sources {
		out = append(out, s.Cache)
	}
	return out
}

// process looks at one key and says when to look again.
func (l *loop[K, S]) process(ctx context.Context, k K) {
	q := l.work()
	defer q.Done(k)
	start := l.Clock.Now()
	if l.behind.waits(k, start) {
		// What this controller wrote last is not in the cache yet: to compute
		// now would be to do the same again.
		l.Metrics.waited(l.Name)
		q.AddAfter(k, recheck)
		return
	}
	record := Record{Controller: l.Name, Part: l.Part, Key: fmt.Sprint(k), Start: start}
	after, err := l.reconcile(ctx, k, start, &record)
	record.Took, record.After = l.Clock.Since(start), after
	l.finish(ctx, k, record, err)
	if err != nil {
		q.AddRateLimited(k)
	} else {
		q.Forget(k)
	}
	if after > 0 {
		q.AddAfter(k, after)
	}
}

func (l *loop[K, S]) reconcile(ctx context.Context, k K, now time.Time, record *Record) (after time.Duration, err error) {
	defer func() {
		// One object that nobody thought of must not end all controllers.
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
			l.log.Error("reconciler panicked", zap.Any("panic", p), zap.ByteString("stack", debug.Stack()))
		}
	}()
	observed, ok := l.Observe(k, now)
	if !ok {
		l.behind.forget(k)
		return 0, nil
	}
	env := l.env
	env.Wrote = func(w plan.Write) { l.behind.wrote(k, w, now) }
	env.Did = func(a plan.Action, _ error) { record.Actions = append(record.Actions, a.String()) }
	env.Made = func(o kinds.Object, start time.Time) { l.trace(o, record.Key, start) }
	env.Now = l.Clock.Now
	return plan.Run(ctx, &env, l.Compute(observed, now))
}

// trace adds to a pod's trace who asked for it.
func (l *loop[K, S]) trace(o kinds.Object, key string, start time.Time) {
	if p, ok := o.(*corev1.Pod); ok {
		l.Tracer.Record(p.UID, "controller", start, l.Clock.Now(), attribute.String("controller", l.Name), attribute.String("key", key))
	}
}

func (l *loop[K, S]) finish(ctx context.Context, k K, record Record, err error) {
	text := record.Key
	if err == nil || ctx.Err() != nil {
		l.known.Delete(text)
	} else {
		record.Err = err.Error()
		l.known.Store(text, k)
		// Conflicts are the ordinary way to learn that a cache was behind.
		if apierrors.IsConflict(err) {
			l.log.Debug("reconcile again", zap.String("key", text), zap.Error(err))
		} else {
			l.log.Warn("reconcile failed", zap.String("key", text), zap.Error(err))
		}
	}
	l.Metrics.reconciled(l.Name, record.Took, err)
	l.state.record(record)
	if len(record.Actions) > 0 || record.Err != "" {
		l.Journal.publish(record)
	}
}

func (l *loop[K, S]) Status() Status {
	s := l.state.get()
	s.Controller, s.Part, s.Workers = l.Name, l.Part, l.Spec.Workers
	l.state.mu.Lock()
	q := l.queue
	l.state.mu.Unlock()
	if q != nil {
		s.Depth = q.Len()
	}
	return s
}

func (l *loop[K, S]) Requeue(key string) bool {
	if k, ok := l.known.Load(key); ok {
		l.work().Add(k.(K))
		return true
	}
	name, err := cache.ParseObjectName(key)
	k, ok := any(name).(K)
	if err != nil || !ok {
		return false
	}
	l.work().Add(k)
	return true
}
