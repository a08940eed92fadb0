package client

import (
	"context"
	"encoding/json"
	"fmt"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
)

// leaseLock is client-go's lock over our client.
type leaseLock struct {
	client          Client[*coordinationv1.Lease]
	namespace, name string
	identity        string
	lease           *coordinationv1.Lease
}

// NewLeaseLock returns a lock for client-go's leader election, kept in a Lease.
func NewLeaseLock(c *Conn, namespace, name, identity string) resourcelock.Interface {
	return &leaseLock{client: For[*coordinationv1.Lease](c), namespace: namespace, name: name, identity: identity}
}

func (l *leaseLock) Get(ctx context.Context) (*resourcelock.LeaderElectionRecord, []byte, error) {
	lease, err := l.client.Get(ctx, l.namespace, l.name)
	if err != nil {
		return nil, nil, err
	}
	l.lease = lease
	record := resourcelock.LeaseSpecToLeaderElectionRecord(&lease.Spec)
	raw, err := json.Marshal(record)
	return record, raw, err
}

func (l *leaseLock) Create(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	lease, err := l.client.Create(ctx, &coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: l.namespace, Name: l.name},
		Spec:       resourcelock.LeaderElectionRecordToLeaseSpec(&r),
	})
	if err != nil {
		return err
	}
	l.lease = lease
	return nil
}

func (l *leaseLock) Update(ctx context.Context, r resourcelock.LeaderElectionRecord) error {
	if l.lease == nil {
		return fmt.Errorf("lease %s is not read yet", l.Describe())
	}
	next := l.lease.DeepCopy()
	next.Spec = resourcelock.LeaderElectionRecordToLeaseSpec(&r)
	lease, err := l.client.Update(ctx, next)
	if err != nil {
		return err
	}
	l.lease = lease
	return nil
}

func (l *leaseLock) RecordEvent(string) {}

func (l *leaseLock) Identity() string { return l.identity }

func (l *leaseLock) Describe() string { return l.namespace + "/" + l.name }
