package registry

import (
	"cmp"
	"context"
	"time"

	"go.uber.org/zap"
)

const (
	// gather is how long changes settle before they are looked at.
	gather = 2 * time.Second
	// repairEvery is how often all is looked at though nothing changed here, for
	// what upstream's servers leave in the record of ports; it is their interval.
	repairEvery = 3 * time.Minute
)

// Repair keeps Services and the records of what they have in step, and the first
// range in the cluster, until ctx ends. What it finds wrong it tells in events,
// once.
func (s *Services) Repair(ctx context.Context, r *Registry) error {
	told := map[finding]bool{}
	ports := portRepair{leaks: map[int32]time.Time{}}
	for {
		var again time.Duration
		told, again = r.repair(ctx, &ports, told)
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(cmp.Or(again, repairEvery)):
		case <-s.changed:
			select {
			case <-ctx.Done():
				return nil
			case <-time.After(gather):
			}
		}
	}
}

// repair looks once, and says what it found and when to look again.
func (r *Registry) repair(ctx context.Context, ports *portRepair, told map[finding]bool) (now map[finding]bool, again time.Duration) {
	state := r.Services.view()
	findings, again := state.inspect(r.Clock.Now())
	ofPorts, wait, err := ports.run(ctx, r)
	if err != nil && ctx.Err() == nil {
		r.Log.Warn("the record of node ports is not repaired", zap.Error(err))
		wait = settleAfter
	}
	again = sooner(again, wait)
	now = map[finding]bool{}
	for _, f := range append(findings, ofPorts...) {
		now[f.finding] = true
		if err := r.mend(ctx, f, told[f.finding]); err != nil && ctx.Err() == nil {
			r.Log.Warn("the address of a Service is not repaired", zap.String("address", f.name), zap.String("service", f.svc.String()), zap.Error(err))
			again = sooner(again, settleAfter)
		}
	}
	return now, again
}
