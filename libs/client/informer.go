package client

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"

	"github.com/go-logr/logr"
	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	"k8s.io/klog/v2"

	"coracle.local/libs/apistatus"
	"coracle.local/libs/kinds"
	apiv1 "coracle.local/proto/coracle/api/v1"
)

var eventTypes = map[apiv1.EventType]watch.EventType{
	apiv1.EventType_EVENT_TYPE_ADDED:    watch.Added,
	apiv1.EventType_EVENT_TYPE_MODIFIED: watch.Modified,
	apiv1.EventType_EVENT_TYPE_DELETED:  watch.Deleted,
	apiv1.EventType_EVENT_TYPE_BOOKMARK: watch.Bookmark,
}

// listerWatcher feeds client-go's reflector from the watch stream; the list
// comes as initial events.
type listerWatcher struct {
	client Client[kinds.Object]
	scope  ListOptions
}

func (l listerWatcher) List(o metav1.ListOptions) (runtime.Object, error) {
	return l.ListWithContext(context.Background(), o)
}

func (l listerWatcher) Watch(o metav1.ListOptions) (watch.Interface, error) {
	return l.WatchWithContext(context.Background(), o)
}

func (l listerWatcher) ListWithContext(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
	scope := l.scope
	scope.ResourceVersion, scope.ResourceVersionMatch = o.ResourceVersion, string(o.ResourceVersionMatch)
	scope.Limit, scope.Continue = o.Limit, o.Continue
	items, revision, err := l.client.List(ctx, scope)
	if err != nil {
		return nil, err
	}
	return &objectList{ListMeta: metav1.ListMeta{ResourceVersion: revision}, Items: items}, nil
}

func (l listerWatcher) WatchWithContext(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
	ctx, cancel := context.WithCancel(ctx)
	stream, err := l.client.Watch(ctx, WatchOptions{
		Namespace: l.scope.Namespace, LabelSelector: l.scope.LabelSelector, FieldSelector: l.scope.FieldSelector,
		ResourceVersion:   o.ResourceVersion,
		SendInitialEvents: o.SendInitialEvents != nil && *o.SendInitialEvents,
	})
	if err != nil {
		cancel()
		return nil, err
	}
	s := &streamWatch{stream: stream, cancel: cancel, ctx: ctx, result: make(chan watch.Event, 64)}
	go s.run()
	return s, nil
}

// streamWatch is a gRPC watch as client-go knows watches.
type streamWatch struct {
	stream *Watch[kinds.Object]
	ctx    context.Context
	cancel context.CancelFunc
	result chan watch.Event
}

func (s *streamWatch) Stop() { s.cancel() }

func (s *streamWatch) ResultChan() <-chan watch.Event { return s.result }

