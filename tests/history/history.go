// Package history judges what API servers did by all that etcd was told.
package history

import (
	"context"
	"math/big"
	"strings"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
)

// state is what Services have, from one change in etcd to the next.
type state struct {
	testing.TB
	base      int // of the range of node ports
	ahead     bool
	revision  int64
	addresses map[string]bool
	services  map[string]*corev1.Service
	record    *big.Int
}

// Services goes through the changes as etcd's watchers see them: no Service is
// ever there without its IPAddress, and the record of node ports, whose range
// begins at base, has those of Services and no others. Upstream's servers write
// the record first, so where they take part it may be ahead.
func Services(t testing.TB, etcd *clientv3.Client, base int, ahead bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	const end = "/registry/end"
	if _, err := etcd.Put(ctx, end, ""); err != nil {
		t.Fatal(err)
	}
	h := &state{TB: t, base: base, ahead: ahead, addresses: map[string]bool{}, services: map[string]*corev1.Service{}, record: new(big.Int)}
	for r := range etcd.Watch(ctx, "/registry/", clientv3.WithPrefix(), clientv3.WithRev(1)) {
		if err := r.Err(); err != nil {
			t.Fatal(err)
		}
		for _, e := range r.Events {
			if string(e.Kv.Key) == end {
				h.check()
				return
			}
			h.take(e)
		}
	}
	t.Fatal("the history has no end")
}

func (h *state) take(e *clientv3.Event) {
	if e.Kv.ModRevision != h.revision {
		h.check()
		h.revision = e.Kv.ModRevision
	}
	folder, name, _ := strings.Cut(strings.TrimPrefix(string(e.Kv.Key), "/registry/"), "/")
	switch gone := e.Type == clientv3.EventTypeDelete; {
	case folder == "ipaddresses":
		h.addresses[name] = !gone
	case folder == "ranges":
		h.record.SetBytes(Stored(h.TB, e.Kv.Value, &corev1.RangeAllocation{}).Data)
	case strings.HasPrefix(name, "specs/") && gone:
		delete(h.services, name)
	case strings.HasPrefix(name, "specs/"):
		h.services[name] = Stored(h.TB, e.Kv.Value, &corev1.Service{})
		h.addressed(name)
	}
}

// check looks at the state that one revision left.
func (h *state) check() {
	ports := new(big.Int)
	for name, s := range h.services {
		h.addressed(name)
		for _, p := range append(s.Spec.Ports, corev1.ServicePort{NodePort: s.Spec.HealthCheckNodePort}) {
			if p.NodePort != 0 {
				ports.SetBit(ports, int(p.NodePort)-h.base, 1)
			}
		}
	}
	recorded := h.record
	if h.ahead {
		recorded = new(big.Int).And(recorded, ports)
	}
	if ports.Cmp(recorded) != 0 {
		h.Errorf("at revision %d ports %x are recorded, and Services have %x", h.revision, h.record, ports)
	}
}

func (h *state) addressed(service string) {
	for _, ip := range h.services[service].Spec.ClusterIPs {
		if ip != corev1.ClusterIPNone && !h.addresses[ip] {
			h.Errorf("at revision %d %s is without IPAddress %s", h.revision, service, ip)
		}
	}
}

// Stored decodes what is stored in upstream's envelope.
func Stored[T interface{ Unmarshal([]byte) error }](t testing.TB, value []byte, into T) T {
	t.Helper()
	var u runtime.Unknown
	err := u.Unmarshal(value[len("k8s\x00"):])
	if err == nil {
		err = into.Unmarshal(u.Raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	return into
}
