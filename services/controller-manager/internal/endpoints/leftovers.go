package endpoints

import (
	"sync"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
)

// leftovers is the Endpoints that lost their Service: those whose Service was
// seen to go, and those without one when the controller starts. Endpoints that
// somebody makes later without a Service are their maker's.
type leftovers struct {
	// synced is closed once the initial state was told.
	synced func() <-chan struct{}
	mu     sync.Mutex
	keys   map[loop.Key]bool
}

// service notes the Services that go.
func (l *leftovers) service(before, after kinds.Object) []loop.Key {
	if after != nil {
		return nil
	}
	k := owner.Self(before, nil)[0]
	l.note(k)
	return []loop.Key{k}
}

// endpoints notes what is there at the start.
func (l *leftovers) endpoints(before, after kinds.Object) []loop.Key {
	keys := owner.Self(before, after)
	select {
	case <-l.synced():
	default:
		l.note(keys[0])
	}
	return keys
}

func (l *leftovers) note(k loop.Key) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.keys == nil {
		l.keys = map[loop.Key]bool{}
	}
	l.keys[k] = true
}

// is tells whether the Endpoints of a name are to go. What has a Service, or
// is not there, is forgotten.
func (l *leftovers) is(k loop.Key, alone bool) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !alone {
		delete(l.keys, k)
	}
	return l.keys[k]
}
