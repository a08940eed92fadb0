// Package rules turns a model into iptables rules: pure, sorted text, with
// upstream's names of chains.
package rules

import (
	"crypto/sha256"
	"encoding/base32"
	"fmt"
	"net/netip"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/kube-proxy/internal/model"
)

// Tables that rules stand in.
const (
	NAT    = "nat"
	Filter = "filter"
)

// Chains that the kernel's own lead to; see Hooks.
const (
	services         = "KUBE-SERVICES"
	nodePorts        = "KUBE-NODEPORTS"
	postrouting      = "KUBE-POSTROUTING"
	markMasquerade   = "KUBE-MARK-MASQ"
	externalServices = "KUBE-EXTERNAL-SERVICES"
	forward          = "KUBE-FORWARD"
	firewall         = "KUBE-PROXY-FIREWALL"
)

// Canary is a chain that is only there to be missed when somebody flushes all
// rules.
const Canary = "KUBE-PROXY-CANARY"

// mark is upstream's bit of the packet mark: masquerade on the way out.
const mark = "0x4000"

// Chain is a chain's name in its table.
type Chain struct{ Table, Name string }

// Rules are the wanted chains, each with its rules in order and without "-A
// CHAIN".
type Rules map[Chain][]string

// Config is what rules depend on beside the model.
type Config struct {
	// PodNetwork tells cluster traffic from other; the zero value takes all
	// traffic for the cluster's own.
	PodNetwork netip.Prefix
	// MasqueradeAll hides every client's address from Services' pods.
	MasqueradeAll bool
}

// Hook is a rule in a chain of the kernel's that leads to one of ours.
type Hook struct {
	Table, Chain string
	Rule         string
}

// Hooks are where our chains are entered; each is put first in its chain.
func Hooks() []Hook {
	const fresh = "-m conntrack --ctstate NEW "
	return []Hook{
		{Filter, "INPUT", fresh + comment("kubernetes externally-visible service portals") + "-j " + externalServices},
		{Filter, "FORWARD", fresh + comment("kubernetes externally-visible service portals") + "-j " + externalServices},
		{Filter, "FORWARD", fresh + comment("kubernetes service portals") + "-j " + services},
		{Filter, "OUTPUT", fresh + comment("kubernetes service portals") + "-j " + services},
		{Filter, "FORWARD", comment("kubernetes forwarding rules") + "-j " + forward},
		{Filter, "INPUT", fresh + comment("kubernetes load balancer firewall") + "-j " + firewall},
		{Filter, "OUTPUT", fresh + comment("kubernetes load balancer firewall") + "-j " + firewall},
		{Filter, "FORWARD", fresh + comment("kubernetes load balancer firewall") + "-j " + firewall},
		{NAT, "OUTPUT", comment("kubernetes service portals") + "-j " + services},
		{NAT, "PREROUTING", comment("kubernetes service portals") + "-j " + services},
		{NAT, "POSTROUTING", comment("kubernetes postrouting rules") + "-j " + postrouting},
	}
}

func comment(text string) string { return fmt.Sprintf("-m comment --comment %q ", text) }

// Build writes the rules of a model.
func Build(cfg Config, m *model.Model) Rules {
	b := &builder{cfg: cfg, rules: Rules{}}
	b.fixed()
	for i := range m.Ports {
		b.port(&m.Ports[i])
	}
	// Last, so that a cluster or external address that is the node's own is met
	// first.
	b.add(NAT, services, comment("kubernetes service nodeports; NOTE: this must be the last rule in this chain")+
		"-m addrtype --dst-type LOCAL -j "+nodePorts)
	return b.rules
}

type builder struct {
	cfg   Config
	rules Rules
}

func (b *builder) chain(table, name string) {
	c := Chain{table, name}
	if b.rules[c] == nil {
		b.rules[c] = []string{}
	}
}

func (b *builder) add(table, chain, rule string) {
	b.rules[Chain{table, chain}] = append(b.rules[Chain{table, chain}], rule)
}

