package etcd

import (
	"context"
	"fmt"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Write is one part of a transaction.
type Write struct {
	Key string
	// Value is what is put; nil deletes the key.
	Value []byte
	// Revision is that of the value that is replaced; 0 stands for a key that
	// is absent.
	Revision int64
	// Any makes it of no account what is there.
	Any bool
}

// Commit carries out all writes at one revision, or none of them: then it says
// which found something else than they expected.
func (s *Store) Commit(ctx context.Context, writes []Write) (revision int64, stale []bool, err error) {
	var conditions []clientv3.Cmp
	var then, otherwise []clientv3.Op
	for _, w := range writes {
		if !w.Any {
			conditions = append(conditions, clientv3.Compare(clientv3.ModRevision(w.Key), "=", w.Revision))
		}
		otherwise = append(otherwise, clientv3.OpGet(w.Key, clientv3.WithKeysOnly()))
		if w.Value == nil {
			then = append(then, clientv3.OpDelete(w.Key))
			continue
		}
		value, err := s.seal(ctx, w.Key, w.Value)
		if err != nil {
			return 0, nil, err
		}
		then = append(then, clientv3.OpPut(w.Key, string(value)))
	}
	r, err := s.client.Txn(ctx).If(conditions...).Then(then...).Else(otherwise...).Commit()
	if err != nil {
		return 0, nil, fmt.Errorf("write %s and %d more: %w", writes[0].Key, len(writes)-1, err)
	}
	if r.Succeeded {
		return r.Header.Revision, nil, nil
	}
	stale = make([]bool, len(writes))
	for i, w := range writes {
		var have int64
		if kvs := r.Responses[i].GetResponseRange().Kvs; len(kvs) > 0 {
			have = kvs[0].ModRevision
		}
		stale[i] = !w.Any && have != w.Revision
	}
	return 0, stale, nil
}
