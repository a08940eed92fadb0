// Package registry is the one path of every read and write, whatever front it
// came by: admission, defaults, validation, and compare-and-put.
package registry

import (
	"context"
	"errors"
	"strconv"
	"time"

	"go.uber.org/zap"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/clock"

	"coracle.local/libs/kinds"
	"coracle.local/libs/trace"
	"coracle.local/services/apiserver/internal/admission"
	"coracle.local/services/apiserver/internal/cache"
	"coracle.local/services/apiserver/internal/catalog"
	"coracle.local/services/apiserver/internal/custom"
	"coracle.local/services/apiserver/internal/strategy"
)

// Admission changes and checks what is to be written.
type Admission interface {
	Admit(ctx context.Context, a *admission.Attributes) error
	Validate(ctx context.Context, a *admission.Attributes) error
}

// permitter is an Admission that finds what the author of a write may not do.
type permitter interface {
	Permit(ctx context.Context, a *admission.Attributes) field.ErrorList
}

// Config is what a registry needs; all but Clock and Tracer must be set.
type Config struct {
	Cache      *cache.Cache
	Strategies map[*kinds.Kind]*strategy.Erased
	// Catalog are the kinds that are served; nil is those of the table.
	Catalog   *catalog.Catalog
	Admission Admission
	Services  *Services
	Tracer    *trace.Tracer
	Clock     clock.PassiveClock
	Log       *zap.Logger
	// EventTTL is how long events are kept; zero is upstream's hour.
	EventTTL time.Duration
}

// Registry reads and writes objects of every kind. It is safe for concurrent
// use.
type Registry struct {
	Config
}

// New returns a registry.
func New(cfg Config) *Registry {
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	if cfg.Catalog == nil {
		cfg.Catalog = &catalog.Catalog{}
	}
	if cfg.EventTTL == 0 {
		cfg.EventTTL = time.Hour
	}
	return &Registry{cfg}
}

// Strategy is the behaviour of a kind.
func (r *Registry) Strategy(k *kinds.Kind) *strategy.Erased {
	if d := custom.Of(k); d != nil {
		return d.Strategy(k)
	}
	return r.Strategies[k]
}

// Reads is the cache that reads come from.
func (r *Registry) Reads() *cache.Cache { return r.Cache }

// stored is the kind that k's objects are stored as.
func stored(k *kinds.Kind) *kinds.Kind {
	if k.StoredAs != nil {
		return k.StoredAs
	}
	return k
}

// show is how items of the stored kind look as k; nil if they are the same.
func (r *Registry) show(k *kinds.Kind) func(*cache.Item) (*cache.Item, error) {
	if k.StoredAs == nil && !k.Custom() {
		return nil
	}
	s := r.Strategy(k)
	return func(i *cache.Item) (*cache.Item, error) {
		if i.Kind == k {
			return i, nil
		}
		var convert func(kinds.Object) (kinds.Object, error)
		if s.Shared != nil {
			convert = s.Shared.FromStored
		}
		return i.As(k, convert, s.Fields)
	}
}

func (r *Registry) shown(k *kinds.Kind, i *cache.Item) (*cache.Item, error) {
	if show := r.show(k); show != nil && i != nil {
		return show(i)
	}
	return i, nil
}

// decode is an item as an object of the kind.
func (r *Registry) decode(k *kinds.Kind, i *cache.Item) (kinds.Object, error) {
	i, err := r.shown(k, i)
	if err != nil {
		return nil, err
	}
	if !k.Custom() {
		return i.Object(), nil
	}
	obj, err := i.Decode()
	return obj, unconverted(err)
}

// unconverted is the error of an object that cannot be shown in the version that
// is asked for, as clients get it.
func unconverted(err error) error {
	if err == nil || errors.As(err, new(apierrors.APIStatus)) {
		return err
	}
	return apierrors.NewInternalError(err)
}

// GetOptions qualify a read of one object.
type GetOptions struct {
	// ResourceVersion: empty is a consistent read, 0 what is at hand, a number
	// waits until it is reached.
	ResourceVersion string
}

// Get reads one object.
func (r *Registry) Get(ctx context.Context, k *kinds.Kind, namespace, name string, o GetOptions) (*cache.Item, error) {
	if err := r.reach(ctx, o.ResourceVersion); err != nil {
		return nil, err
	}
	i := r.Cache.Get(stored(k), namespace, name)
	if i == nil {
		return nil, r.absent(ctx, k, namespace, name)
	}
	return r.shown(k, i)
}

// reach makes the cache as new as a request's resource version asks.
func (r *Registry) reach(ctx context.Context, version string) error {
	switch version {
	case "":
		return r.Cache.Fresh(ctx)
	case "0":
		return nil
	}
	revision, err := ParseVersion(version)
	if err != nil {
		return err
	}
	return r.Cache.Reach(ctx, revision)
}

// ParseVersion reads a resource version of a request.
func ParseVersion(version string) (int64, error) {
	if version == "" {
		return 0, nil
	}
	n, err := strconv.ParseUint(version, 10, 63)
	if err != nil {
		return 0, apierrors.NewBadRequest("Invalid value: \"" + version + "\": strconv.ParseUint: parsing \"" + version + "\": invalid syntax")
	}
	return int64(n), nil
}

// WatchOptions say what a watch sees.
type WatchOptions struct {
	Namespace         string
	Labels            labels.Selector
	Fields            fields.Selector
	ResourceVersion   string
	SendInitialEvents *bool
	AllowBookmarks    bool
}

// Watch opens a stream of changes.
func (r *Registry) Watch(ctx context.Context, k *kinds.Kind, o WatchOptions) (*cache.Watch, error) {
	revision, err := ParseVersion(o.ResourceVersion)
	if err != nil {
		return nil, err
	}
	sends := o.SendInitialEvents != nil && *o.SendInitialEvents
	c := cache.WatchOptions{
		Selector:       cache.Selector{Namespace: o.Namespace, Labels: o.Labels, Fields: o.Fields},
		After:          revision,
		Initial:        sends || (revision == 0 && o.SendInitialEvents == nil),
		MarkInitialEnd: sends && o.AllowBookmarks,
		Bookmarks:      o.AllowBookmarks,
		Show:           r.show(k),
	}
	if c.Initial {
		if err := r.reach(ctx, o.ResourceVersion); err != nil {
			return nil, err
		}
	} else if revision == 0 {
		// Changes from now on, and nothing of the present state.
		if err := r.Cache.Fresh(ctx); err != nil {
			return nil, err
		}
		c.After = r.Cache.Revision()
	}
	return r.Cache.Watch(stored(k), c)
}