func (s *streamWatch) run() {
	defer close(s.result)
	defer s.cancel()
	for {
		e, err := s.stream.Recv()
		out := watch.Event{Type: eventTypes[e.Type], Object: e.Object}
		if err != nil {
			if errors.Is(err, io.EOF) || s.ctx.Err() != nil || Transient(err) {
				return // the reflector opens the next one from where it is
			}
			status := apistatus.Of(err)
			out = watch.Event{Type: watch.Error, Object: &status}
		}
		select {
		case s.result <- out:
		case <-s.ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

// objectList is a list of any kind for the reflector.
type objectList struct {
	metav1.TypeMeta
	metav1.ListMeta
	Items []kinds.Object
}

func (l *objectList) DeepCopyObject() runtime.Object {
	out := &objectList{TypeMeta: l.TypeMeta, ListMeta: *l.ListMeta.DeepCopy(), Items: make([]kinds.Object, len(l.Items))}
	for i, o := range l.Items {
		out.Items[i] = o.DeepCopyObject().(kinds.Object)
	}
	return out
}

// Informers owns the informers of a component; each (kind, selector) is watched
// once.
type Informers struct {
	conn *Conn
	log  *zap.Logger

	mu      sync.Mutex
	byScope map[string]cache.SharedIndexInformer
	group   sync.WaitGroup
	ctx     context.Context // set by Run
}

// NewInformers returns an empty set.
func NewInformers(c *Conn) *Informers {
	return &Informers{conn: c, log: zap.NewNop(), byScope: map[string]cache.SharedIndexInformer{}}
}

// LogTo has watches that fail for other reasons than a lost connection told to
// log. Call it before asking for informers.
func (f *Informers) LogTo(log *zap.Logger) *Informers {
	f.log = log
	return f
}

type informerConfig struct {
	scope     ListOptions
	indexers  cache.Indexers
	transform cache.TransformFunc
}

// InformerOption narrows or shapes an informer.
type InformerOption func(*informerConfig)

// WithNamespace watches one namespace.
func WithNamespace(ns string) InformerOption {
	return func(c *informerConfig) { c.scope.Namespace = ns }
}

// WithFieldSelector watches matching objects only.
func WithFieldSelector(s string) InformerOption {
	return func(c *informerConfig) { c.scope.FieldSelector = s }
}

// WithLabelSelector watches matching objects only.
func WithLabelSelector(s string) InformerOption {
	return func(c *informerConfig) { c.scope.LabelSelector = s }
}

// WithIndexers adds indexes beside the one by namespace.
func WithIndexers(x cache.Indexers) InformerOption {
	return func(c *informerConfig) { c.indexers = x }
}

// WithTransform changes each object before it is kept. The default drops
// managedFields, which no component reads.
func WithTransform(f cache.TransformFunc) InformerOption {
	return func(c *informerConfig) { c.transform = f }
}

// Informer returns the informer of a Go type.
func Informer[T kinds.Object](f *Informers, o ...InformerOption) cache.SharedIndexInformer {
	return DynamicInformer(f, kinds.For[T](), o...)
}

// DynamicInformer returns the informer of any kind of the table.
func DynamicInformer(f *Informers, k *kinds.Kind, o ...InformerOption) cache.SharedIndexInformer {
	cfg := informerConfig{transform: dropManagedFields}
	for _, option := range o {
		option(&cfg)
	}
	scope := strings.Join([]string{k.GroupVersionResource().String(), cfg.scope.Namespace, cfg.scope.LabelSelector, cfg.scope.FieldSelector}, "|")
	f.mu.Lock()
	defer f.mu.Unlock()
	if have := f.byScope[scope]; have != nil {
		addIndexers(have, cfg.indexers)
		return have
	}
	indexers := cache.Indexers{cache.NamespaceIndex: cache.MetaNamespaceIndexFunc}
	for name, fn := range cfg.indexers {
		indexers[name] = fn
	}
	inf := cache.NewSharedIndexInformer(listerWatcher{Dynamic(f.conn, k), cfg.scope}, k.New(), 0, indexers)
	if err := inf.SetTransform(cfg.transform); err != nil {
		panic(fmt.Sprintf("client: a new informer refuses its transform: %v", err))
	}
	if err := inf.SetWatchErrorHandlerWithContext(f.watchFailed(k)); err != nil {
		panic(fmt.Sprintf("client: a new informer refuses its error handler: %v", err))
	}
	f.byScope[scope] = inf
	if f.ctx != nil {
		f.start(inf)
	}
	return inf
}

func addIndexers(inf cache.SharedIndexInformer, more cache.Indexers) {
	have := inf.GetIndexer().GetIndexers()
	add := cache.Indexers{}
	for name, fn := range more {
		if _, ok := have[name]; !ok {
			add[name] = fn
		}
	}
	if len(add) == 0 {
		return
	}
	if err := inf.AddIndexers(add); err != nil {
		panic(fmt.Sprintf("client: indexers asked for after the informer stopped: %v", err))
	}
}

func dropManagedFields(o any) (any, error) {
	if m, ok := o.(metav1.Object); ok {
		m.SetManagedFields(nil)
	}
	return o, nil
}

// Run feeds all informers, those asked for later as well, until ctx ends.
func (f *Informers) Run(ctx context.Context) error {
	f.mu.Lock()
	f.ctx = ctx
	for _, inf := range f.byScope {
		f.start(inf)
	}
	f.mu.Unlock()
	<-ctx.Done()
	f.group.Wait()
	return nil
}

// watchFailed takes the place of client-go's own logging.
func (f *Informers) watchFailed(k *kinds.Kind) cache.WatchErrorHandlerWithContext {
	return func(ctx context.Context, _ *cache.Reflector, err error) {
		if ctx.Err() != nil || errors.Is(err, io.EOF) || Transient(err) || apierrors.IsResourceExpired(err) {
			return
		}
		f.log.Warn("watch failed and is tried again", zap.String("resource", k.String()), zap.Error(err))
	}
}

func (f *Informers) start(inf cache.SharedIndexInformer) {
	f.group.Add(1)
	go func() {
		defer f.group.Done()
		inf.RunWithContext(klog.NewContext(f.ctx, logr.Discard()))
	}()
}

// WaitForSync waits until every informer asked for so far has the present
// state. It fails only when ctx ends.
func (f *Informers) WaitForSync(ctx context.Context) error {
	f.mu.Lock()
	var synced []cache.DoneChecker
	for _, inf := range f.byScope {
		synced = append(synced, inf.HasSyncedChecker())
	}
	f.mu.Unlock()
	return WaitFor(ctx, synced...)
}

// WaitFor waits until all informers or handlers have the present state. It fails
// only when ctx ends.
func WaitFor(ctx context.Context, synced ...cache.DoneChecker) error {
	for _, s := range synced {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.Done():
		}
	}
	return nil
}
