package e2e

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

// history is what Services have, from one change in etcd to the next.
type history struct {
	*testing.T
	base      int // of the range of ports
	revision  int64
	addresses map[string]bool
	services  map[string]*corev1.Service
	record    *big.Int
}

// inOrder goes through all that etcd was told, as its watchers see it: no
// Service is ever there without its IPAddress, and the record has the ports of
// Services and no others.
func inOrder(t *testing.T, etcd *clientv3.Client, base int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	const end = "/registry/end"
	if _, err := etcd.Put(ctx, end, ""); err != nil {
		t.Fatal(err)
	}
	h := &history{T: t, base: base, addresses: map[string]bool{}, services: map[string]*corev1.Service{}, record: new(big.Int)}
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

func (h *history) take(e *clientv3.Event) {
	if e.Kv.ModRevision != h.revision {
		h.check()
		h.revision = e.Kv.ModRevision
	}
	folder, name, _ := strings.Cut(strings.TrimPrefix(string(e.Kv.Key), "/registry/"), "/")
	switch gone := e.Type == clientv3.EventTypeDelete; {
	case folder == "ipaddresses":
		h.addresses[name] = !gone
	case folder == "ranges":
		h.record.SetBytes(stored(h.T, e, &corev1.RangeAllocation{}).Data)
	case strings.HasPrefix(name, "specs/") && gone:
		delete(h.services, name)
	case strings.HasPrefix(name, "specs/"):
		h.services[name] = stored(h.T, e, &corev1.Service{})
		h.addressed(name)
	}
}

// check looks at the state that one revision left.
func (h *history) check() {
	ports := new(big.Int)
	for name, s := range h.services {
		h.addressed(name)
		for _, p := range append(s.Spec.Ports, corev1.ServicePort{NodePort: s.Spec.HealthCheckNodePort}) {
			if p.NodePort != 0 {
				ports.SetBit(ports, int(p.NodePort)-h.base, 1)
			}
		}
	}
	if ports.Cmp(h.record) != 0 {
		h.Errorf("at revision %d ports %x are recorded, and Services have %x", h.revision, h.record, ports)
	}
}

func (h *history) addressed(service string) {
	for _, ip := range h.services[service].Spec.ClusterIPs {
		if ip != corev1.ClusterIPNone && !h.addresses[ip] {
			h.Errorf("at revision %d %s is without IPAddress %s", h.revision, service, ip)
		}
	}
}

// stored decodes what is stored in upstream's envelope.
func stored[T interface{ Unmarshal([]byte) error }](t *testing.T, e *clientv3.Event, into T) T {
	t.Helper()
	var u runtime.Unknown
	err := u.Unmarshal(e.Kv.Value[len("k8s\x00"):])
	if err == nil {
		err = into.Unmarshal(u.Raw)
	}
	if err != nil {
		t.Fatal(err)
	}
	return into
}
