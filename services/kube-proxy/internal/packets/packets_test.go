package packets

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"syscall"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/kube-proxy/internal/model"
	"coracle.local/services/kube-proxy/internal/rules"
)

const (
	podA    = "10.244.1.2"
	podB    = "10.244.1.3"
	outside = "192.168.50.2"
	nodeIP  = "192.168.50.1"
	virtual = "10.96.0.20"
)

func endpoints(ips ...string) (out []model.Endpoint) {
	for _, ip := range ips {
		out = append(out, model.Endpoint{Addr: netip.MustParseAddrPort(ip + ":8080"), Node: "node"})
	}
	return out
}

// web is a Service with a node port on pods of this node.
func web(ips ...string) model.Port {
	return model.Port{
		Namespace: "default", Name: "web", Protocol: corev1.ProtocolTCP, ClusterIP: netip.MustParseAddr(virtual),
		Number: 80, NodePort: 30080, Endpoints: endpoints(ips...), Local: endpoints(ips...),
	}
}

func (n *network) apply(ports ...model.Port) int {
	n.t.Helper()
	cfg := rules.Config{PodNetwork: netip.MustParsePrefix("10.244.0.0/16")}
	chains, err := n.tables.Apply(context.Background(), rules.Build(cfg, &model.Model{Ports: ports}))
	must(n.t, err)
	return chains
}

func start(t *testing.T) *network {
	n := newNetwork(t, podA, podB, outside)
	n.serve(podA, 8080)
	n.serve(podB, 8080)
	return n
}

// answers counts who answers several calls.
func (n *network) answers(from, to string, calls int) map[string]int {
	n.t.Helper()
	out := map[string]int{}
	for range calls {
		who, _, err := n.call(from, to)
		must(n.t, err)
		out[who]++
	}
	return out
}

func TestClusterIPReachesEveryEndpoint(t *testing.T) {
	n := start(t)
	n.apply(web(podA, podB))
	got := n.answers(podA, virtual+":80", 40)
	if got[podA] == 0 || got[podB] == 0 {
		t.Errorf("answers: %v", got)
	}
	if got := n.answers("node", virtual+":80", 20); got[podA]+got[podB] != 20 {
		t.Errorf("from the node: %v", got)
	}
}

func TestPodThatReachesItselfByItsService(t *testing.T) {
	n := start(t)
	n.apply(web(podA))
	if who, seen, err := n.call(podA, virtual+":80"); err != nil || who != podA || seen == podA {
		t.Errorf("%s answered, saw %s: %v", who, seen, err)
	}
}

func TestPodIsSeenByItsOwnAddress(t *testing.T) {
	n := start(t)
	n.apply(web(podB))
	if _, seen, err := n.call(podA, virtual+":80"); err != nil || seen != podA {
		t.Errorf("seen as %s: %v", seen, err)
	}
}

func TestNoEndpointIsRefusedAtOnce(t *testing.T) {
	n := start(t)
	n.apply(web())
	for _, to := range []string{virtual + ":80", nodeIP + ":30080"} {
		if _, _, err := n.call(podA, to); !errors.Is(err, syscall.ECONNREFUSED) {
			t.Errorf("%s: %v", to, err)
		}
	}
}

func TestNodePort(t *testing.T) {
	n := start(t)
	n.apply(web(podA, podB))
	who, seen, err := n.call(outside, nodeIP+":30080")
	if err != nil || (who != podA && who != podB) {
		t.Fatalf("%s answered: %v", who, err)
	}
	if seen == outside {
		t.Errorf("the client's address is kept, but its answer may come by another node")
	}

	local := web(podA)
	local.ExternalLocal = true
	n.apply(local)
	if _, seen, err := n.call(outside, nodeIP+":30080"); err != nil || seen != outside {
		t.Errorf("with externalTrafficPolicy Local the client is seen as %s: %v", seen, err)
	}
	elsewhere := web(podA)
	elsewhere.ExternalLocal, elsewhere.Local = true, nil
	n.apply(elsewhere)
	if _, _, err := n.call(outside, nodeIP+":30080"); err == nil {
		t.Error("with externalTrafficPolicy Local and no local endpoint there is an answer")
	}
	if _, _, err := n.call(podA, virtual+":80"); err != nil {
		t.Errorf("the cluster address still answers within the cluster: %v", err)
	}
}

func TestExternalIP(t *testing.T) {
	n := start(t)
	p := web(podB)
	p.External = []netip.Addr{netip.MustParseAddr("203.0.113.9")}
	n.apply(p)
	if who, _, err := n.call(outside, "203.0.113.9:80"); err != nil || who != podB {
		t.Errorf("%s answered: %v", who, err)
	}
}

func TestClientIPAffinity(t *testing.T) {
	n := start(t)
	p := web(podA, podB)
	p.Affinity = 60
	n.apply(p)
	if got := n.answers(podA, virtual+":80", 20); len(got) != 1 {
		t.Errorf("one client is served by several: %v", got)
	}
}

func TestChangesAreWrittenAlone(t *testing.T) {
	n := start(t)
	other := web(podA)
	other.Name, other.ClusterIP, other.NodePort = "other", netip.MustParseAddr("10.96.0.21"), 30081
	all := n.apply(web(podA, podB), other)
	if again := n.apply(web(podA, podB), other); again != 0 {
		t.Errorf("nothing changed and %d chains are written", again)
	}
	// The port's chain changes, and the chain of the endpoint that went.
	if few := n.apply(web(podB), other); few > 3 || few >= all {
		t.Errorf("one endpoint went and %d of %d chains are written", few, all)
	}
	if got := n.answers(podA, virtual+":80", 20); got[podB] != 20 {
		t.Errorf("answers: %v", got)
	}
}

func TestRestartLeavesNothingOfBefore(t *testing.T) {
	n := start(t)
	n.apply(web(podA, podB))
	n.tables.Forget() // what a new process knows
	n.apply()
	if got := n.chains(); strings.Contains(got, "KUBE-SEP-") || strings.Contains(got, "KUBE-SVC-") {
		t.Errorf("chains of a Service that went are left:\n%s", got)
	}
	if count := strings.Count(n.chains(), `-j KUBE-SERVICES`); count != 2 {
		t.Errorf("the chain is entered %d times in nat", count)
	}
	if !n.tables.Intact(context.Background()) {
		t.Error("rules are not found intact")
	}
	must(t, n.tables.Clean(context.Background()))
	if got := n.chains(); strings.Contains(got, "KUBE-") {
		t.Errorf("left after cleaning:\n%s", got)
	}
	if n.tables.Intact(context.Background()) {
		t.Error("removed rules are found intact")
	}
}

func (n *network) chains() string {
	out, err := n.tables.Run(context.Background(), nil, "iptables", "-t", "nat", "-S")
	must(n.t, err)
	return string(out)
}