// fixed writes the chains that do not depend on any Service.
func (b *builder) fixed() {
	for _, c := range []Chain{
		{NAT, Canary},
		{NAT, services},
		{NAT, nodePorts},
		{NAT, postrouting},
		{NAT, markMasquerade},
		{Filter, services},
		{Filter, externalServices},
		{Filter, forward},
		{Filter, firewall},
	} {
		b.chain(c.Table, c.Name)
	}
	b.add(NAT, postrouting, "-m mark ! --mark "+mark+"/"+mark+" -j RETURN")
	b.add(NAT, postrouting, "-j MARK --xor-mark "+mark)
	b.add(NAT, postrouting, comment("kubernetes service traffic requiring SNAT")+"-j MASQUERADE --random-fully")
	b.add(NAT, markMasquerade, "-j MARK --or-mark "+mark)
	// A packet that conntrack takes for invalid is not translated back, and its
	// reset would end a good connection.
	b.add(Filter, forward, "-m conntrack --ctstate INVALID -j DROP")
	b.add(Filter, forward, comment("kubernetes forwarding rules")+"-m mark --mark "+mark+"/"+mark+" -j ACCEPT")
	b.add(Filter, forward, comment("kubernetes forwarding conntrack rule")+"-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT")
}

func (b *builder) port(p *model.Port) {
	internal, outside := b.chains(p)
	to := match(p.Protocol, p.ClusterIP, p.Number)
	if internal == "" {
		b.add(Filter, services, comment(p.ID()+" has no endpoints")+to+"-j REJECT")
	} else {
		b.add(NAT, services, comment(p.ID()+" cluster IP")+to+"-j "+internal)
	}
	for _, ip := range p.External {
		to := match(p.Protocol, ip, p.Number)
		switch {
		case outside == "" && p.ExternalLocal && len(p.Endpoints) > 0:
			// Another node may serve it; a load balancer's check finds that out.
			b.add(Filter, externalServices, comment(p.ID()+" has no local endpoints")+to+"-j DROP")
		case outside == "":
			b.add(Filter, externalServices, comment(p.ID()+" has no endpoints")+to+"-j REJECT")
		default:
			b.add(NAT, services, comment(p.ID()+" external IP")+to+"-j "+outside)
		}
	}
	b.sources(p)
	b.nodePort(p, outside)
}

// sources keeps those out who may not come by a load balancer's address.
func (b *builder) sources(p *model.Port) {
	if len(p.SourceRanges) == 0 {
		return
	}
	name := hashed("KUBE-FW-", p.ID(), string(p.Protocol))
	for _, ip := range p.LoadBalancers {
		b.add(Filter, firewall, comment(p.ID()+" traffic not accepted by "+name)+match(p.Protocol, ip, p.Number)+"-j "+name)
	}
	if len(p.LoadBalancers) == 0 {
		return
	}
	for _, r := range p.SourceRanges {
		b.add(Filter, name, comment(p.ID()+" loadbalancer")+"-s "+r.String()+" -j RETURN")
	}
	b.add(Filter, name, comment("other traffic to "+p.ID()+" will be dropped")+"-j DROP")
}

func (b *builder) nodePort(p *model.Port, outside string) {
	if p.NodePort == 0 {
		return
	}
	to := fmt.Sprintf("-m %[1]s -p %[1]s --dport %[2]d ", lower(p.Protocol), p.NodePort)
	switch {
	case outside == "" && p.ExternalLocal && len(p.Endpoints) > 0:
		b.add(Filter, externalServices, comment(p.ID()+" has no local endpoints")+"-m addrtype --dst-type LOCAL "+to+"-j DROP")
	case outside == "":
		b.add(Filter, externalServices, comment(p.ID()+" has no endpoints")+"-m addrtype --dst-type LOCAL "+to+"-j REJECT")
	default:
		b.add(NAT, nodePorts, comment(p.ID())+to+"-j "+outside)
	}
}

// chains writes the chains of one port and returns where traffic from inside
// and from outside enters; empty where nobody answers.
func (b *builder) chains(p *model.Port) (internal, outside string) {
	all, local := "", ""
	needAll := !p.InternalLocal || p.Exposed()
	if len(p.Endpoints) > 0 && needAll {
		all = hashed("KUBE-SVC-", p.ID(), string(p.Protocol))
		b.balance(p, all, p.Endpoints)
	}
	if len(p.Local) > 0 && (p.InternalLocal || p.Exposed() && p.ExternalLocal) {
		local = hashed("KUBE-SVL-", p.ID(), string(p.Protocol))
		b.balance(p, local, p.Local)
	}
	internal = all
	if p.InternalLocal {
		internal = local
	}
	if p.Exposed() {
		outside = b.entrance(p, all, local)
	}
	return internal, outside
}

