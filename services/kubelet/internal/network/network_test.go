package network

import (
	"context"
	"io"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/vishvananda/netlink"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/network/networktest"
)

const testBridge = "coracle-test0"

// node is a Network in a namespace of its own.
type node struct {
	*Network
	cfg Config
	ns  *networktest.Namespace
}

func newNode(t *testing.T, change func(*Config)) *node {
	t.Helper()
	n := &node{ns: networktest.NewNamespace(t, "192.0.2.1/24")}
	n.cfg = Config{Root: t.TempDir(), BinDirs: []string{networktest.Plugins(t)}, Bridge: testBridge}
	if change != nil {
		change(&n.cfg)
	}
	n.restart(t)
	return n
}

// restart makes the Network anew over what it has stored.
func (n *node) restart(t *testing.T) {
	t.Helper()
	made, err := New(n.cfg)
	if err != nil {
		t.Fatal(err)
	}
	n.Network = made
}

func (n *node) do(t *testing.T, f func() error) {
	t.Helper()
	if err := n.ns.Do(f); err != nil {
		t.Fatal(err)
	}
}

func (n *node) update(t *testing.T, c Cluster) {
	t.Helper()
	n.do(t, func() error { return n.Update(c) })
}

func (n *node) attach(t *testing.T, s Sandbox) []string {
	t.Helper()
	var ips []string
	n.do(t, func() (err error) {
		ips, err = n.Attach(context.Background(), s)
		return err
	})
	return ips
}

// links counts the bridge's ports.
func (n *node) links(t *testing.T) int {
	t.Helper()
	count := 0
	n.do(t, func() error {
		links, err := netlink.LinkList()
		for _, l := range links {
			if l.Type() == "veth" && l.Attrs().MasterIndex != 0 {
				count++
			}
		}
		return err
	})
	return count
}

// reservations counts the addresses that are given out.
func (n *node) reservations(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(n.cfg.Root, "addresses", networkName))
	if err != nil {
		t.Fatal(err)
	}
	count := 0
	for _, e := range entries {
		if _, err := netip.ParseAddr(e.Name()); err == nil {
			count++
		}
	}
	return count
}

func TestNotReadyUntilConfigured(t *testing.T) {
	n, err := New(Config{Root: t.TempDir(), BinDirs: []string{t.TempDir()}})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Ready(); err == nil || err.Error() != "cni plugin not initialized" {
		t.Errorf("Ready before the node has a CIDR: %v", err)
	}
	if _, err := n.Attach(context.Background(), Sandbox{ID: "a"}); err == nil {
		t.Error("Attach succeeds before the node has a CIDR")
	}
	if err := n.Detach(context.Background(), Sandbox{ID: "a"}); err != nil {
		t.Errorf("Detach of what was never attached: %v", err)
	}
	if err := n.Update(Cluster{PodCIDRs: prefixes(t, "10.244.0.0/24")}); err != nil {
		t.Fatal(err)
	}
	if err := n.Ready(); err == nil || !strings.Contains(err.Error(), "bridge") {
		t.Errorf("Ready without plugins: %v", err)
	}
}

func TestAttachConnectsSandboxes(t *testing.T) {
	n := newNode(t, nil)
	n.update(t, Cluster{PodCIDRs: prefixes(t, "10.244.7.0/24", "fd00:7::/64")})
	if err := n.Ready(); err != nil {
		t.Fatal(err)
	}
	podA, podB := networktest.NewNamespace(t, ""), networktest.NewNamespace(t, "")
	a := Sandbox{ID: "sandbox-a", NetNS: podA.Path(), Namespace: "default", Name: "a"}
	b := Sandbox{ID: "sandbox-b", NetNS: podB.Path(), Namespace: "default", Name: "b"}
	ipsA, ipsB := n.attach(t, a), n.attach(t, b)
	if len(ipsA) != 2 || len(ipsB) != 2 || ipsA[0] == ipsB[0] || !strings.HasPrefix(ipsA[0], "10.244.7.") || !strings.HasPrefix(ipsA[1], "fd00:7:") {
		t.Fatalf("addresses %v and %v", ipsA, ipsB)
	}
	for i := range ipsA { // each family
		if got := seenAs(t, podA, podB, ipsB[i]); got != ipsA[i] {
			t.Errorf("the pod is seen as %s, want %s", got, ipsA[i])
		}
	}
	if got := mtu(t, podA); got != 1400 {
		t.Errorf("MTU in the pod is %d, want the uplink's 1400", got)
	}

	n.restart(t)
	if got := n.IPs(a.ID); strings.Join(got, " ") != strings.Join(ipsA, " ") {
		t.Errorf("addresses after a restart: %v, want %v", got, ipsA)
	}
	for range 2 { // twice: the second must find nothing to do
		n.do(t, func() error { return n.Detach(context.Background(), a) })
	}
	if got := n.IPs(a.ID); got != nil {
		t.Errorf("addresses of a detached sandbox: %v", got)
	}
	if n.links(t) != 1 || n.reservations(t) != 2 {
		t.Errorf("%d ports and %d addresses left, want those of one sandbox, 1 and 2", n.links(t), n.reservations(t))
	}
	n.do(t, func() error { return n.Detach(context.Background(), b) })
	n.do(t, func() error { return n.Remove(context.Background()) })
	n.do(t, func() error {
		_, err := netlink.LinkByName(testBridge)
		if err == nil {
			t.Error("the bridge is still there")
		}
		return nil
	})
}

