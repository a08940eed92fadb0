package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"

	"github.com/vishvananda/netlink"
)

// Run keeps routes, rules and kernel settings as the cluster wants them, now,
// after each Update, and once a minute in case somebody else changed them.
// What the machine refuses is warned about once and tried again.
func (n *Network) Run(ctx context.Context) error {
	tick := n.cfg.Clock.NewTicker(n.cfg.Resync)
	defer tick.Stop()
	for {
		n.sync(ctx)
		select {
		case <-ctx.Done():
			return nil
		case <-n.changed:
		case <-tick.C():
		}
	}
}

func (n *Network) sync(ctx context.Context) {
	n.mu.Lock()
	c, heard := n.cluster, n.heard
	n.mu.Unlock()
	if !heard {
		// After a restart the routes of before hold until the nodes are known.
		return
	}
	v4, v6 := families(c.PodCIDRs)
	if v4 || v6 {
		n.warn("forwarding", "this machine does not forward", enableForwarding(v4, v6))
		n.warn("bridge", "services are not reachable from pods of the same node", enableBridgeFilter(v4, v6))
	}
	if _, foreign, err := n.current(); foreign || err != nil {
		// Somebody else connects nodes, or will; none of our routes stays.
		c = Cluster{}
	}
	n.warn("routes", "some nodes' pods are out of reach", syncRoutes(desiredRoutes(c)))
	for _, isV4 := range []bool{true, false} {
		subject := map[bool]string{true: "iptables", false: "ip6tables"}[isV4]
		err := applyRules(ctx, isV4, renderRules(c, isV4))
		if ctx.Err() != nil {
			return
		}
		n.warn(subject, "pods may not reach out of the cluster", err)
	}
}

// Remove takes everything of the node's network away, for a machine that
// stops being a node: its pods must be gone.
func (n *Network) Remove(ctx context.Context) error {
	errs := []error{
		syncRoutes(nil),
		removeRules(ctx, true),
		removeRules(ctx, false),
	}
	link, err := netlink.LinkByName(n.cfg.Bridge)
	var absent netlink.LinkNotFoundError
	switch {
	case errors.As(err, &absent):
	case err != nil:
		errs = append(errs, fmt.Errorf("find bridge %s: %w", n.cfg.Bridge, err))
	default:
		if err := netlink.LinkDel(link); err != nil {
			errs = append(errs, fmt.Errorf("delete bridge %s: %w", n.cfg.Bridge, err))
		}
	}
	return errors.Join(errs...)
}

func families(cidrs []netip.Prefix) (v4, v6 bool) {
	for _, cidr := range cidrs {
		if cidr.Addr().Is4() {
			v4 = true
		} else {
			v6 = true
		}
	}
	return v4, v6
}

// enableForwarding lets the node pass packets between pods and its uplink.
func enableForwarding(v4, v6 bool) error {
	var errs []error
	if v4 {
		errs = append(errs, ensureOne("/proc/sys/net/ipv4/ip_forward"))
	}
	if v6 {
		errs = append(errs, ensureOne("/proc/sys/net/ipv6/conf/all/forwarding"))
	}
	return errors.Join(errs...)
}

// enableBridgeFilter makes bridged packets pass the rules of kube-proxy.
// Without, a pod that calls a Service with a backend on its own bridge gets
// the answer from an address it never called.
func enableBridgeFilter(v4, v6 bool) error {
	var errs []error
	if v4 {
		errs = append(errs, ensureOne("/proc/sys/net/bridge/bridge-nf-call-iptables"))
	}
	if v6 {
		errs = append(errs, ensureOne("/proc/sys/net/bridge/bridge-nf-call-ip6tables"))
	}
	err := errors.Join(errs...)
	if errors.Is(err, fs.ErrNotExist) {
		return errors.New("the kernel module br_netfilter is not loaded")
	}
	return err
}

// ensureOne reads first: a read-only /proc/sys that already says 1 is fine.
func ensureOne(path string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if bytes.Equal(bytes.TrimSpace(content), []byte("1")) {
		return nil
	}
	return os.WriteFile(path, []byte("1"), 0o644)
}
