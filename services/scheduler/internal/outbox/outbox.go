// Package outbox carries the engine's decisions to the API server: placements
// over one stream, and everything else by requests that nobody waits for.
package outbox

import (
	"context"
	"math/rand/v2"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"coracle.local/libs/client"
)

// parallel is how many requests are under way at once, besides placements.
const parallel = 16

// tries is how often a request is made that may succeed when it is repeated.
const tries = 5

// Background runs requests beside the engine until its context ends.
type Background struct {
	ctx   context.Context
	slots chan struct{}
	group sync.WaitGroup
}

// NewBackground makes a background that lasts as long as ctx.
func NewBackground(ctx context.Context) *Background {
	return &Background{ctx: ctx, slots: make(chan struct{}, parallel)}
}

// Wait returns when everything has ended, which it does soon after ctx.
func (b *Background) Wait() { b.group.Wait() }

// run makes a request, and calls done with the result.
func (b *Background) run(request func(ctx context.Context) error, done func(error)) {
	b.group.Go(func() {
		select {
		case b.slots <- struct{}{}:
			defer func() { <-b.slots }()
		case <-b.ctx.Done():
			done(b.ctx.Err())
			return
		}
		done(retry(b.ctx, request))
	})
}

// retry repeats a request that failed for reasons that may pass.
func retry(ctx context.Context, request func(ctx context.Context) error) error {
	wait := 20 * time.Millisecond
	for i := 1; ; i++ {
		err := request(ctx)
		if err == nil || i == tries || !(client.Transient(err) || apierrors.IsConflict(err)) {
			return err
		}
		if !sleep(ctx, wait) {
			return err
		}
		wait *= 3
	}
}

// sleep waits about d; false if ctx ends first.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d/2 + rand.N(d))
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
