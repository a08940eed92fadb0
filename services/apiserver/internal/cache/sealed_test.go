package cache

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"testing"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
)

// lock is a cipher whose key may be lost and found, or out of reach.
type lock struct{ lost, away atomic.Bool }

var errAway = errors.New("the key is away")

func (l *lock) Seal(_ context.Context, _ string, plain []byte) ([]byte, error) {
	return append([]byte("enc:"), plain...), nil
}

func (l *lock) Open(_ context.Context, _ string, sealed []byte) ([]byte, bool, error) {
	plain, ok := bytes.CutPrefix(sealed, []byte("enc:"))
	switch {
	case !ok:
		return sealed, true, nil
	case l.away.Load():
		return nil, false, errAway
	case l.lost.Load():
		return nil, false, errors.New("no such key")
	}
	return plain, false, nil
}

func (l *lock) Passing(err error) bool { return errors.Is(err, errAway) }

func TestWhatIsSealedIsLeftOutUntilItCanBeRead(t *testing.T) {
	f, store := newFakeEtcd()
	l := &lock{}
	store.Protect(l)
	c := New(store, func(*kinds.Kind) Behaviour { return Behaviour{} }, zap.NewNop())
	secrets := kinds.For[*corev1.Secret]()
	put := func(name string) {
		plain := sealed(t, "v1", "Secret", &corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "n"}})
		value, _ := l.Seal(t.Context(), "", plain)
		revision := f.put(StoreKey(secrets, "n", name), string(value))
		if c.Revision() > 0 {
			if err := c.Reach(t.Context(), revision); err != nil {
				t.Fatal(err)
			}
		}
	}
	has := func(name string) bool { return c.Get(secrets, "n", name) != nil }

	// Without the service that has the key nothing is served at all.
	put("first")
	l.away.Store(true)
	if err := c.Run(t.Context()); !errors.Is(err, errAway) {
		t.Fatalf("began with %v", err)
	}
	l.away.Store(false)
	l.lost.Store(true)
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- c.Run(ctx) }()
	<-c.Ready()
	put("second")
	if has("first") || has("second") {
		t.Error("served without the key")
	}
	l.lost.Store(false)
	put("third")
	if !has("third") || has("first") {
		t.Error("only what is written with the key should be there")
	}
	store.Reread()
	for n := 0; !has("first"); n++ {
		put(fmt.Sprintf("more%d", n)) // until it has come to that
	}
	if !has("second") || !has("third") {
		t.Error("missing after it was read again")
	}
	cancel()
	if err := <-ended; err != nil {
		t.Error(err)
	}
}
