package network

import (
	"context"
	"io"
	"net"
	"os/exec"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/network/networktest"
)

func TestSyncTouchesOnlyItsOwn(t *testing.T) {
	n := newNode(t, nil)
	foreign := &netlink.Route{Dst: ipnet("10.244.99.0/24"), Gw: net.IPv4(192, 0, 2, 99), Protocol: unix.RTPROT_STATIC}
	stale := &netlink.Route{Dst: ipnet("10.244.98.0/24"), Gw: net.IPv4(192, 0, 2, 98), Protocol: RouteProtocol}
	n.do(t, func() error { return netlink.RouteAdd(foreign) })
	n.do(t, func() error { return netlink.RouteAdd(stale) })
	routes := func() string {
		var out []string
		n.do(t, func() error {
			all, err := netlink.RouteList(nil, netlink.FAMILY_V4)
			for _, r := range all {
				if r.Gw != nil && r.Dst != nil && !r.Dst.IP.IsUnspecified() {
					out = append(out, r.Dst.String()+">"+r.Gw.String())
				}
			}
			return err
		})
		return strings.Join(out, " ")
	}
	sync := func() {
		n.do(t, func() error { n.sync(context.Background()); return nil })
	}

	sync()
	if got := routes(); !strings.Contains(got, "10.244.98.0/24") {
		t.Errorf("routes of before are gone before the cluster was heard of: %s", got)
	}
	n.update(t, Cluster{PodCIDRs: prefixes(t, "10.244.0.0/24"), Peers: []Peer{
		peer(t, "b", "192.0.2.2", "10.244.1.0/24"),
		peer(t, "far", "198.51.100.1", "10.244.3.0/24"), // behind the router
		peer(t, "c", "192.0.2.3", "10.244.2.0/24"),
	}})
	sync()
	if got, want := routes(), "10.244.1.0/24>192.0.2.2 10.244.2.0/24>192.0.2.3 10.244.99.0/24>192.0.2.99"; got != want {
		t.Errorf("routes %s, want %s", got, want)
	}
	n.update(t, Cluster{PodCIDRs: prefixes(t, "10.244.0.0/24"), Peers: []Peer{peer(t, "b", "192.0.2.20", "10.244.1.0/24")}})
	sync()
	if got, want := routes(), "10.244.1.0/24>192.0.2.20 10.244.99.0/24>192.0.2.99"; got != want {
		t.Errorf("routes %s, want %s", got, want)
	}
	n.do(t, func() error { return n.Remove(context.Background()) })
	if got, want := routes(), "10.244.99.0/24>192.0.2.99"; got != want {
		t.Errorf("routes after Remove: %s, want %s", got, want)
	}
}

func ipnet(s string) *net.IPNet {
	_, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	return n
}

func TestRulesAreIdempotentAndRemovable(t *testing.T) {
	n := newNode(t, nil)
	if err := n.ns.Do(func() error { return run(context.Background(), "", "iptables", "-t", "nat", "-S") }); err != nil {
		t.Skipf("no usable iptables: %v", err)
	}
	dump := func(table string) string {
		var b strings.Builder
		n.do(t, func() error { return runTo(&b, "iptables", "-t", table, "-S") })
		return b.String()
	}
	n.update(t, Cluster{PodCIDRs: prefixes(t, "10.244.0.0/24")})
	for range 2 {
		n.do(t, func() error { n.sync(context.Background()); return nil })
	}
	for table, want := range map[string]string{"nat": masqueradeChain, "filter": forwardChain} {
		if got := strings.Count(dump(table), "-j "+want+"\n"); got != 1 {
			t.Errorf("%d jumps to %s, want 1:\n%s", got, want, dump(table))
		}
	}
	n.do(t, func() error { return n.Remove(context.Background()) })
	if got := dump("nat") + dump("filter"); strings.Contains(got, "CORACLE") {
		t.Errorf("left behind:\n%s", got)
	}
}

// TestWhatOthersSee dials from a pod to a machine beyond the node's uplink,
// which has an address outside of the cluster and one of another node's pods.
func TestWhatOthersSee(t *testing.T) {
	n := newNode(t, nil)
	if err := n.ns.Do(func() error { return run(context.Background(), "", "iptables", "-t", "nat", "-S") }); err != nil {
		t.Skipf("no usable iptables: %v", err)
	}
	world := networktest.NewNamespace(t, "")
	n.do(t, func() error { return networktest.MoveUplink(world) })
	if err := world.Do(func() error {
		return networktest.Addresses(map[string]string{"nowhere": "192.0.2.9/24", "lo": "10.244.8.5/32"}, "10.244.7.0/24", "192.0.2.1")
	}); err != nil {
		t.Fatal(err)
	}
	n.update(t, Cluster{PodCIDRs: prefixes(t, "10.244.7.0/24"), Peers: []Peer{peer(t, "world", "192.0.2.9", "10.244.8.0/24")}})
	n.do(t, func() error { n.sync(context.Background()); return nil })
	pod := networktest.NewNamespace(t, "")
	ips := n.attach(t, Sandbox{ID: "pod", NetNS: pod.Path()})
	if got := seenAs(t, pod, world, "192.0.2.9"); got != "192.0.2.1" {
		t.Errorf("outside of the cluster the pod is seen as %s, want the node", got)
	}
	if got := seenAs(t, pod, world, "10.244.8.5"); got != ips[0] {
		t.Errorf("another node's pod sees it as %s, want %s", got, ips[0])
	}
}

// TestHostPort reaches a pod by a port of its node, from beyond the uplink.
func TestHostPort(t *testing.T) {
	n := newNode(t, nil)
	if err := n.ns.Do(func() error { return run(context.Background(), "", "iptables", "-t", "nat", "-S") }); err != nil {
		t.Skipf("no usable iptables: %v", err)
	}
	world := networktest.NewNamespace(t, "")
	n.do(t, func() error { return networktest.MoveUplink(world) })
	if err := world.Do(func() error {
		return networktest.Addresses(map[string]string{"nowhere": "192.0.2.9/24"}, "10.244.7.0/24", "192.0.2.1")
	}); err != nil {
		t.Fatal(err)
	}
	n.update(t, Cluster{PodCIDRs: prefixes(t, "10.244.7.0/24")})
	n.do(t, func() error { n.sync(context.Background()); return nil })
	pod := networktest.NewNamespace(t, "")
	s := Sandbox{ID: "pod", NetNS: pod.Path(), Ports: []engine.PortMapping{{HostPort: 8080, ContainerPort: 80, Protocol: "TCP"}}}
	n.attach(t, s)
	var listener net.Listener
	if err := pod.Do(func() (err error) {
		listener, err = net.Listen("tcp", ":80")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	dial := func() error {
		return world.Do(func() error {
			conn, err := net.Dial("tcp", "192.0.2.1:8080")
			if err == nil {
				err = conn.Close()
			}
			return err
		})
	}
	if err := dial(); err != nil {
		t.Error(err)
	}
	n.restart(t)
	n.do(t, func() error { return n.Detach(context.Background(), Sandbox{ID: "pod"}) })
	if err := dial(); err == nil {
		t.Error("the port still leads somewhere after the pod has gone")
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	n := newNode(t, nil)
	n.update(t, Cluster{PodCIDRs: prefixes(t, "10.244.0.0/24")})
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	n.do(t, func() error { return n.Run(ctx) })
}

func runTo(out io.Writer, name string, args ...string) error {
	cmd := exec.Command(name, args...)
	cmd.Stdout = out
	return cmd.Run()
}