// seenAs dials from one namespace to an address of the other, and returns the
// address that the other side sees.
func seenAs(t *testing.T, from, to *networktest.Namespace, ip string) string {
	t.Helper()
	var listener net.Listener
	err := to.Do(func() (err error) {
		listener, err = net.Listen("tcp", net.JoinHostPort(ip, "0"))
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			_, _ = conn.Write([]byte(conn.RemoteAddr().(*net.TCPAddr).IP.String()))
			_ = conn.Close()
		}
	}()
	var seen []byte
	err = from.Do(func() error {
		conn, err := net.Dial("tcp", listener.Addr().String())
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		seen, err = io.ReadAll(conn)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return string(seen)
}

func mtu(t *testing.T, ns *networktest.Namespace) int {
	t.Helper()
	got := 0
	if err := ns.Do(func() error {
		link, err := netlink.LinkByName("eth0")
		if err == nil {
			got = link.Attrs().MTU
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return got
}

func TestFailedAttachLeavesNothing(t *testing.T) {
	n := newNode(t, nil)
	n.update(t, Cluster{PodCIDRs: prefixes(t, "10.244.7.0/24")})
	pod := networktest.NewNamespace(t, "")
	s := Sandbox{ID: "sandbox", NetNS: pod.Path(), Ports: []engine.PortMapping{
		{HostPort: 0, ContainerPort: 80, Protocol: "TCP"}, // which portmap, the last plugin, refuses
	}}
	err := n.ns.Do(func() error {
		_, err := n.Attach(context.Background(), s)
		return err
	})
	if err == nil {
		t.Fatal("an impossible port mapping is accepted")
	}
	if n.links(t) != 0 || n.reservations(t) != 0 || n.IPs(s.ID) != nil {
		t.Errorf("%d ports, %d addresses, %v left", n.links(t), n.reservations(t), n.IPs(s.ID))
	}
}

func TestDetachAfterTheNamespaceIsGone(t *testing.T) {
	n := newNode(t, nil)
	n.update(t, Cluster{PodCIDRs: prefixes(t, "10.244.7.0/24")})
	for _, id := range []string{"kept", "lost", "stopped"} {
		n.attach(t, Sandbox{ID: id, NetNS: networktest.NewNamespace(t, "").Path()})
	}
	n.restart(t)
	n.do(t, func() error { return n.Detach(context.Background(), Sandbox{ID: "stopped"}) })
	if got := n.reservations(t); got != 2 {
		t.Errorf("%d addresses given out, want 2", got)
	}
	n.do(t, func() error { return n.Collect(context.Background(), []string{"kept"}) })
	if got := n.reservations(t); got != 1 || n.IPs("kept") == nil || n.IPs("lost") != nil {
		t.Errorf("%d addresses given out, kept %v, lost %v", got, n.IPs("kept"), n.IPs("lost"))
	}
}

func TestForeignConfigurationWins(t *testing.T) {
	dir := t.TempDir()
	n, err := New(Config{Root: t.TempDir(), BinDirs: []string{t.TempDir()}, ConfDir: dir})
	if err != nil {
		t.Fatal(err)
	}
	if err := n.Update(Cluster{PodCIDRs: prefixes(t, "10.244.0.0/24")}); err != nil {
		t.Fatal(err)
	}
	if list, foreign, err := n.current(); err != nil || foreign || list.Name != networkName {
		t.Fatalf("with an empty folder: %v, %v", foreign, err)
	}
	write := func(name, content string) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("20-other.conflist", `{"cniVersion":"1.0.0","name":"other","plugins":[{"type":"ptp"}]}`)
	if list, foreign, err := n.current(); err != nil || !foreign || list.Name != "other" {
		t.Errorf("a foreign one: %v, %v", foreign, err)
	}
	write("10-list.conflist", `{"cniVersion":"1.0.0","name":"flannel","plugins":[{"type":"flannel"}]}`)
	if list, _, err := n.current(); err != nil || list.Name != "flannel" {
		t.Errorf("first by name: %v", err)
	}
	write("00-broken.conflist", `{`)
	if err := n.Ready(); err == nil || !strings.Contains(err.Error(), "00-broken.conflist") {
		t.Errorf("broken configuration: %v", err)
	}
}
