package network

import (
	"encoding/json"
	"net/netip"
	"slices"
	"strings"
	"testing"
)

func prefixes(t *testing.T, in ...string) []netip.Prefix {
	t.Helper()
	var out []netip.Prefix
	for _, s := range in {
		p, err := netip.ParsePrefix(s)
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, p)
	}
	return out
}

func peer(t *testing.T, node, addresses, cidrs string) Peer {
	t.Helper()
	p := Peer{Node: node, PodCIDRs: prefixes(t, strings.Fields(cidrs)...)}
	for _, a := range strings.Fields(addresses) {
		p.Addresses = append(p.Addresses, netip.MustParseAddr(a))
	}
	return p
}

func TestDesiredRoutes(t *testing.T) {
	tests := []struct {
		name string
		in   Cluster
		want map[string]string
	}{
		{"no peers", Cluster{PodCIDRs: prefixes(t, "10.244.0.0/24")}, nil},
		{
			"one peer",
			Cluster{Peers: []Peer{peer(t, "b", "192.0.2.2", "10.244.1.0/24")}},
			map[string]string{"10.244.1.0/24": "192.0.2.2"},
		},
		{
			"families are matched",
			Cluster{Peers: []Peer{peer(t, "b", "2001:db8::2 192.0.2.2", "10.244.1.0/24 fd00:1::/64")}},
			map[string]string{"10.244.1.0/24": "192.0.2.2", "fd00:1::/64": "2001:db8::2"},
		},
		{
			"host bits are masked",
			Cluster{Peers: []Peer{peer(t, "b", "192.0.2.2", "10.244.1.7/24")}},
			map[string]string{"10.244.1.0/24": "192.0.2.2"},
		},
		{"no address yet", Cluster{Peers: []Peer{peer(t, "b", "", "10.244.1.0/24")}}, nil},
		{"no CIDR yet", Cluster{Peers: []Peer{peer(t, "b", "192.0.2.2", "")}}, nil},
		{"never over its own pods", Cluster{
			PodCIDRs: prefixes(t, "10.244.1.0/24"),
			Peers:    []Peer{peer(t, "b", "192.0.2.2", "10.244.1.0/24")},
		}, nil},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := desiredRoutes(test.in)
			if len(got) != len(test.want) {
				t.Fatalf("got %v, want %v", got, test.want)
			}
			for dst, via := range test.want {
				if got[netip.MustParsePrefix(dst)].String() != via {
					t.Errorf("route to %s goes by %s, want %s", dst, got[netip.MustParsePrefix(dst)], via)
				}
			}
		})
	}
}

func TestPlanRoutes(t *testing.T) {
	at := func(dst, via string) route { return route{netip.MustParsePrefix(dst), netip.MustParseAddr(via)} }
	desired := map[netip.Prefix]netip.Addr{}
	for _, r := range []route{at("10.244.1.0/24", "192.0.2.1"), at("10.244.2.0/24", "192.0.2.2"), at("10.244.3.0/24", "192.0.2.3")} {
		desired[r.dst] = r.via
	}
	add, replace, remove := planRoutes(desired, []route{
		at("10.244.1.0/24", "192.0.2.1"), // as it should be
		at("10.244.2.0/24", "192.0.2.9"), // the node has moved
		at("10.244.9.0/24", "192.0.2.9"), // the node is gone
		at("10.244.1.0/24", "192.0.2.1"), // a second of the same
	})
	if want := []route{at("10.244.3.0/24", "192.0.2.3")}; !slices.Equal(add, want) {
		t.Errorf("add %v, want %v", add, want)
	}
	if want := []route{at("10.244.2.0/24", "192.0.2.2")}; !slices.Equal(replace, want) {
		t.Errorf("replace %v, want %v", replace, want)
	}
	if want := []route{at("10.244.9.0/24", "192.0.2.9"), at("10.244.1.0/24", "192.0.2.1")}; !slices.Equal(remove, want) {
		t.Errorf("remove %v, want %v", remove, want)
	}
}

