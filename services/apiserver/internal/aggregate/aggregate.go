// Package aggregate serves API groups that other servers have, as APIService
// objects say: it passes requests on, watches whether the servers answer, and
// knows what they serve. It also keeps the APIServices of what is served here.
package aggregate

import (
	"context"
	"crypto/tls"
	"sync"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/util/workqueue"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/backend"
	"coracle.local/services/apiserver/internal/cache"
	"coracle.local/services/apiserver/internal/catalog"
)

const (
	workers = 4
	// recheck is how often a server that answers is asked again.
	recheck = 30 * time.Second
	// Waits before what failed is tried again: upstream's.
	firstRetry, lastRetry = 5 * time.Millisecond, 30 * time.Second
)

// Writer writes APIServices.
type Writer interface {
	Create(ctx context.Context, s *apiregistrationv1.APIService) error
	// Update changes the object, or its status alone.
	Update(ctx context.Context, name, subresource string, change func(*apiregistrationv1.APIService)) error
	// Delete deletes the object if it is still the one with the UID.
	Delete(ctx context.Context, s *apiregistrationv1.APIService) error
}

// Observer tells of objects as they change: the cache.
type Observer interface {
	Observe(k *kinds.Kind, f func(i *cache.Item, gone bool))
}

// Config is what the aggregator needs; all but Client must be set.
type Config struct {
	Log      *zap.Logger
	Objects  Observer
	Catalog  *catalog.Catalog
	Writer   Writer
	Backends backend.Backends
	// Client is the certificate by which other servers trust what is said of
	// callers.
	Client tls.Certificate
}

// Aggregator is made with New before the cache is filled; Run keeps it.
type Aggregator struct {
	cfg   Config
	queue workqueue.TypedRateLimitingInterface[string]

	mu       sync.Mutex
	services map[string]*apiregistrationv1.APIService
	remotes  map[string]*remote // by APIService
	wanted   map[string]*apiregistrationv1.APIService
	atStart  map[string]bool
	synced   map[string]bool

	routes     atomic.Pointer[routes]
	generation atomic.Int64
}

// routes are the versions that other servers have. They are never modified.
type routes struct {
	byVersion map[schema.GroupVersion]*remote
	groups    map[string]bool
}

// New returns an aggregator that observes what it needs to know.
func New(cfg Config) *Aggregator {
	a := &Aggregator{
		cfg:      cfg,
		services: map[string]*apiregistrationv1.APIService{}, remotes: map[string]*remote{},
		wanted: builtIn(), atStart: map[string]bool{}, synced: map[string]bool{},
		queue: workqueue.NewTypedRateLimitingQueue(workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, lastRetry)),
	}
	a.routes.Store(&routes{})
	cfg.Objects.Observe(kinds.For[*apiregistrationv1.APIService](), a.serviceChanged)
	cfg.Objects.Observe(kinds.For[*corev1.Service](), func(i *cache.Item, _ bool) { a.backendChanged(i.Namespace, func() string { return i.Name }) })
	cfg.Objects.Observe(kinds.For[*discoveryv1.EndpointSlice](), func(i *cache.Item, _ bool) {
		a.backendChanged(i.Namespace, func() string { return i.Labels()[discoveryv1.LabelServiceName] })
	})
	cfg.Catalog.Observe(a.catalogChanged)
	return a
}

// Run works until ctx ends. Nothing is written before ready is closed.
func (a *Aggregator) Run(ctx context.Context, ready <-chan struct{}) error {
	defer a.queue.ShutDown()
	select {
	case <-ready:
	case <-ctx.Done():
		return nil
	}
	a.mu.Lock()
	for name := range a.services {
		a.atStart[name] = true
	}
	for name := range a.wanted {
		a.queue.Add(name)
	}
	a.mu.Unlock()
	var group sync.WaitGroup
	for range workers {
		group.Go(func() { a.work(ctx) })
	}
	<-ctx.Done()
	a.queue.ShutDown()
	group.Wait()
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, r := range a.remotes {
		r.close()
	}
	return nil
}

func (a *Aggregator) work(ctx context.Context) {
	for {
		name, ended := a.queue.Get()
		if ended {
			return
		}
		again, err := a.sync(ctx, name)
		switch {
		case err != nil && ctx.Err() == nil:
			a.cfg.Log.Debug("API service is tried again", zap.String("apiservice", name), zap.Error(err))
			a.queue.AddRateLimited(name)
		default:
			a.queue.Forget(name)
			if again > 0 {
				a.queue.AddAfter(name, again)
			}
		}
		a.queue.Done(name)
	}
}

// sync does what is to be done about one APIService, and tells when to look
// again if nothing happens.
func (a *Aggregator) sync(ctx context.Context, name string) (time.Duration, error) {
	if err := a.register(ctx, name); err != nil {
		return 0, err
	}
	a.mu.Lock()
	s, r := a.services[name], a.remotes[name]
	a.mu.Unlock()
	switch {
	case s == nil:
		return 0, nil
	case r == nil:
		return 0, a.setCondition(ctx, s, local)
	}
	condition, failed := r.examine(ctx, s)
	if err := a.setCondition(ctx, s, condition); err != nil {
		return 0, err
	}
	if r.learn(ctx, condition.Status == apiregistrationv1.ConditionTrue) {
		a.generation.Add(1)
	}
	return recheck, failed
}

// serviceChanged notes a change of an APIService. It is called in order.
func (a *Aggregator) serviceChanged(i *cache.Item, gone bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	old := a.remotes[i.Name]
	delete(a.services, i.Name)
	delete(a.remotes, i.Name)
	if !gone {
		s := i.Object().(*apiregistrationv1.APIService)
		a.services[i.Name] = s
		if s.Spec.Service != nil {
			a.remotes[i.Name] = a.remote(s, old)
		}
	}
	if old != nil && a.remotes[i.Name] != old {
		old.close()
	}
	if old != nil || a.remotes[i.Name] != nil {
		a.route()
	}
	a.queue.Add(i.Name)
}

// route makes the routes anew.
func (a *Aggregator) route() {
	r := &routes{byVersion: map[schema.GroupVersion]*remote{}, groups: map[string]bool{}}
	for _, one := range a.remotes {
		r.byVersion[one.version] = one
		r.groups[one.version.Group] = true
	}
	a.routes.Store(r)
	a.generation.Add(1)
}

// backendChanged looks again at the APIServices of a Service.
func (a *Aggregator) backendChanged(namespace string, name func() string) {
	if len(a.routes.Load().byVersion) == 0 {
		return
	}
	for _, r := range a.routes.Load().byVersion {
		if r.service.namespace == namespace && r.service.name == name() {
			a.queue.Add(r.name)
		}
	}
}
