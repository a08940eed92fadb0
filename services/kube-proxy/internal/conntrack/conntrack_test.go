package conntrack

import (
	"fmt"
	"net/netip"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/kube-proxy/internal/model"
)

func dns(protocol corev1.Protocol, endpoints ...string) *model.Model {
	p := model.Port{Protocol: protocol, ClusterIP: netip.MustParseAddr("10.96.0.10"), Number: 53, NodePort: 30053}
	for _, e := range endpoints {
		p.Endpoints = append(p.Endpoints, model.Endpoint{Addr: netip.MustParseAddrPort(e)})
	}
	return &model.Model{Ports: []model.Port{p}}
}

func TestWhatBecomesStale(t *testing.T) {
	const udp, tcp = corev1.ProtocolUDP, corev1.ProtocolTCP
	for name, c := range map[string]struct {
		before, after *model.Model
		want          string
	}{
		"an endpoint went":      {dns(udp, "10.0.0.1:53", "10.0.0.2:53"), dns(udp, "10.0.0.2:53"), "{[{10.96.0.10:53 10.0.0.1:53}] [] []}"},
		"the first one came":    {dns(udp), dns(udp, "10.0.0.1:53"), "{[] [10.96.0.10:53] [30053]}"},
		"a further one came":    {dns(udp, "10.0.0.1:53"), dns(udp, "10.0.0.1:53", "10.0.0.2:53"), "{[] [] []}"},
		"the Service went":      {dns(udp, "10.0.0.1:53"), &model.Model{}, "{[{10.96.0.10:53 10.0.0.1:53}] [] []}"},
		"TCP notices by itself": {dns(tcp, "10.0.0.1:53"), dns(tcp), "{[] [] []}"},
		"the first model":       {nil, dns(udp, "10.0.0.1:53"), "{[] [10.96.0.10:53] [30053]}"},
	} {
		if got := fmt.Sprint(Compare(c.before, c.after)); got != c.want {
			t.Errorf("%s: %s, want %s", name, got, c.want)
		}
	}
}
