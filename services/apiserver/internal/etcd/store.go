// Package etcd keeps bytes under keys with revisions: the naked calls of the
// etcd client that the API server makes, and the envelope of upstream's values.
package etcd

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Root is the prefix of every key, as upstream's.
const Root = "/registry/"

// ErrCompacted says that the revision asked for is no longer kept.
var ErrCompacted = errors.New("etcd: the revision has been compacted")

// ErrExists says that the key to be created is there.
var ErrExists = errors.New("etcd: the key exists")

// Store reads and writes one etcd. It is safe for concurrent use.
type Store struct {
	client *clientv3.Client
	leases leases
	// compacted is the revision up to which this process had history dropped.
	compacted atomic.Int64

	values Values // nil for values that are stored as they are
	reread chan struct{}
}

// New returns a store over a client that the caller closes.
func New(client *clientv3.Client) *Store {
	return &Store{client: client, leases: leases{client: client}}
}

// KV is one stored value. Revision is that of its last write.
type KV struct {
	Key      string
	Value    []byte
	Revision int64
	// Err says why the value could not be opened; there is no value then.
	Err error
}

func kv(p *mvccpb.KeyValue) KV {
	return KV{Key: string(p.Key), Value: p.Value, Revision: p.ModRevision}
}

// Revision is etcd's present revision, read consistently.
func (s *Store) Revision(ctx context.Context) (int64, error) {
	r, err := s.client.Get(ctx, Root, clientv3.WithCountOnly())
	if err != nil {
		return 0, fmt.Errorf("read etcd's revision: %w", err)
	}
	return r.Header.Revision, nil
}

// Get reads one key consistently; nil if it is absent.
func (s *Store) Get(ctx context.Context, key string) (*KV, error) {
	r, err := s.client.Get(ctx, key)
	if err != nil {
		return nil, fmt.Errorf("get %s: %w", key, err)
	}
	if len(r.Kvs) == 0 {
		return nil, nil
	}
	out := kv(r.Kvs[0])
	s.open(ctx, &out)
	return &out, out.Err
}

// Create stores a value under an absent key and returns the revision. A ttl
// over zero lets it expire about then.
func (s *Store) Create(ctx context.Context, key string, value []byte, ttl time.Duration) (int64, error) {
	options, err := s.expiry(ctx, ttl)
	if err != nil {
		return 0, err
	}
	if value, err = s.seal(ctx, key, value); err != nil {
		return 0, err
	}
	r, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).
		Then(clientv3.OpPut(key, string(value), options...)).
		Commit()
	if err != nil {
		return 0, fmt.Errorf("create %s: %w", key, err)
	}
	if !r.Succeeded {
		return 0, ErrExists
	}
	return r.Header.Revision, nil
}

// Update replaces the value that was written at revision. If the key has
// another by now, it returns that one (nil if it is gone) and changes nothing.
func (s *Store) Update(ctx context.Context, key string, value []byte, revision int64, ttl time.Duration) (written int64, current *KV, err error) {
	options, err := s.expiry(ctx, ttl)
	if err != nil {
		return 0, nil, err
	}
	if value, err = s.seal(ctx, key, value); err != nil {
		return 0, nil, err
	}
	return s.compareAnd(ctx, key, revision, clientv3.OpPut(key, string(value), options...))
}

// Delete removes the value that was written at revision, as Update replaces it.
func (s *Store) Delete(ctx context.Context, key string, revision int64) (deleted int64, current *KV, err error) {
	return s.compareAnd(ctx, key, revision, clientv3.OpDelete(key))
}

func (s *Store) compareAnd(ctx context.Context, key string, revision int64, op clientv3.Op) (int64, *KV, error) {
	r, err := s.client.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", revision)).
		Then(op).
		Else(clientv3.OpGet(key)).
		Commit()
	if err != nil {
		return 0, nil, fmt.Errorf("write %s: %w", key, err)
	}
	if r.Succeeded {
		return r.Header.Revision, nil, nil
	}
	kvs := r.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 0 {
		return 0, nil, nil
	}
	current := kv(kvs[0])
	s.open(ctx, &current)
	return 0, &current, nil
}

// Page is part of a range.
type Page struct {
	KVs []KV
	// Count is how many keys the range holds from the page's start on.
	Count int64
	// Revision is the revision that was read.
	Revision int64
}

// Range reads up to limit keys (0 is all) that begin with prefix and are not
// less than from (empty is the prefix), at a revision (0 is the present).
func (s *Store) Range(ctx context.Context, prefix, from string, revision, limit int64) (Page, error) {
	if from == "" {
		from = prefix
	}
	r, err := s.client.Get(ctx, from, clientv3.WithRange(clientv3.GetPrefixRangeEnd(prefix)),
		clientv3.WithRev(revision), clientv3.WithLimit(limit))
	if errors.Is(err, rpctypes.ErrCompacted) {
		return Page{}, ErrCompacted
	}
	if err != nil {
		return Page{}, fmt.Errorf("range %s: %w", prefix, err)
	}
	p := Page{KVs: make([]KV, len(r.Kvs)), Count: r.Count, Revision: r.Header.Revision}
	for i, v := range r.Kvs {
		p.KVs[i] = kv(v)
		if s.open(ctx, &p.KVs[i]); s.passing(&p.KVs[i]) {
			return Page{}, p.KVs[i].Err
		}
	}
	if revision != 0 {
		p.Revision = revision
	}
	return p, nil
}

func (s *Store) expiry(ctx context.Context, ttl time.Duration) ([]clientv3.OpOption, error) {
	if ttl <= 0 {
		return nil, nil
	}
	id, err := s.leases.get(ctx, ttl)
	if err != nil {
		return nil, fmt.Errorf("grant a lease of %s: %w", ttl, err)
	}
	return []clientv3.OpOption{clientv3.WithLease(id)}, nil
}
