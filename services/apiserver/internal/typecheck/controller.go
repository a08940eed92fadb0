package typecheck

import (
	"context"
	"maps"
	"slices"
	"sync"
	"time"

	"go.uber.org/zap"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/utils/clock"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/auth"
)

// Manager is who sets the status, as managed fields say it.
const Manager = "validatingadmissionpolicy-status"

// pause is how long a policy whose status could not be written waits.
const pause = time.Second

// Controller writes the status of policies when they are new or changed. It
// observes them; use New.
type Controller struct {
	check func(*admissionv1.ValidatingAdmissionPolicy) []admissionv1.ExpressionWarning
	write Write
	log   *zap.Logger
	clock clock.Clock

	mu      sync.Mutex
	pending map[string]func() kinds.Object
	wake    chan struct{}
}

// Write sets the status of a policy to what change makes of it. A policy that is
// gone is NotFound.
type Write func(ctx context.Context, name string, change func(*admissionv1.ValidatingAdmissionPolicy) bool) error

// New returns a controller; a nil clock is the real one.
func New(c *Checker, write Write, log *zap.Logger, k clock.Clock) *Controller {
	if k == nil {
		k = clock.RealClock{}
	}
	return &Controller{check: c.Check, write: write, log: log, clock: k, pending: map[string]func() kinds.Object{}, wake: make(chan struct{}, 1)}
}

// Watches implements auth.Observer.
func (c *Controller) Watches() []*kinds.Kind {
	return []*kinds.Kind{kinds.For[*admissionv1.ValidatingAdmissionPolicy]()}
}

// Observe implements auth.Observer.
func (c *Controller) Observe(change auth.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if change.Object == nil {
		delete(c.pending, change.Name)
		return
	}
	c.pending[change.Name] = change.Object
	select {
	case c.wake <- struct{}{}:
	default:
	}
}

// Run works until ctx ends.
func (c *Controller) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-c.wake:
		}
		c.mu.Lock()
		names := slices.Sorted(maps.Keys(c.pending))
		c.mu.Unlock()
		for _, name := range names {
			c.one(ctx, name)
		}
	}
}

func (c *Controller) one(ctx context.Context, name string) {
	c.mu.Lock()
	object := c.pending[name]
	delete(c.pending, name)
	c.mu.Unlock()
	if object == nil {
		return
	}
	p, ok := object().(*admissionv1.ValidatingAdmissionPolicy)
	if !ok || p.Generation <= p.Status.ObservedGeneration {
		return
	}
	warnings := c.check(p)
	err := c.write(ctx, name, func(now *admissionv1.ValidatingAdmissionPolicy) bool {
		if now.Generation != p.Generation || now.Status.ObservedGeneration >= p.Generation {
			return false // there is a newer one, or another server was faster
		}
		now.Status.ObservedGeneration = p.Generation
		now.Status.TypeChecking = &admissionv1.TypeChecking{ExpressionWarnings: warnings}
		return true
	})
	if err == nil || apierrors.IsNotFound(err) || ctx.Err() != nil {
		return
	}
	c.log.Warn("status of policy is not written", zap.String("policy", name), zap.Error(err))
	c.later(ctx, name, object)
}

// later tries again, unless the policy changes first.
func (c *Controller) later(ctx context.Context, name string, object func() kinds.Object) {
	timer := c.clock.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-timer.C():
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.pending[name] == nil {
		c.pending[name] = object
	}
	select {
	case c.wake <- struct{}{}:
	default:
	}
}
