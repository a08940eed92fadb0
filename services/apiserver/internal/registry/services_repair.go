package registry

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"go.uber.org/zap"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/kinds"
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
		if again == 0 {
			again = repairEvery
		}
		select {
		case <-ctx.Done():
			return nil
		case <-s.changed:
			again = gather
		case <-time.After(again):
			continue
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(again):
		}
	}
}

// repair looks once, and says what it found and when to look again.
func (r *Registry) repair(ctx context.Context, ports *portRepair, told map[finding]bool) (now map[finding]bool, again time.Duration) {
	findings, again := r.Services.inspect(r.Clock.Now())
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

// mend does what is to be done about a finding, and tells it.
func (r *Registry) mend(ctx context.Context, f found, told bool) error {
	var err error
	switch f.cure {
	case install:
		return r.installRange(ctx)
	case confirm:
		return r.confirmRange(ctx)
	case renew:
		if err = r.dropAddress(ctx, f.name, ""); err == nil {
			err = r.recordAddress(ctx, f)
		}
	case record:
		err = r.recordAddress(ctx, f)
	case remove:
		err = r.dropAddress(ctx, f.name, f.uid)
	}
	if errors.Is(err, errMended) {
		return nil
	}
	if err == nil && !told {
		r.tell(ctx, f)
	}
	return err
}

// errMended says that somebody else was faster.
var errMended = errors.New("it is as it should be")

func (r *Registry) recordAddress(ctx context.Context, f found) error {
	r.Services.mu.Lock()
	svc := r.Services.held[f.finding.uid]
	r.Services.mu.Unlock()
	ip, err := netip.ParseAddr(f.name)
	if svc == nil || err != nil {
		return errMended
	}
	_, err = r.Create(ctx, kinds.For[*networkingv1.IPAddress](), "", newAddress(ip, svc), WriteOptions{})
	if apierrors.IsAlreadyExists(err) {
		return errMended
	}
	return err
}

func (r *Registry) dropAddress(ctx context.Context, name string, uid types.UID) error {
	o := &metav1.DeleteOptions{}
	if uid != "" {
		o.Preconditions = &metav1.Preconditions{UID: &uid}
	}
	_, _, err := r.Delete(ctx, kinds.For[*networkingv1.IPAddress](), "", name, o)
	if uid != "" && (apierrors.IsNotFound(err) || apierrors.IsConflict(err)) {
		return errMended
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}
