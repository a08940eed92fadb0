package registry

import (
	"bytes"
	"context"
	"fmt"
	"math/big"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/apiserver/internal/etcd"
)

// portRecord keeps the record that upstream's server has of node ports: a
// number with a bit for each port. Here nobody reads it, for the Services
// themselves tell; it is written so that upstream's server, started over the
// same etcd, finds everything in order.
type portRecord struct{ last []byte }

const portRecordKey = etcd.Root + "ranges/servicenodeports"

func (p *portRecord) keep(ctx context.Context, r *Registry) error {
	data := r.Services.portBits()
	if p.last != nil && bytes.Equal(data, p.last) {
		return nil
	}
	o := &corev1.RangeAllocation{Range: r.Services.ports.String(), Data: data}
	value, err := etcd.Seal("v1", "RangeAllocation", o.Size(), o.MarshalToSizedBuffer)
	if err != nil {
		return fmt.Errorf("encode node ports: %w", err)
	}
	if _, _, err := r.Cache.Store().Commit(ctx, []etcd.Write{{Key: portRecordKey, Value: value, Any: true}}); err != nil {
		return err
	}
	p.last = data
	return nil
}

// portBits has the bit of each port that a Service has.
func (s *Services) portBits() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	n := new(big.Int)
	for _, svc := range s.held {
		for _, port := range nodePortsOf(svc) {
			if s.ports.Contains(int(port)) {
				n.SetBit(n, int(port)-s.ports.Base, 1)
			}
		}
	}
	if b := n.Bytes(); b != nil {
		return b
	}
	return []byte{}
}
