package node

import (
	"context"
	"time"

	"go.uber.org/zap"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// renew is the node's heartbeat: it renews the lease for as long as ctx lasts.
func (k *Keeper) renew(ctx context.Context) {
	var last *coordinationv1.Lease
	// The first one at once, the next ones spread over the period.
	wait := offset(k.cfg.Name, leasePeriod)
	for {
		fresh, err := k.renewOnce(ctx, last)
		last = fresh
		if err != nil && ctx.Err() == nil {
			k.cfg.Log.Warn("node lease could not be renewed", zap.Error(err))
			wait = time.Second
		}
		select {
		case <-ctx.Done():
			return
		case <-k.cfg.Clock.After(wait):
		}
		wait = leasePeriod
	}
}

// renewOnce returns the lease as the server has it now, nil when that is not
// known.
func (k *Keeper) renewOnce(ctx context.Context, last *coordinationv1.Lease) (*coordinationv1.Lease, error) {
	if last == nil {
		var err error
		if last, err = k.cfg.Leases.Get(ctx, corev1.NamespaceNodeLease, k.cfg.Name); err != nil && !apierrors.IsNotFound(err) {
			return nil, err
		} else if err != nil {
			return k.cfg.Leases.Create(ctx, k.lease(&coordinationv1.Lease{
				ObjectMeta: metav1.ObjectMeta{Namespace: corev1.NamespaceNodeLease, Name: k.cfg.Name},
			}))
		}
	}
	fresh, err := k.cfg.Leases.Update(ctx, k.lease(last.DeepCopy()))
	if err != nil {
		return nil, err
	}
	return fresh, nil
}

func (k *Keeper) lease(l *coordinationv1.Lease) *coordinationv1.Lease {
	seconds, now := int32(leaseDuration/time.Second), metav1.NewMicroTime(k.cfg.Clock.Now())
	l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds, l.Spec.RenewTime = &k.cfg.Name, &seconds, &now
	if n := k.Node(); n != nil && n.UID != "" && len(l.OwnerReferences) == 0 {
		// With the Node goes its lease.
		l.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID}}
	}
	return l
}
