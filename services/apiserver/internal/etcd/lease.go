package etcd

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// reuse is how long one lease is given to new keys: keys expire up to that much
// late, and a flood of events does not become a flood of leases.
const reuse = time.Minute

type leases struct {
	client *clientv3.Client

	mu    sync.Mutex
	id    clientv3.LeaseID
	ttl   time.Duration
	until time.Time
}

func (l *leases) get(ctx context.Context, ttl time.Duration) (clientv3.LeaseID, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); l.ttl == ttl && now.Before(l.until) {
		return l.id, nil
	}
	granted, err := l.client.Grant(ctx, int64((ttl + reuse).Seconds()))
	if err != nil {
		return 0, err
	}
	l.id, l.ttl, l.until = granted.ID, ttl, time.Now().Add(reuse)
	return l.id, nil
}
