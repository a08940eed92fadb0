package packets

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"runtime"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"

	"coracle.local/services/kube-proxy/internal/iptables"
)

// network is a node with hosts around it, each in a namespace of its own and
// one wire away. The node routes between them.
type network struct {
	t      *testing.T
	node   netns.NsHandle
	hosts  map[string]netns.NsHandle // by address
	tables *iptables.Tables
}

// newNetwork makes a node that has the first address (.1) of each host's /24.
func newNetwork(t *testing.T, hosts ...string) *network {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("network namespaces need root")
	}
	if _, err := exec.LookPath("iptables-restore"); err != nil {
		t.Skip("iptables is not installed")
	}
	n := &network{t: t, node: newNamespace(t), hosts: map[string]netns.NsHandle{}}
	n.in(n.node, func() {
		up(t, "lo")
		for _, setting := range []string{"ip_forward", "conf/all/route_localnet"} {
			if err := os.WriteFile("/proc/sys/net/ipv4/"+setting, []byte("1"), 0o644); err != nil {
				t.Skipf("kernel settings cannot be changed here: %v", err)
			}
		}
	})
	for i, host := range hosts {
		n.connect(i, host)
	}
	n.tables = iptables.New()
	run := n.tables.Run
	n.tables.Run = func(ctx context.Context, input []byte, name string, args ...string) (out []byte, err error) {
		n.in(n.node, func() { out, err = run(ctx, input, name, args...) })
		return out, err
	}
	return n
}

func newNamespace(t *testing.T) netns.NsHandle {
	t.Helper()
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	home, err := netns.Get()
	if err != nil {
		t.Skipf("network namespaces: %v", err)
	}
	defer func() { _ = home.Close() }()
	ns, err := netns.New()
	if err != nil {
		t.Skipf("network namespaces: %v", err)
	}
	if err := netns.Set(home); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ns.Close() })
	return ns
}

// in runs f in a namespace, with the programs that it starts.
func (n *network) in(ns netns.NsHandle, f func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		// The thread ends with the goroutine, so it need not come back.
		runtime.LockOSThread()
		if err := netns.Set(ns); err != nil {
			n.t.Errorf("enter namespace: %v", err)
			return
		}
		f()
	}()
	<-done
}

func (n *network) connect(i int, host string) {
	ns := newNamespace(n.t)
	n.hosts[host] = ns
	ip := net.ParseIP(host).To4()
	gateway := net.IPv4(ip[0], ip[1], ip[2], 1)
	name := fmt.Sprintf("wire%d", i)
	n.in(n.node, func() {
		wire := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: name}, PeerName: "eth0"}
		must(n.t, netlink.LinkAdd(wire))
		peer, err := netlink.LinkByName("eth0")
		must(n.t, err)
		must(n.t, netlink.LinkSetNsFd(peer, int(ns)))
		address(n.t, name, gateway)
		// Of several wires of one network, each leads to its host alone.
		link, err := netlink.LinkByName(name)
		must(n.t, err)
		must(n.t, netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: &net.IPNet{IP: ip, Mask: net.CIDRMask(32, 32)}}))
		// The world is behind the last host, as a node has a default route.
		must(n.t, netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Gw: ip, Flags: int(netlink.FLAG_ONLINK)}))
	})
	n.in(ns, func() {
		up(n.t, "lo")
		address(n.t, "eth0", ip)
		link, err := netlink.LinkByName("eth0")
		must(n.t, err)
		must(n.t, netlink.RouteReplace(&netlink.Route{LinkIndex: link.Attrs().Index, Dst: &net.IPNet{IP: gateway, Mask: net.CIDRMask(32, 32)}, Scope: netlink.SCOPE_LINK}))
		must(n.t, netlink.RouteAdd(&netlink.Route{Gw: gateway}))
	})
}

func address(t *testing.T, link string, ip net.IP) {
	t.Helper()
	l, err := netlink.LinkByName(link)
	must(t, err)
	must(t, netlink.AddrAdd(l, &netlink.Addr{IPNet: &net.IPNet{IP: ip, Mask: net.CIDRMask(32, 32)}}))
	must(t, netlink.LinkSetUp(l))
}

func up(t *testing.T, link string) {
	t.Helper()
	l, err := netlink.LinkByName(link)
	must(t, err)
	must(t, netlink.LinkSetUp(l))
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// serve answers each connection to a host's port with the host's address and
// the address of the client as the host sees it.
func (n *network) serve(host string, port int) {
	var l net.Listener
	n.in(n.hosts[host], func() {
		var err error
		l, err = net.Listen("tcp4", fmt.Sprintf("%s:%d", host, port))
		must(n.t, err)
	})
	n.t.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			client, _, _ := net.SplitHostPort(c.RemoteAddr().String())
			_, _ = fmt.Fprintf(c, "%s %s", host, client)
			_ = c.Close()
		}
	}()
}

// call connects from a host and returns who answered, and as whom the client
// was seen.
func (n *network) call(from, to string) (answered, seen string, err error) {
	ns, ok := n.hosts[from]
	if !ok {
		ns = n.node
	}
	n.in(ns, func() {
		var c net.Conn
		if c, err = net.DialTimeout("tcp4", to, 3*time.Second); err != nil {
			return
		}
		defer func() { _ = c.Close() }()
		_ = c.SetDeadline(time.Now().Add(3 * time.Second))
		_, err = fmt.Fscan(c, &answered, &seen)
	})
	return answered, seen, err
}
