package registry

import (
	"context"
	"errors"
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/cache"
	"coracle.local/services/apiserver/internal/etcd"
)

// exchanges is how often an address is exchanged that another server had given
// away.
const exchanges = 32

var errNoAddress = errors.New("every address tried was given away by another server meanwhile")

// storeNew stores a new object, and with a Service its addresses.
func (r *Registry) storeNew(ctx context.Context, w *write, obj kinds.Object, value []byte) (int64, error) {
	if w.allocation == nil || len(w.allocation.taken) == 0 {
		return r.Cache.Store().Create(ctx, w.key(), value, r.ttl(w.kind))
	}
	revision, err := r.commit(ctx, w, obj, etcd.Write{Key: w.key(), Value: value})
	if err == nil && revision == 0 {
		return 0, etcd.ErrExists
	}
	return revision, err
}

// storeChanged replaces the version of an object that was written at revision,
// and records and forgets addresses with it. It returns 0 if the object has
// another version by now.
func (r *Registry) storeChanged(ctx context.Context, w *write, obj kinds.Object, value []byte, revision int64) (int64, error) {
	if a := w.allocation; a == nil || len(a.taken)+len(a.dropped) == 0 {
		written, _, err := r.Cache.Store().Update(ctx, w.key(), value, revision, r.ttl(w.kind))
		return written, err
	}
	return r.commit(ctx, w, obj, etcd.Write{Key: w.key(), Value: value, Revision: revision})
}

// storeGone removes an object, and with a Service its addresses. It returns 0
// if the object has another version by now; absent tells that it has none.
func (r *Registry) storeGone(ctx context.Context, w *write, obj kinds.Object, revision int64) (deleted int64, absent bool, err error) {
	svc, ok := obj.(*corev1.Service)
	var addresses []netip.Addr
	if ok {
		r.Services.mu.Lock()
		addresses = r.Services.recorded(svc, addressesOf(svc))
		r.Services.mu.Unlock()
	}
	if len(addresses) == 0 {
		deleted, current, err := r.Cache.Store().Delete(ctx, w.key(), revision)
		return deleted, deleted == 0 && current == nil, err
	}
	writes := []etcd.Write{{Key: w.key(), Revision: revision}}
	for _, ip := range addresses {
		writes = append(writes, etcd.Write{Key: addressKey(ip), Any: true})
	}
	deleted, _, err = r.Cache.Store().Commit(ctx, writes)
	if err != nil || deleted != 0 {
		return deleted, false, err
	}
	kv, err := r.Cache.Store().Get(ctx, w.key())
	return 0, kv == nil, err
}

func addressKey(ip netip.Addr) string {
	return cache.StoreKey(kinds.For[*networkingv1.IPAddress](), "", ip.String())
}

// commit writes a Service along with its addresses. An address that the server
// chose and that is not free after all is exchanged.
func (r *Registry) commit(ctx context.Context, w *write, obj kinds.Object, self etcd.Write) (int64, error) {
	a := w.allocation
	for range exchanges {
		writes, err := r.withAddresses(a, self)
		if err != nil {
			return 0, err
		}
		revision, stale, err := r.Cache.Store().Commit(ctx, writes)
		if err != nil || revision != 0 || stale[0] {
			return revision, err
		}
		for i := range a.taken {
			if !stale[i+1] {
				continue
			}
			if err := a.exchange(i); err != nil {
				return 0, err
			}
		}
		if self.Value, err = r.seal(w.kind, obj); err != nil {
			return 0, err
		}
	}
	return 0, errNoAddress
}

func (r *Registry) withAddresses(a *allocation, self etcd.Write) ([]etcd.Write, error) {
	writes := []etcd.Write{self}
	for _, t := range a.taken {
		o := newAddress(t.ip, a.svc)
		r.fill(o)
		value, err := r.seal(kinds.For[*networkingv1.IPAddress](), o)
		if err != nil {
			return nil, err
		}
		writes = append(writes, etcd.Write{Key: addressKey(t.ip), Value: value})
	}
	for _, ip := range a.dropped {
		writes = append(writes, etcd.Write{Key: addressKey(ip), Any: true})
	}
	return writes, nil
}

// exchange gives up an address that turned out to be somebody's, and takes
// another one.
func (a *allocation) exchange(i int) error {
	s := a.services
	s.mu.Lock()
	defer s.mu.Unlock()
	t := a.taken[i]
	s.giveBack(t.ip, a.svc.UID)
	s.lost[t.ip] = true
	if !t.chosen {
		return a.invalid(clusterIPsPath, a.svc.Spec.ClusterIPs, fmt.Sprintf("failed to allocate IP %s: %s", t.ip, alreadyAllocated))
	}
	a.svc.Spec.ClusterIPs[t.index] = ""
	if err := a.choose(t.index, familyOf(t.ip)); err != nil {
		return err
	}
	last := len(a.taken) - 1
	a.taken[i], a.taken = a.taken[last], a.taken[:last]
	return nil
}
