package loop

import (
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/resourceversion"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/plan"
)

// behind remembers what was written for a key until the caches show it. It
// takes the place of upstream's expectations: those count, this compares
// versions, so that a lost event cannot leave a count wrong.
type behind[K comparable] struct {
	caches map[*kinds.Kind]cluster.Cache
	mu     sync.Mutex
	keys   map[K]*debt
	// blocked is the keys that somebody wanted to work on in vain, by the kind
	// whose cache they wait for.
	blocked map[*kinds.Kind]map[K]bool
}

type debt struct {
	since    time.Time
	versions map[*kinds.Kind]string
	deleted  []plan.Write
}

// patience is upstream's ExpectationsTimeout: a cache that does not show a
// write for so long is broken, and to go on with it is the better half.
const patience = 5 * time.Minute

func newBehind[K comparable](caches []cluster.Cache) *behind[K] {
	b := &behind[K]{caches: map[*kinds.Kind]cluster.Cache{}, keys: map[K]*debt{}, blocked: map[*kinds.Kind]map[K]bool{}}
	for _, c := range caches {
		b.caches[c.Kind()] = c
	}
	return b
}

// wrote notes a write. Kinds that the loop does not listen to are left out:
// nothing would wake it when their caches catch up.
func (b *behind[K]) wrote(k K, w plan.Write, now time.Time) {
	if b.caches[w.Kind] == nil {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	d := b.keys[k]
	if d == nil {
		d = &debt{since: now, versions: map[*kinds.Kind]string{}}
		b.keys[k] = d
	}
	if w.Version == "" {
		d.deleted = append(d.deleted, w)
		return
	}
	if !reached(d.versions[w.Kind], w.Version) {
		d.versions[w.Kind] = w.Version
	}
}

func (b *behind[K]) forget(k K) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.keys, k)
}

// waits tells whether a key waits for a cache. If it does, released returns it
// when that cache has caught up.
func (b *behind[K]) waits(k K, now time.Time) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	kind := b.owes(k, now)
	if kind == nil {
		return false
	}
	if b.blocked[kind] == nil {
		b.blocked[kind] = map[K]bool{}
	}
	b.blocked[kind][k] = true
	return true
}

// released returns the keys that wait no longer after a change of a kind.
func (b *behind[K]) released(kind *kinds.Kind, now time.Time) []K {
	b.mu.Lock()
	defer b.mu.Unlock()
	var out []K
	for k := range b.blocked[kind] {
		if b.owes(k, now) == nil {
			delete(b.blocked[kind], k)
			out = append(out, k)
		}
	}
	return out
}

// owes returns the kind whose cache does not show what was written for a key,
// nil if there is none; b.mu is held.
func (b *behind[K]) owes(k K, now time.Time) *kinds.Kind {
	d := b.keys[k]
	if d == nil {
		return nil
	}
	if now.Sub(d.since) < patience {
		for kind, version := range d.versions {
			if !reached(b.caches[kind].Indexer().LastStoreSyncResourceVersion(), version) {
				return kind
			}
		}
		for _, w := range d.deleted {
			if shows(b.caches[w.Kind], w.Namespace, w.Name, w.UID) {
				return w.Kind
			}
		}
	}
	delete(b.keys, k)
	return nil
}

// shows tells whether a cache has an object alive that was deleted.
func shows(c cluster.Cache, namespace, name string, uid types.UID) bool {
	o, ok := cluster.Get[metav1.Object](c, namespace, name)
	return ok && o.GetUID() == uid && o.GetDeletionTimestamp() == nil
}

// reached tells whether a cache at version have has seen version want. What
// cannot be compared is not waited for.
func reached(have, want string) bool {
	if have == "" {
		return false
	}
	order, err := resourceversion.CompareResourceVersion(have, want)
	return err != nil || order >= 0
}
