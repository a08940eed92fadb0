package registry

import (
	"math/big"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"coracle.local/services/apiserver/internal/etcd"
)

func recordWith(ports ...int32) *portRecord {
	p := &portRecord{revision: 1, base: 30000, bits: new(big.Int)}
	for _, port := range ports {
		p.set(port, 1)
	}
	return p
}

func TestPortRepairFinds(t *testing.T) {
	a, b := exposing("a", corev1.ServicePort{NodePort: 30001}), exposing("b", corev1.ServicePort{NodePort: 30001})
	checked := service("c")
	checked.Spec.HealthCheckNodePort = 30002
	tests := []struct {
		name     string
		record   *portRecord
		services []*corev1.Service
		age      time.Duration // of what is found leaked
		want     string
		next     *portRecord
		again    time.Duration
	}{
		{name: "nothing", record: recordWith(30001, 30002), services: []*corev1.Service{a, checked}, next: recordWith(30001, 30002)},
		{
			name: "a port twice", record: recordWith(30001), services: []*corev1.Service{a, b}, next: recordWith(30001),
			want: "b PortAlreadyAllocated: Port 30001 was assigned to multiple services; please recreate service",
		},
		{
			name: "a port out of range", record: recordWith(), services: []*corev1.Service{exposing("s", corev1.ServicePort{NodePort: 80})}, next: recordWith(),
			want: "s PortOutOfRange: Port 80 is not within the port range 30000-30007; please recreate service",
		},
		{
			name: "a port that is not recorded", record: recordWith(), services: []*corev1.Service{a}, next: recordWith(30001),
			want: "a PortNotAllocated: Port 30001 is not allocated; repairing",
		},
		{name: "a port that is early", record: recordWith(30007), next: recordWith(30007), again: time.Minute},
		{name: "a port that has been early for a while", record: recordWith(30007), age: 59 * time.Second, next: recordWith(30007), again: time.Second},
		{name: "a port of no Service", record: recordWith(30007), age: time.Minute, next: recordWith()},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			p := portRepair{leaks: map[int32]time.Time{}}
			ports := utilnet.PortRange{Base: 30000, Size: 8}
			if test.age > 0 {
				p.inspect(test.record, test.services, ports, start.Add(-test.age))
			}
			next, findings, again := p.inspect(test.record, test.services, ports, start)
			got := ""
			for _, f := range findings {
				got += f.svc.Name + " " + f.reason + ": " + f.message
			}
			if got != test.want || next.bits.Cmp(test.next.bits) != 0 || again != test.again {
				t.Errorf("found %q, records %x, again after %s", got, next.bits, again)
			}
		})
	}
}

// A record is read as it was written, and moved if the range is another one.
func TestPortRecord(t *testing.T) {
	ours := utilnet.PortRange{Base: 30000, Size: 8}
	for _, test := range []struct {
		name    string
		written utilnet.PortRange
		want    *portRecord
	}{
		{"of the same range", ours, recordWith(30001, 30006)},
		{"of a lower one", utilnet.PortRange{Base: 29998, Size: 20}, recordWith(30004)},
		{"of a higher one", utilnet.PortRange{Base: 30001, Size: 10}, recordWith(30002, 30007)},
	} {
		t.Run(test.name, func(t *testing.T) {
			w, err := recordWith(30001, 30006).write(test.written)
			if err != nil {
				t.Fatal(err)
			}
			got, err := decodePorts(&etcd.KV{Value: w.Value, Revision: 7}, ours)
			if err != nil || got.bits.Cmp(test.want.bits) != 0 || got.revision != 7 {
				t.Errorf("%+v (%v), want bits %x", got, err, test.want.bits)
			}
		})
	}
	if _, err := decodePorts(&etcd.KV{Value: []byte("nonsense")}, ours); err == nil {
		t.Error("nonsense is read")
	}
}
