package etcd

import (
	"context"
	"errors"
	"fmt"
)

// Values seals and opens what is stored: encryption at rest. An implementation
// is called by many goroutines at once.
type Values interface {
	// Seal makes what is stored at a key of an object's encoding.
	Seal(ctx context.Context, key string, plain []byte) ([]byte, error)
	// Open is the reverse. stale tells that the value would be sealed otherwise
	// today.
	Open(ctx context.Context, key string, sealed []byte) (plain []byte, stale bool, err error)
	// Passing tells whether a failure to open is one of the moment, and says
	// nothing about the value.
	Passing(err error) bool
}

// ErrReread says that values which could not be opened may be readable now.
var ErrReread = errors.New("etcd: stored values are to be read again")

// Protect has values sealed from now on; call it before anything is read or
// written.
func (s *Store) Protect(v Values) {
	s.values = v
	s.reread = make(chan struct{}, 1)
}

// Protected tells whether values are sealed.
func (s *Store) Protected() bool { return s.values != nil }

// Reread ends the watch with ErrReread.
func (s *Store) Reread() {
	select {
	case s.reread <- struct{}{}:
	default: // it is asked for already
	}
}

// Stale tells whether the present value at a key is to be written again though
// the object is the same: it is sealed with what is no longer the first choice.
func (s *Store) Stale(ctx context.Context, key string) (bool, error) {
	if s.values == nil {
		return false, nil
	}
	r, err := s.client.Get(ctx, key)
	if err != nil {
		return false, fmt.Errorf("get %s: %w", key, err)
	}
	if len(r.Kvs) == 0 {
		return false, nil
	}
	_, stale, err := s.values.Open(ctx, key, r.Kvs[0].Value)
	return stale, err
}

func (s *Store) seal(ctx context.Context, key string, value []byte) ([]byte, error) {
	if s.values == nil {
		return value, nil
	}
	sealed, err := s.values.Seal(ctx, key, value)
	if err != nil {
		return nil, fmt.Errorf("seal %s: %w", key, err)
	}
	return sealed, nil
}

// open opens a value that was read, or notes in it why it cannot be opened.
func (s *Store) open(ctx context.Context, kv *KV) {
	if s.values == nil {
		return
	}
	plain, _, err := s.values.Open(ctx, kv.Key, kv.Value)
	if err != nil {
		kv.Value, kv.Err = nil, fmt.Errorf("unable to transform key %q: %w", kv.Key, err)
		return
	}
	kv.Value = plain
}

// passing tells whether a value was not opened for a reason that passes.
func (s *Store) passing(kv *KV) bool { return kv.Err != nil && s.values.Passing(kv.Err) }
