package app

import (
	"context"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/apiserver/internal/auth"
	"coracle.local/services/apiserver/internal/kinds/core"
)

// shortestIPv6 is upstream's limit of how large a network of Services may be.
const shortestIPv6 = 64

func parseServiceCIDRs(text string) ([]netip.Prefix, error) {
	var out []netip.Prefix
	for part := range strings.SplitSeq(text, ",") {
		p, err := netip.ParsePrefix(strings.TrimSpace(part))
		if err != nil {
			return nil, fmt.Errorf("--service-cluster-ip-range: %w", err)
		}
		out = append(out, p.Masked())
	}
	return out, nil
}

func checkServiceCIDRs(list []netip.Prefix) error {
	if len(list) > 2 || len(list) == 2 && list[0].Addr().Is4() == list[1].Addr().Is4() {
		return fmt.Errorf("--service-cluster-ip-range %v: give one network, or one of each family", list)
	}
	for _, p := range list {
		if p.Addr().Is6() && p.Bits() < shortestIPv6 {
			return fmt.Errorf("--service-cluster-ip-range %s is too large: an IPv6 network has a prefix of %d bits or more", p, shortestIPv6)
		}
	}
	return nil
}

// families are those that Services can have addresses of.
func (s *server) families() core.Families {
	f := core.Families{First: corev1.IPv4Protocol, Both: len(s.cfg.ServiceCIDRs) > 1}
	if s.cfg.ServiceCIDRs[0].Addr().Is6() {
		f.First = corev1.IPv6Protocol
	}
	return f
}

func (s *server) ranges() []string {
	var out []string
	for _, p := range s.cfg.ServiceCIDRs {
		out = append(out, p.String())
	}
	return out
}

// repair keeps the records of Services' addresses right once all is served.
func (s *server) repair(ctx context.Context) error {
	select {
	case <-s.ready:
	case <-ctx.Done():
		return nil
	}
	return s.registry.Services.Repair(auth.WithUser(ctx, loopback), s.registry)
}