// entrance is the chain for traffic by node ports and external addresses.
func (b *builder) entrance(p *model.Port, all, local string) string {
	if len(p.FromOutside()) == 0 {
		return ""
	}
	name := hashed("KUBE-EXT-", p.ID(), string(p.Protocol))
	if !p.ExternalLocal {
		b.add(NAT, name, comment("masquerade traffic for "+p.ID()+" external destinations")+"-j "+markMasquerade)
		b.add(NAT, name, "-j "+all)
		return name
	}
	// Traffic from this cluster does not need its source kept, and may use
	// every endpoint.
	if b.cfg.PodNetwork.IsValid() {
		b.add(NAT, name, comment("pod traffic for "+p.ID()+" external destinations")+"-s "+b.cfg.PodNetwork.String()+" -j "+all)
	}
	b.add(NAT, name, comment("masquerade LOCAL traffic for "+p.ID()+" external destinations")+"-m addrtype --src-type LOCAL -j "+markMasquerade)
	b.add(NAT, name, comment("route LOCAL traffic for "+p.ID()+" external destinations")+"-m addrtype --src-type LOCAL -j "+all)
	b.add(NAT, name, "-j "+local)
	return name
}

// balance writes a chain that spreads over endpoints, and their own chains.
func (b *builder) balance(p *model.Port, chain string, endpoints []model.Endpoint) {
	b.chain(NAT, chain)
	to := match(p.Protocol, p.ClusterIP, p.Number)
	switch {
	case b.cfg.MasqueradeAll:
		b.add(NAT, chain, comment(p.ID()+" cluster IP")+to+"-j "+markMasquerade)
	case b.cfg.PodNetwork.IsValid():
		// What comes from elsewhere must come back by this node.
		b.add(NAT, chain, comment(p.ID()+" cluster IP")+"! -s "+b.cfg.PodNetwork.String()+" "+to+"-j "+markMasquerade)
	}
	if p.Affinity > 0 {
		for _, e := range endpoints {
			name := b.endpoint(p, e)
			b.add(NAT, chain, comment(p.ID()+" -> "+e.Addr.String())+
				fmt.Sprintf("-m recent --name %s --rcheck --seconds %d --reap -j %s", name, p.Affinity, name))
		}
	}
	for i, e := range endpoints {
		rule := comment(p.ID() + " -> " + e.Addr.String())
		if left := len(endpoints) - i; left > 1 {
			rule += fmt.Sprintf("-m statistic --mode random --probability %.10f ", 1/float64(left))
		}
		b.add(NAT, chain, rule+"-j "+b.endpoint(p, e))
	}
}

// endpoint writes an endpoint's chain, once, and returns its name.
func (b *builder) endpoint(p *model.Port, e model.Endpoint) string {
	name := hashed("KUBE-SEP-", p.ID(), string(p.Protocol), e.Addr.String())
	if _, there := b.rules[Chain{NAT, name}]; there {
		return name
	}
	// A pod that reaches itself by its Service must not see its own address.
	b.add(NAT, name, comment(p.ID())+"-s "+e.Addr.Addr().String()+"/32 -j "+markMasquerade)
	rule := comment(p.ID())
	if p.Affinity > 0 {
		rule += "-m recent --name " + name + " --set "
	}
	b.add(NAT, name, rule+fmt.Sprintf("-m %[1]s -p %[1]s -j DNAT --to-destination %s", lower(p.Protocol), e.Addr))
	return name
}

func match(protocol corev1.Protocol, ip netip.Addr, port int32) string {
	return fmt.Sprintf("-m %[1]s -p %[1]s -d %[2]s/32 --dport %[3]d ", lower(protocol), ip, port)
}

func lower(p corev1.Protocol) string { return strings.ToLower(string(p)) }

// hashed is upstream's way to a chain's name: iptables allows 28 characters.
func hashed(prefix string, parts ...string) string {
	id := strings.Join(parts, "")
	if len(parts) > 1 {
		id = parts[0] + strings.ToLower(parts[1]) + strings.Join(parts[2:], "")
	}
	sum := sha256.Sum256([]byte(id))
	return prefix + base32.StdEncoding.EncodeToString(sum[:])[:16]
}
