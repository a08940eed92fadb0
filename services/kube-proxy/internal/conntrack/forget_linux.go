package conntrack

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// Forget removes the flows from the kernel's table.
func (s Stale) Forget() error {
	if s.Empty() {
		return nil
	}
	if _, err := netlink.ConntrackDeleteFilters(netlink.ConntrackTable, unix.AF_INET, filter(s.matches)); err != nil &&
		!errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("forget stale UDP flows: %w", err)
	}
	return nil
}

type filter func(*netlink.ConntrackFlow) bool

// MatchConntrackFlow implements netlink's filter.
func (f filter) MatchConntrackFlow(flow *netlink.ConntrackFlow) bool { return f(flow) }

func (s Stale) matches(flow *netlink.ConntrackFlow) bool {
	if flow.Forward.Protocol != unix.IPPROTO_UDP {
		return false
	}
	to := netip.AddrPortFrom(addr(flow.Forward.DstIP), flow.Forward.DstPort)
	from := netip.AddrPortFrom(addr(flow.Reverse.SrcIP), flow.Reverse.SrcPort)
	for _, g := range s.Gone {
		if from == g.Endpoint && (to == g.Service || to.Addr() != g.Endpoint.Addr()) {
			return true
		}
	}
	for _, r := range s.Revived {
		if to == r {
			return true
		}
	}
	for _, p := range s.Ports {
		if to.Port() == p {
			return true
		}
	}
	return false
}

func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}
