package store_test

import (
	"context"
	"testing"

	"go.uber.org/zap"

	"coracle.local/cmd/coracle/store"
)

func TestDataIsKept(t *testing.T) {
	dir := t.TempDir()
	for n, want := range []int{0, 1} {
		s, err := store.Open(context.Background(), store.Config{Dir: dir, Log: zap.NewNop()})
		if err != nil {
			t.Fatal(err)
		}
		r, err := s.Client.Get(context.Background(), "k")
		if err != nil || len(r.Kvs) != want {
			t.Errorf("start %d: %d keys, %v", n, len(r.Kvs), err)
		}
		if _, err := s.Client.Put(context.Background(), "k", "v"); err != nil {
			t.Error(err)
		}
		s.Close()
	}
}
