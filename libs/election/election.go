// Package election agrees with other processes of a component, by a Lease, on
// which of them works.
package election

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"k8s.io/client-go/tools/leaderelection"

	"coracle.local/libs/client"
)

// Config says how. The times have upstream's defaults.
type Config struct {
	// Identity names this process among the candidates; it must be unique.
	Identity string
	// Namespace and Name of the Lease; by default kube-system and what upstream
	// calls the component.
	Namespace, Name string
	// LeaseDuration is how long a leader that is not heard of stays leader,
	// RenewDeadline how long it tries to be heard before it gives up,
	// RetryPeriod how often everybody tries.
	LeaseDuration, RenewDeadline, RetryPeriod time.Duration
}

// WithDefaults is the same with what is left out, for a component of that name. Of
// nil it is nil.
func (c *Config) WithDefaults(component string) *Config {
	if c == nil {
		return nil
	}
	return &Config{
		Identity:  c.Identity,
		Namespace: cmp.Or(c.Namespace, "kube-system"), Name: cmp.Or(c.Name, component),
		LeaseDuration: cmp.Or(c.LeaseDuration, 15*time.Second),
		RenewDeadline: cmp.Or(c.RenewDeadline, 10*time.Second),
		RetryPeriod:   cmp.Or(c.RetryPeriod, 2*time.Second),
	}
}

// errLost ends a process that another may have replaced: two at once would do
// everything twice.
var errLost = errors.New("the lead is lost")

// Lead works while this process is the leader, which without an election it always
// is. It fails if the lead is lost, so that a fresh process stands for election.
func Lead(ctx context.Context, log *zap.Logger, conn *client.Conn, c *Config, work func(context.Context) error) error {
	if c == nil {
		return work(ctx)
	}
	// The elector starts the work in a goroutine of its own and does not wait for
	// it; ended says when it is over, and how.
	var started atomic.Bool
	ended := make(chan error, 1)
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:          client.NewLeaseLock(conn, c.Namespace, c.Name, c.Identity),
		LeaseDuration: c.LeaseDuration, RenewDeadline: c.RenewDeadline, RetryPeriod: c.RetryPeriod,
		ReleaseOnCancel: true, Name: c.Name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(ctx context.Context) {
				started.Store(true)
				log.Info("leading", zap.String("identity", c.Identity))
				ended <- work(ctx)
			},
			OnStoppedLeading: func() {},
			OnNewLeader: func(identity string) {
				if identity != c.Identity {
					log.Info("another leads", zap.String("leader", identity))
				}
			},
		},
	})
	if err != nil {
		return fmt.Errorf("stand for election: %w", err)
	}
	elector.Run(ctx)
	if started.Load() {
		if err := <-ended; err != nil {
			return err
		}
	}
	if ctx.Err() == nil {
		return errLost
	}
	return nil
}
