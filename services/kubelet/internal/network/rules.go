package network

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
)

// The chains that are ours. Everything in them is rewritten as one; outside
// of them there is one jump to each.
const (
	masqueradeChain = "CORACLE-MASQ"
	forwardChain    = "CORACLE-FORWARD"
)

// jumps lead to our chains. They are appended: kube-proxy and network
// policies put theirs in front, where they must come first.
var jumps = []struct{ table, from, to string }{
	{"nat", "POSTROUTING", masqueradeChain},
	{"filter", "FORWARD", forwardChain},
}

// renderRules writes the content of our chains for one IP family, for
// iptables-restore: pods see each other's own addresses, all others see the
// node's; and pod traffic is let through where the engine's policy is to drop
// what it does not know. Nothing is rendered for a family without pods here.
func renderRules(c Cluster, v4 bool) string {
	var own, all []netip.Prefix
	for _, cidr := range c.PodCIDRs {
		if cidr.Addr().Is4() == v4 {
			own = append(own, cidr.Masked())
			all = append(all, cidr.Masked())
		}
	}
	if len(own) == 0 {
		return ""
	}
	for _, peer := range c.Peers {
		for _, cidr := range peer.PodCIDRs {
			if cidr.IsValid() && cidr.Addr().Is4() == v4 {
				all = append(all, cidr.Masked())
			}
		}
	}
	all = aggregate(all)
	multicast := "224.0.0.0/4"
	if !v4 {
		multicast = "ff00::/8"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "*nat\n:%s - [0:0]\n", masqueradeChain)
	for _, cidr := range all {
		fmt.Fprintf(&b, "-A %s -d %s -j RETURN\n", masqueradeChain, cidr)
	}
	fmt.Fprintf(&b, "-A %s -d %s -j RETURN\n", masqueradeChain, multicast)
	for _, cidr := range own {
		fmt.Fprintf(&b, "-A %s -s %s -j MASQUERADE\n", masqueradeChain, cidr)
	}
	fmt.Fprintf(&b, "COMMIT\n*filter\n:%s - [0:0]\n", forwardChain)
	for _, cidr := range all {
		fmt.Fprintf(&b, "-A %s -s %s -j ACCEPT\n-A %s -d %s -j ACCEPT\n", forwardChain, cidr, forwardChain, cidr)
	}
	b.WriteString("COMMIT\n")
	return b.String()
}

// aggregate sorts prefixes and joins halves into wholes, so that a packet
// passes a rule for a cluster rather than one for each node.
func aggregate(in []netip.Prefix) []netip.Prefix {
	sorted := slices.Clone(in)
	slices.SortFunc(sorted, func(a, b netip.Prefix) int {
		if c := a.Addr().Compare(b.Addr()); c != 0 {
			return c
		}
		return a.Bits() - b.Bits()
	})
	var out []netip.Prefix
	for _, p := range sorted {
		if len(out) > 0 && out[len(out)-1].Overlaps(p) {
			continue // sorted so, an overlapping predecessor contains it
		}
		out = append(out, p)
		for len(out) >= 2 {
			a, b := out[len(out)-2], out[len(out)-1]
			whole, err := a.Addr().Prefix(a.Bits() - 1)
			if err != nil || a.Bits() != b.Bits() || !whole.Contains(b.Addr()) {
				break
			}
			out = append(out[:len(out)-2], whole)
		}
	}
	return out
}

// applyRules brings rendered chains and their jumps about.
func applyRules(ctx context.Context, v4 bool, rules string) error {
	if rules == "" {
		return nil
	}
	tool := "iptables"
	if !v4 {
		tool = "ip6tables"
	}
	if err := run(ctx, rules, tool+"-restore", "--wait", "10", "--noflush"); err != nil {
		return err
	}
	for _, j := range jumps {
		rule := []string{"-m", "comment", "--comment", "pod network", "-j", j.to}
		with := func(verb string) []string {
			return append([]string{"--wait", "10", "-t", j.table, verb, j.from}, rule...)
		}
		if run(ctx, "", tool, with("-C")...) == nil {
			continue
		}
		if err := run(ctx, "", tool, with("-A")...); err != nil {
			return err
		}
	}
	return nil
}

// removeRules takes our chains and jumps away. What is absent is left so.
func removeRules(ctx context.Context, v4 bool) error {
	tool := "iptables"
	if !v4 {
		tool = "ip6tables"
	}
	if _, err := exec.LookPath(tool); err != nil {
		return nil
	}
	var errs []error
	for _, j := range jumps {
		base := []string{"--wait", "10", "-t", j.table}
		if run(ctx, "", tool, append(slices.Clone(base), "-n", "-L", j.to)...) != nil {
			continue
		}
		for _, args := range [][]string{
			{"-D", j.from, "-m", "comment", "--comment", "pod network", "-j", j.to},
			{"-F", j.to},
			{"-X", j.to},
		} {
			if err := run(ctx, "", tool, append(slices.Clone(base), args...)...); err != nil {
				errs = append(errs, err)
			}
		}
	}
	return errors.Join(errs...)
}

func run(ctx context.Context, stdin, name string, args ...string) error {
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Stdin = strings.NewReader(stdin)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("%s %s: %w: %s", name, strings.Join(args, " "), err, strings.TrimSpace(out.String()))
	}
	return nil
}