func TestAggregate(t *testing.T) {
	tests := []struct{ name, in, want string }{
		{"nothing", "", ""},
		{"halves join", "10.0.1.0/24 10.0.0.0/24", "10.0.0.0/23"},
		{"neighbours of different wholes do not", "10.0.1.0/24 10.0.2.0/24", "10.0.1.0/24 10.0.2.0/24"},
		{"joining goes on", "10.0.0.0/24 10.0.1.0/24 10.0.2.0/24 10.0.3.0/24", "10.0.0.0/22"},
		{"contained ones vanish", "10.0.0.0/16 10.0.7.0/24", "10.0.0.0/16"},
		{"equal ones are one", "10.0.0.0/24 10.0.0.0/24", "10.0.0.0/24"},
		{"IPv6", "fd00::/65 fd00:0:0:0:8000::/65", "fd00::/64"},
		{"everything", "0.0.0.0/1 128.0.0.0/1", "0.0.0.0/0"},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := aggregate(prefixes(t, strings.Fields(test.in)...))
			if want := prefixes(t, strings.Fields(test.want)...); !slices.Equal(got, want) {
				t.Errorf("got %v, want %v", got, want)
			}
		})
	}
}

func TestRenderRules(t *testing.T) {
	c := Cluster{
		PodCIDRs: prefixes(t, "10.244.0.0/24", "fd00::/64"),
		Peers:    []Peer{peer(t, "b", "192.0.2.2", "10.244.1.0/24 fd00:0:0:9::/64")},
	}
	want := `*nat
:CORACLE-MASQ - [0:0]
-A CORACLE-MASQ -d 10.244.0.0/23 -j RETURN
-A CORACLE-MASQ -d 224.0.0.0/4 -j RETURN
-A CORACLE-MASQ -s 10.244.0.0/24 -j MASQUERADE
COMMIT
*filter
:CORACLE-FORWARD - [0:0]
-A CORACLE-FORWARD -s 10.244.0.0/23 -j ACCEPT
-A CORACLE-FORWARD -d 10.244.0.0/23 -j ACCEPT
COMMIT
`
	if got := renderRules(c, true); got != want {
		t.Errorf("IPv4 rules:\n%s\nwant:\n%s", got, want)
	}
	if got := renderRules(c, false); !strings.Contains(got, "-s fd00::/64 -j MASQUERADE") || strings.Contains(got, "10.244") {
		t.Errorf("IPv6 rules:\n%s", got)
	}
	if got := renderRules(Cluster{Peers: c.Peers}, true); got != "" {
		t.Errorf("a node without pods has rules:\n%s", got)
	}
}

func TestRender(t *testing.T) {
	data, err := render("br9", "/state", 1400, prefixes(t, "10.244.3.9/24", "fd00::/64"))
	if err != nil {
		t.Fatal(err)
	}
	var got struct {
		Name    string
		Plugins []struct {
			Type, Bridge string
			MTU          int
			IPAM         struct{ Ranges [][]struct{ Subnet string } }
		}
	}
	if err := json.Unmarshal(data, &got); err != nil {
		t.Fatal(err)
	}
	bridge := got.Plugins[0]
	if got.Name != networkName || bridge.Bridge != "br9" || bridge.MTU != 1400 ||
		bridge.IPAM.Ranges[0][0].Subnet != "10.244.3.0/24" || bridge.IPAM.Ranges[1][0].Subnet != "fd00::/64" {
		t.Errorf("got %s", data)
	}
	if _, err := render("br9", "/state", 0, prefixes(t, "10.0.0.0/24", "10.0.1.0/24")); err == nil {
		t.Error("two CIDRs of one family are accepted")
	}
	if _, err := render("br9", "/state", 0, []netip.Prefix{{}}); err == nil {
		t.Error("an invalid CIDR is accepted")
	}
}
