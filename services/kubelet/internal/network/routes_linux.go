package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// syncRoutes makes our routes what they should be. Each failure is reported
// for itself: a node behind a router must not cost the way to the others.
func syncRoutes(desired map[netip.Prefix]netip.Addr) error {
	present, err := listRoutes()
	if err != nil {
		return err
	}
	add, replace, remove := planRoutes(desired, present)
	var errs []error
	apply := func(verb string, routes []route, call func(*netlink.Route) error) {
		for _, r := range routes {
			if err := call(r.netlink()); err != nil && !(verb == "remove" && errors.Is(err, unix.ESRCH)) {
				errs = append(errs, fmt.Errorf("%s route to %s via %s: %w", verb, r.dst, r.via, err))
			}
		}
	}
	apply("remove", remove, netlink.RouteDel)
	apply("replace", replace, netlink.RouteReplace)
	apply("add", add, netlink.RouteAdd)
	return errors.Join(errs...)
}

func listRoutes() ([]route, error) {
	filter := &netlink.Route{Protocol: RouteProtocol, Table: unix.RT_TABLE_MAIN}
	found, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, filter, netlink.RT_FILTER_PROTOCOL|netlink.RT_FILTER_TABLE)
	if err != nil {
		return nil, fmt.Errorf("list routes: %w", err)
	}
	var routes []route
	for _, r := range found {
		if r.Dst == nil {
			continue
		}
		addr, ok := netip.AddrFromSlice(r.Dst.IP)
		ones, _ := r.Dst.Mask.Size()
		via, _ := netip.AddrFromSlice(r.Gw) // none stays the zero Addr, which no desired route has
		if ok {
			routes = append(routes, route{netip.PrefixFrom(addr.Unmap(), ones), via.Unmap()})
		}
	}
	return routes, nil
}

func (r route) netlink() *netlink.Route {
	nl := &netlink.Route{
		Dst: &net.IPNet{
			IP:   r.dst.Addr().AsSlice(),
			Mask: net.CIDRMask(r.dst.Bits(), r.dst.Addr().BitLen()),
		},
		Protocol: RouteProtocol,
		Table:    unix.RT_TABLE_MAIN,
	}
	if r.via.IsValid() {
		nl.Gw = r.via.AsSlice()
	}
	return nl
}

// uplinkMTU is the MTU of the link that the default route uses, zero when
// there is none; then the kernel's default holds.
func uplinkMTU() int {
	routes, err := netlink.RouteListFiltered(netlink.FAMILY_ALL, &netlink.Route{Table: unix.RT_TABLE_MAIN}, netlink.RT_FILTER_TABLE)
	if err != nil {
		return 0
	}
	for _, r := range routes {
		if r.Dst != nil {
			if ones, _ := r.Dst.Mask.Size(); ones != 0 || !r.Dst.IP.IsUnspecified() {
				continue
			}
		}
		index := r.LinkIndex
		if index == 0 && len(r.MultiPath) > 0 {
			index = r.MultiPath[0].LinkIndex
		}
		if link, err := netlink.LinkByIndex(index); err == nil {
			return link.Attrs().MTU
		}
	}
	return 0
}
