package cluster

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"sync"
	"sync/atomic"
	"time"

	"github.com/go-logr/logr"
	"go.uber.org/zap"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/metadata"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"
	apiregistrationv1 "k8s.io/kube-aggregator/pkg/apis/apiregistration/v1"

	"coracle.local/libs/kinds"
)

// extensions finds kinds by discovery and follows their objects by metadata,
// over REST. As long as there is no CustomResourceDefinition and no remote
// APIService it does nothing at all.
type extensions struct {
	log         *zap.Logger
	config      func() (*rest.Config, error)
	definitions Cache
	services    Cache
	indexers    cache.Indexers
	listeners   []func(k *kinds.Kind, before, after kinds.Object)
	found       []func(k *kinds.Kind)
	changed     chan struct{}
	settled     atomic.Bool
	group       sync.WaitGroup // informers
	told        string         // the last warning, which is not repeated

	mu     sync.Mutex
	caches map[schema.GroupResource]*remoteCache

	// The clients, made when they are first needed.
	connecting sync.Mutex
	http       *http.Client
	server     *url.URL
	meta       metadata.Interface

	// What follows is for one look at a time.
	looking sync.Mutex
	etag    string
	rows    map[schema.GroupResource]*kinds.Kind
	last    []*kinds.Kind
	lastErr error
}

func newExtensions(g *GRPC) *extensions {
	e := &extensions{
		log: g.log.Named("extensions"), config: g.rest,
		definitions: g.Metadata(kinds.For[*apiextensionsv1.CustomResourceDefinition]()), services: Of[*apiregistrationv1.APIService](g),
		indexers: cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}, changed: make(chan struct{}, 1),
		caches: map[schema.GroupResource]*remoteCache{}, rows: map[schema.GroupResource]*kinds.Kind{},
	}
	tell := func(_, _ kinds.Object) {
		select {
		case e.changed <- struct{}{}:
		default:
		}
	}
	e.definitions.OnChange(tell)
	e.services.OnChange(tell)
	return e
}

func (e *extensions) Index(name string, keys cache.IndexFunc) { e.indexers[name] = keys }
func (e *extensions) OnChange(l func(k *kinds.Kind, before, after kinds.Object)) {
	e.listeners = append(e.listeners, l)
}
func (e *extensions) OnKind(l func(k *kinds.Kind)) { e.found = append(e.found, l) }
func (e *extensions) Settled() bool                { return e.settled.Load() }

// Reads implements Extensions.
func (e *extensions) Reads() []Cache { return []Cache{e.definitions, e.services} }

// Caches implements Extensions.
func (e *extensions) Caches() []Cache {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := make([]Cache, 0, len(e.caches))
	for _, c := range e.caches {
		out = append(out, c)
	}
	return out
}

// needed tells whether anything can be there beyond the table.
func (e *extensions) needed() bool {
	if e.config == nil {
		return false
	}
	if len(e.definitions.Indexer().ListKeys()) > 0 {
		return true
	}
	for _, s := range List[*apiregistrationv1.APIService](e.services, "") {
		if s.Spec.Service != nil {
			return true
		}
	}
	return false
}

// discover asks for the kinds there are now.
func (e *extensions) discover(ctx context.Context) ([]*kinds.Kind, error) {
	if !e.needed() {
		return nil, nil
	}
	if err := e.connect(); err != nil {
		return nil, err
	}
	e.looking.Lock()
	defer e.looking.Unlock()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	list, etag, err := groupList(ctx, e.http, e.server, e.etag)
	if err != nil || list == nil {
		return e.last, errors.Join(err, e.lastErr)
	}
	rows, err := foreign(list)
	for i, k := range rows {
		// A row stays the same object while it says the same, since rows are
		// compared by address.
		if old := e.rows[k.GroupResource()]; old != nil && same(old, k) {
			rows[i] = old
		}
		e.rows[k.GroupResource()] = rows[i]
	}
	e.etag, e.last, e.lastErr = etag, rows, err
	return rows, err
}

const (
	// every is how often kinds are looked for while there may be some: servers
	// behind this one change theirs without telling.
	every = 30 * time.Second
	// patience is how long the first objects are waited for.
	patience = 30 * time.Second
)

