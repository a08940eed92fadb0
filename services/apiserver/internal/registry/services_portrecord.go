package registry

import (
	"context"
	"fmt"
	"math/big"

	corev1 "k8s.io/api/core/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"

	"coracle.local/services/apiserver/internal/etcd"
)

// portRecordKey is where upstream's servers keep the node ports that are given.
const portRecordKey = etcd.Root + "ranges/servicenodeports"

// portRecord is that record: a number with a bit for each port of the range. It
// is written in the transaction that writes the Service, and compared there, so
// that no two servers give the same port. It is not modified once it is shared.
type portRecord struct {
	revision int64 // 0 stands for none
	base     int
	bits     *big.Int
}

func (p *portRecord) has(port int32) bool {
	i := int(port) - p.base
	return i >= 0 && p.bits.Bit(i) == 1
}

func (p *portRecord) set(port int32, given uint) { p.bits.SetBit(p.bits, int(port)-p.base, given) }

func (p *portRecord) hasAny(ports []takenPort) bool {
	for _, t := range ports {
		if p.has(t.number) {
			return true
		}
	}
	return false
}

func (p *portRecord) clone() *portRecord {
	return &portRecord{revision: p.revision, base: p.base, bits: new(big.Int).Set(p.bits)}
}

// write is the record's part of a transaction.
func (p *portRecord) write(ports utilnet.PortRange) (etcd.Write, error) {
	o := &corev1.RangeAllocation{Range: ports.String(), Data: p.bits.Bytes()}
	value, err := etcd.Seal("v1", "RangeAllocation", o.Size(), o.MarshalToSizedBuffer)
	if err != nil {
		return etcd.Write{}, fmt.Errorf("encode node ports: %w", err)
	}
	return etcd.Write{Key: portRecordKey, Value: value, Revision: p.revision}, nil
}

// decodePorts reads a record. One that a server with another range wrote is
// moved to this one's.
func decodePorts(kv *etcd.KV, ports utilnet.PortRange) (*portRecord, error) {
	_, _, message, err := etcd.Open(kv.Value)
	if err != nil {
		return nil, fmt.Errorf("read node ports: %w", err)
	}
	var o corev1.RangeAllocation
	if err := o.Unmarshal(message); err != nil {
		return nil, fmt.Errorf("read node ports: %w", err)
	}
	bits := new(big.Int).SetBytes(o.Data)
	if o.Range != "" && o.Range != ports.String() {
		other, err := utilnet.ParsePortRange(o.Range)
		if err != nil {
			return nil, fmt.Errorf("read node ports: %w", err)
		}
		bits.Lsh(bits, uint(other.Base)).Rsh(bits, uint(ports.Base))
		whole := new(big.Int).Lsh(big.NewInt(1), uint(ports.Size))
		bits.And(bits, whole.Sub(whole, big.NewInt(1)))
	}
	return &portRecord{revision: kv.Revision, base: ports.Base, bits: bits}, nil
}

// enterPorts takes the turn of who changes the record: within a server, who
// comes second would only have to begin anew. leave gives it to the next.
func (s *Services) enterPorts(ctx context.Context) (leave func(), err error) {
	select {
	case s.portTurn <- struct{}{}:
		return func() { <-s.portTurn }, nil
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

func (s *Services) knownPorts() *portRecord {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.record
}

// know keeps the record as it was last seen; nil says that nobody knows.
func (s *Services) know(p *portRecord) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.record = p
}

// readPorts reads the record from etcd. Where there is none the Services stand
// for it.
func (r *Registry) readPorts(ctx context.Context) (*portRecord, error) {
	s := r.Services
	kv, err := r.Cache.Store().Get(ctx, portRecordKey)
	if err != nil {
		return nil, err
	}
	var p *portRecord
	if kv != nil {
		if p, err = decodePorts(kv, s.ports); err != nil {
			return nil, err
		}
	} else {
		if err := r.Cache.Fresh(ctx); err != nil {
			return nil, err
		}
		p = &portRecord{base: s.ports.Base, bits: s.portsOfAll()}
	}
	s.know(p)
	return p, nil
}

// portsOfAll has the bit of each port that a Service has.
func (s *Services) portsOfAll() *big.Int {
	n := new(big.Int)
	for _, svc := range s.withPorts() {
		for _, port := range nodePortsOf(svc) {
			if s.ports.Contains(int(port)) {
				n.SetBit(n, int(port)-s.ports.Base, 1)
			}
		}
	}
	return n
}

// recordPorts makes the record's part of an allocation's transaction; nil if it
// has none. Call it in turn.
func (r *Registry) recordPorts(ctx context.Context, a *allocation) (next *portRecord, err error) {
	s := a.services
	p := s.knownPorts()
	// What is known may be behind, so it is no reason to refuse a port.
	if p == nil || p.hasAny(a.ports) {
		if p, err = r.readPorts(ctx); err != nil {
			return nil, err
		}
	}
	if err := a.exchangePorts(p); err != nil {
		return nil, err
	}
	next = p.clone()
	for _, t := range a.ports {
		next.set(t.number, 1)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, port := range a.freed {
		owner, given := s.nodePorts[port]
		if s.ports.Contains(int(port)) && (!given || owner == a.svc.UID) {
			next.set(port, 0)
		}
	}
	if next.bits.Cmp(p.bits) == 0 {
		return nil, nil
	}
	return next, nil
}
