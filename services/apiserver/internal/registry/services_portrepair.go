package registry

import (
	"cmp"
	"context"
	"fmt"
	"math/big"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"coracle.local/services/apiserver/internal/etcd"
)

// portRepair keeps the record of ports in step with the Services.
type portRepair struct {
	// leaks are ports that are given to no Service, and since when.
	leaks map[int32]time.Time
}

// run looks once. again is when something will be due that is not yet, if it is
// not 0.
func (p *portRepair) run(ctx context.Context, r *Registry) (out []found, again time.Duration, err error) {
	s := r.Services
	leave, err := s.enterPorts(ctx)
	if err != nil {
		return nil, 0, err
	}
	defer leave()
	record, err := r.readPorts(ctx)
	if err != nil {
		return nil, 0, err
	}
	// A Service that went before this record was written must be seen to be gone.
	if err := r.Cache.Reach(ctx, record.revision); err != nil {
		return nil, 0, err
	}
	next, out, again := p.inspect(record, s.withPorts(), s.ports, r.Clock.Now())
	if record.revision != 0 && next.bits.Cmp(record.bits) == 0 {
		return out, again, nil
	}
	write, err := next.write(s.ports)
	if err != nil {
		return out, again, err
	}
	revision, _, err := r.Cache.Store().Commit(ctx, []etcd.Write{write})
	if err != nil || revision == 0 { // another server was faster
		s.know(nil)
		return nil, time.Second, err
	}
	next.revision = revision
	s.know(next)
	return out, again, nil
}

// withPorts are the Services that have node ports, the older ones first: of two
// with the same port the older one has it.
func (s *Services) withPorts() (out []*corev1.Service) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, svc := range s.services {
		if len(nodePortsOf(svc)) > 0 {
			out = append(out, svc)
		}
	}
	slices.SortFunc(out, func(a, b *corev1.Service) int {
		return cmp.Or(a.CreationTimestamp.Compare(b.CreationTimestamp.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return out
}

// inspect makes the record that the Services call for. What else is given may
// be for a Service that another server is about to write, and stays for a while.
func (p *portRepair) inspect(record *portRecord, services []*corev1.Service, ports utilnet.PortRange, now time.Time) (next *portRecord, out []found, again time.Duration) {
	next = &portRecord{revision: record.revision, base: record.base, bits: new(big.Int)}
	seen := map[int32]bool{}
	for _, svc := range services {
		list := nodePortsOf(svc)
		slices.Sort(list)
		for _, port := range slices.Compact(list) {
			in := ports.Contains(int(port))
			switch {
			case seen[port]:
				out = append(out, portFound(svc, port, "PortAlreadyAllocated", "Port %d was assigned to multiple services; please recreate service", port))
			case !in:
				out = append(out, portFound(svc, port, "PortOutOfRange", "Port %d is not within the port range %s; please recreate service", port, ports.String()))
			case !record.has(port):
				out = append(out, portFound(svc, port, "PortNotAllocated", "Port %d is not allocated; repairing", port))
			}
			if seen[port] = true; in {
				next.set(port, 1)
			}
		}
	}
	return next, out, p.keepLeaks(record, next, ports, now)
}

func (p *portRepair) keepLeaks(record, next *portRecord, ports utilnet.PortRange, now time.Time) (again time.Duration) {
	for i := range ports.Size {
		port := int32(ports.Base + i)
		since, leaked := p.leaks[port]
		switch {
		case !record.has(port) || next.has(port):
			delete(p.leaks, port)
			continue
		case !leaked:
			since = now
			p.leaks[port] = now
		}
		if left := leakAfter - now.Sub(since); left > 0 {
			next.set(port, 1)
			again = sooner(again, left)
		}
	}
	return again
}

func portFound(svc *corev1.Service, port int32, reason, format string, args ...any) found {
	return found{
		finding: finding{svc: nameOf(svc), uid: svc.UID, name: fmt.Sprint(port), reason: reason},
		action:  "PortAllocation", message: fmt.Sprintf(format, args...), about: referTo(svc),
	}
}
