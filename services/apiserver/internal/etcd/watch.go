package etcd

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Change is one key's write or removal.
type Change struct {
	KV
	Deleted bool
}

// Watch calls handle with the changes after revision, in order, until ctx ends
// or the stream breaks. A call without changes says that all up to the
// revision have been handed over.
func (s *Store) Watch(ctx context.Context, revision int64, handle func(changes []Change, through int64)) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	// Progress is also asked for by hand, when a reader waits for a revision
	// that no key of ours was written at.
	stream := s.client.Watch(ctx, Root, clientv3.WithPrefix(), clientv3.WithRev(revision+1), clientv3.WithProgressNotify())
	for {
		var r clientv3.WatchResponse
		select {
		case <-s.reread:
			return ErrReread
		case next, ok := <-stream:
			if !ok {
				return ended(ctx)
			}
			r = next
		}
		if r.CompactRevision != 0 {
			return ErrCompacted
		}
		if err := r.Err(); err != nil {
			return fmt.Errorf("watch etcd: %w", err)
		}
		if r.IsProgressNotify() {
			handle(nil, r.Header.Revision)
			continue
		}
		if len(r.Events) == 0 {
			continue
		}
		changes := make([]Change, len(r.Events))
		for i, e := range r.Events {
			changes[i] = Change{KV: kv(e.Kv), Deleted: e.Type == mvccpb.Event_DELETE}
			if changes[i].Deleted {
				continue
			}
			if s.open(ctx, &changes[i].KV); s.passing(&changes[i].KV) {
				return changes[i].Err // not to take for gone what cannot be read just now
			}
		}
		handle(changes, changes[len(changes)-1].Revision)
	}
}

// ended says why a stream did.
func ended(ctx context.Context) error {
	if ctx.Err() != nil {
		return nil
	}
	return errors.New("watch etcd: the stream ended")
}

// RequestProgress asks for a call of Watch's handle that tells how far it is.
func (s *Store) RequestProgress(ctx context.Context) error {
	return s.client.RequestProgress(clientv3.WithRequireLeader(ctx))
}

// compactEvery is upstream's interval: history is kept for at least that long.
const compactEvery = 5 * time.Minute

// Compact forgets history, always up to the revision of one interval ago, until
// ctx ends. A failure is told to report and tried again at the next turn.
func (s *Store) Compact(ctx context.Context, report func(error)) error {
	tick := time.NewTicker(compactEvery)
	defer tick.Stop()
	var previous int64
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		now, err := s.Revision(ctx)
		if err == nil && previous > 0 {
			if _, err = s.client.Compact(ctx, previous); err == nil {
				s.compacted.Store(previous)
			}
		}
		if err != nil {
			report(fmt.Errorf("compact etcd: %w", err))
			continue
		}
		previous = now
	}
}

// Compacted is the revision up to which this process has had etcd forget the past.
func (s *Store) Compacted() int64 { return s.compacted.Load() }
