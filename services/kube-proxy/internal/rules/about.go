package rules

import (
	"slices"
	"strings"

	"coracle.local/services/kube-proxy/internal/model"
)

// About returns the rules that packets to a Service port meet, in
// iptables-save's form and in the order of the way they take.
func (r Rules) About(p *model.Port) []string {
	var out []string
	tag := `"` + p.ID()
	for _, table := range []string{Filter, NAT} {
		names := make([]string, 0, len(r))
		for c := range r {
			if c.Table == table {
				names = append(names, c.Name)
			}
		}
		slices.SortFunc(names, func(a, b string) int {
			if d := rank(a) - rank(b); d != 0 {
				return d
			}
			return strings.Compare(a, b)
		})
		for _, name := range names {
			for _, rule := range r[Chain{table, name}] {
				if mentions(rule, tag) {
					out = append(out, "-t "+table+" -A "+name+" "+rule)
				}
			}
		}
	}
	return out
}

// mentions tells whether a rule's comment is about the port, and not about one
// whose name only begins alike.
func mentions(rule, tag string) bool {
	_, rest, ok := strings.Cut(rule, tag)
	return ok && (rest[0] == '"' || rest[0] == ' ')
}

// rank orders chains by when a packet meets them.
func rank(chain string) int {
	for i, prefix := range []string{services, nodePorts, externalServices, firewall, "KUBE-FW-", "KUBE-EXT-", "KUBE-SVC-", "KUBE-SVL-", "KUBE-SEP-"} {
		if strings.HasPrefix(chain, prefix) {
			return i
		}
	}
	return 99
}