// soon is when kinds are looked for after a definition changed: what is
// established now may be served a little later.
var soon = []time.Duration{20 * time.Millisecond, 200 * time.Millisecond, time.Second, 5 * time.Second}

// run looks for kinds until ctx ends.
func (e *extensions) run(ctx context.Context) {
	defer e.close()
	defer e.group.Wait()
	for _, c := range e.Reads() {
		select {
		case <-c.Synced():
		case <-ctx.Done():
			return
		}
	}
	step := len(soon)
	e.look(ctx)
	e.group.Go(func() { e.settle(ctx) })
	for {
		var timer <-chan time.Time
		switch {
		case step < len(soon):
			timer = time.After(soon[step])
			step++
		case e.needed():
			timer = time.After(every)
		}
		select {
		case <-ctx.Done():
			return
		case <-e.changed:
			step = 0
		case <-timer:
			e.look(ctx)
		}
	}
}

// look follows the kinds there are and leaves those that went.
func (e *extensions) look(ctx context.Context) {
	rows, err := e.discover(ctx)
	if ctx.Err() != nil {
		return
	}
	partial := (*DiscoveryError)(nil)
	if err == nil {
		e.told = ""
	} else {
		if text := err.Error(); text != e.told {
			e.told = text
			e.log.Warn("discovery is not complete", zap.Error(err))
		}
		if !errors.As(err, &partial) {
			return // nothing is known: what was there is taken to be there still
		}
	}
	there := map[schema.GroupResource]*kinds.Kind{}
	for _, k := range rows {
		if k.Has("list") && k.Has("watch") {
			there[k.GroupResource()] = k
		}
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for gr, c := range e.caches {
		if partial != nil && partial.Groups[c.kind.GroupVersion()] != nil && there[gr] == nil {
			continue // its group does not answer
		}
		if there[gr] != c.kind {
			c.cancel()
			delete(e.caches, gr)
		}
	}
	for gr, k := range there {
		if e.caches[gr] == nil {
			e.follow(ctx, k)
		}
	}
}

// follow starts the informer of a kind; e.mu is held.
func (e *extensions) follow(ctx context.Context, k *kinds.Kind) {
	ctx, cancel := context.WithCancel(klog.NewContext(ctx, logr.Discard()))
	lister := e.meta.Resource(k.GroupVersionResource())
	inf := cache.NewSharedIndexInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) { return lister.List(ctx, o) },
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			return lister.Watch(ctx, o)
		},
	}, &metav1.PartialObjectMetadata{}, 0, e.indexers)
	tell := func(before, after any) {
		if gone, ok := before.(cache.DeletedFinalStateUnknown); ok {
			before = gone.Obj
		}
		b, _ := before.(kinds.Object)
		a, _ := after.(kinds.Object)
		if b == nil && a == nil {
			return
		}
		for _, l := range e.listeners {
			l(k, b, a)
		}
	}
	err := errors.Join(inf.SetTransform(onlyMetadata), inf.SetWatchErrorHandlerWithContext(func(ctx context.Context, _ *cache.Reflector, err error) {
		if ctx.Err() == nil {
			e.log.Debug("watch failed and is tried again", zap.String("resource", k.String()), zap.Error(err))
		}
	}))
	registration, failed := inf.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc:    func(o any) { tell(nil, o) },
		UpdateFunc: tell,
		DeleteFunc: func(o any) { tell(o, nil) },
	})
	if err = errors.Join(err, failed); err != nil {
		panic(err) // only an informer that has begun refuses
	}
	e.caches[k.GroupResource()] = &remoteCache{kind: k, informer: inf, cancel: cancel}
	e.group.Go(func() { inf.RunWithContext(ctx) })
	e.group.Go(func() {
		select {
		case <-registration.HasSyncedChecker().Done():
		case <-ctx.Done():
			return
		}
		for _, l := range e.found {
			l(k)
		}
	})
}

// settle waits for the objects of the first kinds, but not for ever: one group
// that does not answer must not stop the rest.
func (e *extensions) settle(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	defer e.settled.Store(true)
	for _, c := range e.Caches() {
		select {
		case <-c.Synced():
		case <-ctx.Done():
			return
		}
	}
}
