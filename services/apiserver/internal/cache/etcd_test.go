package cache

import (
	"context"
	"errors"
	"sort"
	"strings"
	"sync"

	"go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"

	"coracle.local/services/apiserver/internal/etcd"
)

// fakeEtcd is an etcd in memory, with all its history and as many watches as
// are opened. Only what the cache asks for is there.
type fakeEtcd struct {
	clientv3.KV
	clientv3.Watcher

	mu        sync.Mutex
	history   []*clientv3.Event // by revision, from 2 on
	compacted int64
	changed   *sync.Cond
	broken    int
}

func newFakeEtcd() (*fakeEtcd, *etcd.Store) {
	f := &fakeEtcd{}
	f.changed = sync.NewCond(&f.mu)
	client := clientv3.NewCtxClient(context.Background())
	client.KV, client.Watcher = f, f
	return f, etcd.New(client)
}

func (f *fakeEtcd) revision() int64 { return int64(len(f.history)) + 1 }

// put writes a value; none deletes the key.
func (f *fakeEtcd) put(key, value string) int64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	defer f.changed.Broadcast()
	kv := &mvccpb.KeyValue{Key: []byte(key), Value: []byte(value), ModRevision: f.revision() + 1}
	e := &clientv3.Event{Type: mvccpb.Event_PUT, Kv: kv}
	if value == "" {
		e.Type = mvccpb.Event_DELETE
	}
	f.history = append(f.history, e)
	return kv.ModRevision
}

// sever breaks all watches.
func (f *fakeEtcd) sever() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.broken++
	f.changed.Broadcast()
}

// forget compacts up to now and breaks all watches.
func (f *fakeEtcd) forget() {
	f.mu.Lock()
	f.compacted = f.revision()
	f.mu.Unlock()
	f.sever()
}

func (f *fakeEtcd) Get(_ context.Context, key string, options ...clientv3.OpOption) (*clientv3.GetResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	op := clientv3.OpGet(key, options...)
	at := op.Rev()
	if at == 0 {
		at = f.revision()
	}
	if op.Rev() != 0 && at < f.compacted {
		return nil, rpctypes.ErrCompacted
	}
	state := map[string]*mvccpb.KeyValue{}
	for _, e := range f.history[:at-1] {
		k := string(e.Kv.Key)
		if delete(state, k); e.Type == mvccpb.Event_PUT {
			state[k] = e.Kv
		}
	}
	end := string(op.RangeBytes())
	r := &clientv3.GetResponse{Header: &etcdserverpb.ResponseHeader{Revision: f.revision()}}
	for k, kv := range state {
		if k == key || (end != "" && k >= key && k < end) {
			r.Kvs = append(r.Kvs, kv)
		}
	}
	sort.Slice(r.Kvs, func(i, j int) bool { return string(r.Kvs[i].Key) < string(r.Kvs[j].Key) })
	r.Count = int64(len(r.Kvs))
	if limit := op.Limit(); limit > 0 && r.Count > limit {
		r.Kvs, r.More = r.Kvs[:limit], true
	}
	return r, nil
}

func (f *fakeEtcd) Watch(ctx context.Context, key string, options ...clientv3.OpOption) clientv3.WatchChan {
	out := make(chan clientv3.WatchResponse)
	op := clientv3.OpGet(key, options...)
	stop := context.AfterFunc(ctx, f.sever0)
	go func() {
		defer stop()
		defer close(out)
		f.mu.Lock()
		next, broken := op.Rev(), f.broken
		f.mu.Unlock()
		for {
			r, err := f.after(ctx, key, next, broken)
			if err != nil {
				return
			}
			select {
			case out <- r:
			case <-ctx.Done():
				return
			}
			if r.CompactRevision != 0 {
				return
			}
			next = r.Events[len(r.Events)-1].Kv.ModRevision + 1
		}
	}()
	return out
}

// sever0 wakes watches whose context may have ended.
func (f *fakeEtcd) sever0() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.changed.Broadcast()
}

func (f *fakeEtcd) after(ctx context.Context, prefix string, from int64, broken int) (clientv3.WatchResponse, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		if f.broken != broken || ctx.Err() != nil {
			return clientv3.WatchResponse{}, errors.New("broken")
		}
		if from <= f.compacted {
			return clientv3.WatchResponse{CompactRevision: f.compacted}, nil
		}
		r := clientv3.WatchResponse{Header: &etcdserverpb.ResponseHeader{Revision: f.revision()}}
		for _, e := range f.history[from-2:] {
			if strings.HasPrefix(string(e.Kv.Key), prefix) {
				r.Events = append(r.Events, e)
			}
		}
		if len(r.Events) > 0 {
			return r, nil
		}
		f.changed.Wait()
	}
}

func (f *fakeEtcd) RequestProgress(context.Context) error { return nil }
