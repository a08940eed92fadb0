// Package conntrack makes the kernel forget UDP flows that lead to where no
// endpoint is any more: UDP has no end by which it would notice.
package conntrack

import (
	"net/netip"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/kube-proxy/internal/model"
)

// Stale are the flows to forget after a change of the model.
type Stale struct {
	// Endpoints that went: flows from a Service's address to them.
	Gone []Flow
	// Addresses and node ports that have endpoints now and had none: flows that
	// were not translated.
	Revived []netip.AddrPort
	Ports   []uint16
}

// Flow is what a Service's address was translated to.
type Flow struct{ Service, Endpoint netip.AddrPort }

// Compare finds what became stale between two models.
func Compare(before, after *model.Model) Stale {
	var s Stale
	was := byAddress(before)
	is := byAddress(after)
	for at, p := range was {
		still := map[netip.AddrPort]bool{}
		if now := is[at]; now != nil {
			for _, e := range now.Endpoints {
				still[e.Addr] = true
			}
		}
		for _, e := range p.Endpoints {
			if !still[e.Addr] {
				s.Gone = append(s.Gone, Flow{at, e.Addr})
			}
		}
	}
	for at, p := range is {
		if old := was[at]; len(p.Endpoints) > 0 && (old == nil || len(old.Endpoints) == 0) {
			s.Revived = append(s.Revived, at)
			if p.NodePort != 0 {
				s.Ports = append(s.Ports, uint16(p.NodePort))
			}
		}
	}
	return s
}

func byAddress(m *model.Model) map[netip.AddrPort]*model.Port {
	out := map[netip.AddrPort]*model.Port{}
	if m == nil {
		return out
	}
	for i := range m.Ports {
		p := &m.Ports[i]
		if p.Protocol != corev1.ProtocolUDP {
			continue
		}
		for _, ip := range append([]netip.Addr{p.ClusterIP}, p.External...) {
			out[netip.AddrPortFrom(ip, uint16(p.Number))] = p
		}
	}
	return out
}

// Empty tells whether there is nothing to forget.
func (s Stale) Empty() bool { return len(s.Gone)+len(s.Revived)+len(s.Ports) == 0 }
