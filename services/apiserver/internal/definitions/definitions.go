// Package definitions makes what CustomResourceDefinitions say true: it judges
// their names, serves their objects, and ends that when they go.
package definitions

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"go.uber.org/zap"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/cache"
	"coracle.local/services/apiserver/internal/catalog"
	"coracle.local/services/apiserver/internal/custom"
	"coracle.local/services/apiserver/internal/registry"
)

// Managed notes who made next of current, through a subresource: front/managed's.
type Managed interface {
	Updated(k *kinds.Kind, subresource string, current, next kinds.Object, who string)
}

// Config is what the controller needs; Managed, Hooks and Clock may be nil.
type Config struct {
	Cache    *cache.Cache
	Registry *registry.Registry
	Catalog  *catalog.Catalog
	Managed  Managed
	Hooks    custom.Hooks
	Clock    clock.PassiveClock
	Log      *zap.Logger
}

// Controller follows the definitions of one server. Make it with New before the
// cache runs.
type Controller struct {
	Config
	kind   *kinds.Kind
	queue  workqueue.TypedRateLimitingInterface[string]
	synced chan struct{}

	// What follows is the worker's own.
	claims map[string]claim // of every definition, by its name
	served map[string]*serving
	ending map[string]time.Time // when the objects of a definition began to go
}

// claim is the names that a definition has in its group.
type claim struct {
	group    string
	names    names
	accepted bool // it has all that it asks for
}

// serving is a definition that is served.
type serving struct {
	uid, names string
	generation int64
	entry      *catalog.Entry
}

// loopback is who writes the status of definitions.
var loopback = &user.DefaultInfo{Name: user.APIServerUser, Groups: []string{user.SystemPrivilegedGroup}}

// Backoff of what failed.
const (
	firstRetry   = 20 * time.Millisecond
	longestRetry = 30 * time.Second
	longestWait  = 2 * time.Second
)

// New returns a controller, which follows the cache from then on.
func New(c Config) *Controller {
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	d := &Controller{
		Config: c, kind: kinds.For[*apiextensionsv1.CustomResourceDefinition](),
		queue: workqueue.NewTypedRateLimitingQueue(
			workqueue.NewTypedItemExponentialFailureRateLimiter[string](firstRetry, longestRetry)),
		synced: make(chan struct{}),
		claims: map[string]claim{}, served: map[string]*serving{}, ending: map[string]time.Time{},
	}
	c.Cache.Observe(d.kind, func(i *cache.Item, _ bool) { d.queue.Add(i.Name) })
	return d
}

// Synced is closed once all definitions that the cache had when it was filled
// are served.
func (c *Controller) Synced() <-chan struct{} { return c.synced }

// Run serves definitions until ctx ends. It can run once.
func (c *Controller) Run(ctx context.Context) error {
	ctx = auth.WithUser(ctx, loopback)
	var worker sync.WaitGroup
	defer worker.Wait()
	defer c.queue.ShutDown()
	select {
	case <-c.Cache.Ready():
	case <-ctx.Done():
		return nil
	}
	c.begin(ctx)
	close(c.synced)
	worker.Go(func() {
		for c.next(ctx) {
		}
	})
	<-ctx.Done()
	return nil
}

// begin serves what was established before this server started, all at once.
func (c *Controller) begin(ctx context.Context) {
	var established []definition
	c.Cache.List(c.kind, cache.Selector{}, "", func(i *cache.Item) bool {
		d, ok := i.Object().(definition)
		if !ok {
			return true
		}
		c.claim(d)
		if is(&d.Status, apiextensionsv1.Established) || is(&d.Status, apiextensionsv1.NamesAccepted) {
			established = append(established, d)
		}
		return true
	})
	if err := c.serve(ctx, established...); err != nil {
		// Each comes up for itself once more, and is tried again alone.
		c.Log.Warn("definitions are not all served at once", zap.Error(err))
	}
}

func (c *Controller) claim(d definition) {
	c.claims[d.Name] = claim{group: d.Spec.Group, names: d.Status.AcceptedNames, accepted: is(&d.Status, apiextensionsv1.NamesAccepted)}
}

// next takes one definition on, and tells whether there may be more.
func (c *Controller) next(ctx context.Context) bool {
	name, shutdown := c.queue.Get()
	if shutdown {
		return false
	}
	defer c.queue.Done(name)
	err := c.sync(ctx, name)
	switch {
	case err == nil:
		c.queue.Forget(name)
	case ctx.Err() != nil:
	case errors.Is(err, errWaiting):
		c.queue.AddAfter(name, min(max(c.Clock.Since(c.ending[name])/4, firstRetry), longestWait))
	default:
		c.Log.Warn("definition is not up to date", zap.String("definition", name), zap.Error(err))
		c.queue.AddRateLimited(name)
	}
	return true
}

// sync makes one definition true.
func (c *Controller) sync(ctx context.Context, name string) error {
	item := c.Cache.Get(c.kind, "", name)
	if item == nil {
		c.end(name)
		return nil
	}
	d, ok := item.Object().(definition)
	if !ok {
		return fmt.Errorf("%s is no definition", name)
	}
	judged := *d // shallow: the status alone differs
	judged.Status = status(d, c.claimed(d.Spec.Group), metav1.NewTime(c.Clock.Now()).Rfc3339Copy())
	if is(&judged.Status, apiextensionsv1.NamesAccepted) || is(&judged.Status, apiextensionsv1.Established) {
		// Who sees that it is established can use it.
		if err := c.serve(ctx, &judged); err != nil {
			return err
		}
	}
	if !equality.Semantic.DeepEqual(judged.Status, d.Status) {
		if err := c.write(ctx, d, func(now definition) { now.Status = judged.Status }); err != nil {
			return dropConflict(err)
		}
	}
	c.claim(&judged)
	c.reconsider(name, judged.Spec.Group)
	return c.finalize(ctx, &judged)
}

// claimed are the names that definitions of a group have.
func (c *Controller) claimed(group string) []names {
	var out []names
	for _, claim := range c.claims {
		if claim.group == group {
			out = append(out, claim.names)
		}
	}
	return out
}

// reconsider takes the definitions of a group up that wait for a name.
func (c *Controller) reconsider(but, group string) {
	for name, claim := range c.claims {
		if name != but && claim.group == group && !claim.accepted {
			c.queue.Add(name)
		}
	}
}

// write changes a definition's status, unless another write came first, which
// brings the definition here once more.
func (c *Controller) write(ctx context.Context, d definition, change func(definition)) error {
	_, _, err := c.Registry.Update(ctx, c.kind, "", d.Name, "status", func(current kinds.Object) (kinds.Object, error) {
		now, ok := current.(definition)
		if !ok {
			return nil, fmt.Errorf("%s is no definition", d.Name)
		}
		before := now.DeepCopy()
		change(now)
		if c.Managed != nil {
			c.Managed.Updated(c.kind, "status", before, now, "kube-apiserver")
		}
		now.ResourceVersion = d.ResourceVersion
		return now, nil
	}, registry.UpdateOptions{UID: d.UID})
	return err
}

// dropConflict forgives what another write explains.
func dropConflict(err error) error {
	if apierrors.IsConflict(err) || apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
