package app

import (
	"context"
	"errors"
	"fmt"

	"go.uber.org/zap"
	"k8s.io/client-go/tools/leaderelection"

	"coracle.local/libs/client"
	"coracle.local/services/scheduler/internal/engine"
)

// errLeadLost ends a scheduler that another may have replaced.
var errLeadLost = errors.New("the lead is lost")

// lead lets the engine work while this process is the leader, which without
// an election it always is.
func lead(ctx context.Context, cfg Config, e *engine.Engine) error {
	defer e.Lead(false)
	if cfg.Election == nil {
		e.Lead(true)
		<-ctx.Done()
		return nil
	}
	elector, err := leaderelection.NewLeaderElector(leaderelection.LeaderElectionConfig{
		Lock:          client.NewLeaseLock(cfg.Conn, cfg.Election.Namespace, cfg.Election.Name, cfg.Election.Identity),
		LeaseDuration: cfg.Election.LeaseDuration, RenewDeadline: cfg.Election.RenewDeadline, RetryPeriod: cfg.Election.RetryPeriod,
		ReleaseOnCancel: true,
		Name:            cfg.Election.Name,
		Callbacks: leaderelection.LeaderCallbacks{
			OnStartedLeading: func(context.Context) {
				cfg.Log.Info("leading", zap.String("identity", cfg.Election.Identity))
				e.Lead(true)
			},
			OnStoppedLeading: func() { e.Lead(false) },
			OnNewLeader: func(identity string) {
				if identity != cfg.Election.Identity {
					cfg.Log.Info("another scheduler leads", zap.String("leader", identity))
				}
			},
		},
	})
	if err != nil {
		return fmt.Errorf("stand for election: %w", err)
	}
	elector.Run(ctx)
	if ctx.Err() == nil {
		return errLeadLost
	}
	return nil
}
