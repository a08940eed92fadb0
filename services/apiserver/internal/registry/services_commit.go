package registry

import (
	"context"
	"errors"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/apiserver/internal/etcd"
)

// attempts is how often a Service is written anew because other servers gave
// away what it was to have.
const attempts = 32

var errContended = errors.New("whatever was tried was given away by another server meanwhile")

// storeNew stores a new object, and with a Service what it takes.
func (r *Registry) storeNew(ctx context.Context, w *write, obj kinds.Object, value []byte) (int64, error) {
	if w.allocation.empty() {
		return r.Cache.Store().Create(ctx, w.key(), value, r.ttl(w.kind))
	}
	revision, err := r.commit(ctx, w.allocation, obj, etcd.Write{Key: w.key(), Value: value})
	if err == nil && revision == 0 {
		return 0, etcd.ErrExists
	}
	return revision, err
}

// storeChanged replaces the version of an object that was written at revision,
// and with a Service what it takes and gives back. It returns 0 if the object
// has another version by now.
func (r *Registry) storeChanged(ctx context.Context, w *write, obj kinds.Object, value []byte, revision int64) (int64, error) {
	if w.allocation.empty() {
		written, _, err := r.Cache.Store().Update(ctx, w.key(), value, revision, r.ttl(w.kind))
		return written, err
	}
	return r.commit(ctx, w.allocation, obj, etcd.Write{Key: w.key(), Value: value, Revision: revision})
}

// storeGone removes an object, and with a Service what it had. It returns 0 if
// the object has another version by now; absent tells that it has none.
func (r *Registry) storeGone(ctx context.Context, w *write, obj kinds.Object, revision int64) (deleted int64, absent bool, err error) {
	svc, ok := obj.(*corev1.Service)
	if !ok {
		deleted, current, err := r.Cache.Store().Delete(ctx, w.key(), revision)
		return deleted, deleted == 0 && current == nil, err
	}
	if w.allocation != nil {
		svc = w.allocation.old // what the last update asks for was never had
	}
	a := r.Services.ending(svc)
	deleted, err = r.commit(ctx, a, obj, etcd.Write{Key: w.key(), Revision: revision})
	if err == nil && deleted == 0 {
		kv, err := r.Cache.Store().Get(ctx, w.key())
		return 0, kv == nil, err
	}
	if err == nil {
		r.Services.release(a)
	}
	return deleted, false, err
}

// commit writes a Service along with its addresses and the record of ports, or
// removes it. What the server chose and is not free after all is exchanged. It
// returns 0 if the Service has another version by now.
func (r *Registry) commit(ctx context.Context, a *allocation, obj kinds.Object, self etcd.Write) (int64, error) {
	// Webhooks may be asked about addresses, for which nobody else is to wait.
	if err := r.makeAddresses(ctx, a); err != nil {
		return 0, err
	}
	if len(a.ports)+len(a.freed) > 0 {
		leave, err := a.services.enterPorts(ctx)
		if err != nil {
			return 0, err
		}
		defer leave()
	}
	for range attempts {
		t, err := r.transaction(ctx, a, obj, self)
		if err != nil {
			return 0, err
		}
		revision, stale, err := r.Cache.Store().Commit(ctx, t.writes)
		if t.ports != nil {
			a.services.know(t.after(revision))
		}
		if err != nil || revision != 0 || stale[t.self] {
			return revision, err
		}
		if err := a.exchangeAddresses(stale); err != nil {
			return 0, err
		}
		if err := r.makeAddresses(ctx, a); err != nil {
			return 0, err
		}
	}
	return 0, errContended
}

// transaction is one attempt to write a Service.
type transaction struct {
	writes []etcd.Write
	self   int         // which of them is the Service's
	ports  *portRecord // as it is written; nil if it is not
}

// transaction orders the writes as watchers are to see them: no Service is
// without the IPAddress that it has.
func (r *Registry) transaction(ctx context.Context, a *allocation, obj kinds.Object, self etcd.Write) (t transaction, err error) {
	if len(a.ports)+len(a.freed) > 0 {
		if t.ports, err = r.recordPorts(ctx, a); err != nil {
			return t, err
		}
	}
	for _, taken := range a.addresses {
		t.writes = append(t.writes, etcd.Write{Key: addressKey(taken.ip), Value: taken.value})
	}
	t.self = len(t.writes)
	if a.exchanged {
		if self.Value, err = r.seal(kinds.For[*corev1.Service](), obj); err != nil {
			return t, err
		}
	}
	t.writes = append(t.writes, self)
	for _, ip := range a.dropped {
		t.writes = append(t.writes, etcd.Write{Key: addressKey(ip), Any: true})
	}
	if t.ports != nil {
		record, err := t.ports.write(a.services.ports)
		if err != nil {
			return t, err
		}
		t.writes = append(t.writes, record)
	}
	return t, nil
}

// after is what is known of the record of ports once the transaction was tried.
func (t *transaction) after(revision int64) *portRecord {
	if revision == 0 {
		return nil
	}
	t.ports.revision = revision
	return t.ports
}
