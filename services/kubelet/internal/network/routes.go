package network

import "net/netip"

// RouteProtocol marks routes as ours; `ip route list proto 67` shows them.
// Routes of any other protocol number are never changed. The number is in the
// range that rtnetlink(7) leaves to users and in no list of known daemons.
const RouteProtocol = 67

// route is a way to another node's pods.
type route struct {
	dst netip.Prefix
	via netip.Addr
}

// desiredRoutes maps each peer's pod CIDRs to its address of the same family.
// A peer that is not described well enough yet has none.
func desiredRoutes(c Cluster) map[netip.Prefix]netip.Addr {
	own := map[netip.Prefix]bool{}
	for _, cidr := range c.PodCIDRs {
		own[cidr.Masked()] = true
	}
	routes := map[netip.Prefix]netip.Addr{}
	for _, peer := range c.Peers {
		for _, cidr := range peer.PodCIDRs {
			if !cidr.IsValid() || own[cidr.Masked()] {
				continue
			}
			for _, addr := range peer.Addresses {
				if addr.Unmap().Is4() == cidr.Addr().Is4() {
					routes[cidr.Masked()] = addr.Unmap()
					break
				}
			}
		}
	}
	return routes
}

// planRoutes compares what should be with our routes that are.
func planRoutes(desired map[netip.Prefix]netip.Addr, present []route) (add, replace, remove []route) {
	seen := map[netip.Prefix]bool{}
	for _, r := range present {
		via, wanted := desired[r.dst]
		switch {
		case !wanted || seen[r.dst]:
			remove = append(remove, r)
			continue
		case via != r.via:
			replace = append(replace, route{r.dst, via})
		}
		seen[r.dst] = true
	}
	for dst, via := range desired {
		if !seen[dst] {
			add = append(add, route{dst, via})
		}
	}
	return add, replace, remove
}
