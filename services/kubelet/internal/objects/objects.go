// Package objects follows the ConfigMaps and Secrets that a node's pods name,
// and no others: a node may not read more.
package objects

import (
	"context"
	"sync"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"
)

// Feed is where objects of one kind come from.
type Feed[T any] struct {
	Get func(ctx context.Context, namespace, name string) (T, error)
	// Watch follows one object until ctx is done or the stream breaks. each is
	// told of every state, the first one too; present is false after a
	// deletion.
	Watch func(ctx context.Context, namespace, name string, each func(object T, present bool)) error
}

// Store serves ConfigMaps and Secrets.
type Store struct {
	configMaps *cache[*corev1.ConfigMap]
	secrets    *cache[*corev1.Secret]
}

// New makes a store. changed is called, from any goroutine, with a pod when
// something it names has changed.
func New(cm Feed[*corev1.ConfigMap], s Feed[*corev1.Secret], c clock.Clock, log *zap.Logger, changed func(types.UID)) *Store {
	return &Store{
		configMaps: newCache(cm, c, log, changed),
		secrets:    newCache(s, c, log, changed),
	}
}

// Run follows what pods name until ctx is done.
func (s *Store) Run(ctx context.Context) error {
	var group sync.WaitGroup
	group.Go(func() { s.configMaps.run(ctx) })
	group.Go(func() { s.secrets.run(ctx) })
	group.Wait()
	return nil
}

// Use says which objects a pod names, now.
func (s *Store) Use(pod *corev1.Pod) {
	s.configMaps.use(pod.UID, pod.Namespace, configMaps(pod))
	s.secrets.use(pod.UID, pod.Namespace, secrets(pod))
}

// Forget says that a pod names nothing any more.
func (s *Store) Forget(uid types.UID) {
	s.configMaps.use(uid, "", nil)
	s.secrets.use(uid, "", nil)
}

// ConfigMap returns an object. It must not be modified.
func (s *Store) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	return s.configMaps.get(ctx, namespace, name)
}

// Secret returns an object. It must not be modified.
func (s *Store) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return s.secrets.get(ctx, namespace, name)
}

type key struct{ namespace, name string }

// cache follows the objects of one kind that pods name.
type cache[T any] struct {
	feed    Feed[T]
	clock   clock.Clock
	log     *zap.Logger
	changed func(types.UID)

	mu      sync.Mutex
	ctx     context.Context // of run
	group   sync.WaitGroup
	entries map[key]*entry[T]
	named   map[types.UID][]key
}

type entry[T any] struct {
	users  map[types.UID]bool
	object T
	known  bool // object is what the server has
	cancel context.CancelFunc
}

func newCache[T any](feed Feed[T], c clock.Clock, log *zap.Logger, changed func(types.UID)) *cache[T] {
	return &cache[T]{feed: feed, clock: c, log: log, changed: changed, entries: map[key]*entry[T]{}, named: map[types.UID][]key{}}
}

func (c *cache[T]) run(ctx context.Context) {
	c.mu.Lock()
	c.ctx = ctx
	for k, e := range c.entries {
		c.follow(k, e)
	}
	c.mu.Unlock()
	<-ctx.Done()
	c.group.Wait()
}

// use sets what a pod names: new objects are followed, those that nobody names
// any more are not.
func (c *cache[T]) use(uid types.UID, namespace string, names []string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	before := c.named[uid]
	delete(c.named, uid)
	for _, name := range names {
		k := key{namespace, name}
		c.named[uid] = append(c.named[uid], k)
		e, ok := c.entries[k]
		if !ok {
			e = &entry[T]{users: map[types.UID]bool{}}
			c.entries[k] = e
			c.follow(k, e)
		}
		e.users[uid] = true
	}
	for _, k := range before {
		if !contains(c.named[uid], k) {
			c.drop(k, uid)
		}
	}
}

func contains(list []key, k key) bool {
	for _, x := range list {
		if x == k {
			return true
		}
	}
	return false
}

func (c *cache[T]) drop(k key, uid types.UID) {
	e := c.entries[k]
	if e == nil {
		return
	}
	delete(e.users, uid)
	if len(e.users) > 0 {
		return
	}
	if e.cancel != nil {
		e.cancel()
	}
	delete(c.entries, k)
}

// Delays between two watches of an object.
const (
	firstDelay = 100 * time.Millisecond
	lastDelay  = 30 * time.Second
)

// follow starts watching; before run there is no context to do so under.
func (c *cache[T]) follow(k key, e *entry[T]) {
	if c.ctx == nil || c.ctx.Err() != nil || e.cancel != nil {
		return
	}
	ctx, cancel := context.WithCancel(c.ctx)
	e.cancel = cancel
	c.group.Go(func() {
		defer cancel()
		delay := firstDelay
		for ctx.Err() == nil {
			err := c.feed.Watch(ctx, k.namespace, k.name, func(object T, present bool) {
				delay = firstDelay
				c.set(e, object, present)
			})
			c.unknown(e)
			if err != nil && ctx.Err() == nil {
				c.log.Info("watch of a pod's object ended", zap.String("namespace", k.namespace), zap.String("name", k.name), zap.Error(err))
			}
			select {
			case <-ctx.Done():
			case <-c.clock.After(delay):
			}
			delay = min(2*delay, lastDelay)
		}
	})
}

func (c *cache[T]) set(e *entry[T], object T, present bool) {
	c.mu.Lock()
	e.object, e.known = object, present
	users := make([]types.UID, 0, len(e.users))
	for uid := range e.users {
		users = append(users, uid)
	}
	c.mu.Unlock()
	for _, uid := range users {
		c.changed(uid)
	}
}

// unknown forgets what a broken watch had told: until the next one, the server
// is asked.
func (c *cache[T]) unknown(e *entry[T]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	e.known = false
}

func (c *cache[T]) get(ctx context.Context, namespace, name string) (T, error) {
	c.mu.Lock()
	e, ok := c.entries[key{namespace, name}]
	if ok && e.known {
		defer c.mu.Unlock()
		return e.object, nil
	}
	c.mu.Unlock()
	// Not followed, not yet seen, or deleted: only the server can tell.
	return c.feed.Get(ctx, namespace, name)
}
