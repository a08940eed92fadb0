package oracle

import (
	"context"
	"encoding/json"
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	typedv1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/utils/ptr"

	"coracle.local/cmd/coracle/cluster"
	apiserver "coracle.local/services/apiserver/app"
	"coracle.local/tests/fixture"
)

// TestServicesGetAddressesAlike asks both servers for Services with every
// combination of policy, families and addresses, in clusters of one family and
// of both, and changes Services into one another.
func TestServicesGetAddressesAlike(t *testing.T) {
	for _, networks := range []string{"10.96.0.0/16", "10.96.0.0/16,fd00:96::/112", "fd00:96::/112"} {
		t.Run(networks, func(t *testing.T) {
			c := fixture.Start(t, cluster.Config{Controllers: []string{"-*"}, APIServer: func(cfg *apiserver.Config) {
				cfg.ServiceCIDRs = nil
				for _, n := range strings.Split(networks, ",") {
					cfg.ServiceCIDRs = append(cfg.ServiceCIDRs, netip.MustParsePrefix(n))
				}
			}})
			questions := questionsAboutServices()
			ours := answers(t, c.Clients.CoreV1().Services("default"), questions)
			// One after the other, for upstream's repair would take what ours
			// does for a mistake.
			upstream, err := kubernetes.NewForConfig(startUpstream(t, c, "--service-cluster-ip-range="+networks))
			if err != nil {
				t.Fatal(err)
			}
			theirs := answers(t, upstream.CoreV1().Services("default"), questions)
			different := 0
			for i, q := range questions {
				if ours[i] == theirs[i] || strings.Contains(theirs[i], "INTERNAL_ERROR") { // upstream's server panicked
					continue
				}
				if different++; different <= 30 {
					t.Errorf("%s\nours   %s\ntheirs %s", q, ours[i], theirs[i])
				}
			}
			t.Logf("%d requests, %d differences", len(questions), different)
		})
	}
}

type variant struct {
	name string
	spec corev1.ServiceSpec
}

func variantsOfServices() []variant {
	var out []variant
	policies := map[string]*corev1.IPFamilyPolicy{
		"any": nil, "single": ptr.To(corev1.IPFamilyPolicySingleStack), "prefer": ptr.To(corev1.IPFamilyPolicyPreferDualStack), "require": ptr.To(corev1.IPFamilyPolicyRequireDualStack),
	}
	const four, six = corev1.IPv4Protocol, corev1.IPv6Protocol
	families := [][]corev1.IPFamily{nil, {four}, {six}, {four, six}, {six, four}, {four, four}}
	addresses := [][]string{nil, {"10.96.1.1"}, {"fd00:96::101"}, {"10.96.1.1", "fd00:96::101"}, {"fd00:96::101", "10.96.1.1"}, {"None"}, {"None", "10.96.1.1"}, {"192.168.0.1"}, {"10.96.0.0"}}
	for policy, p := range policies {
		for _, f := range families {
			for _, a := range addresses {
				for _, kind := range []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort, corev1.ServiceTypeExternalName} {
					for _, selects := range []bool{true, false} {
						if kind != corev1.ServiceTypeClusterIP && (len(f) > 1 || !selects) {
							continue // nothing new
						}
						spec := corev1.ServiceSpec{Type: kind, IPFamilyPolicy: p, IPFamilies: f, ClusterIPs: a, Ports: []corev1.ServicePort{{Port: 80}}}
						if len(a) > 0 {
							spec.ClusterIP = a[0]
						}
						if selects {
							spec.Selector = map[string]string{"a": "b"}
						}
						if kind == corev1.ServiceTypeExternalName {
							spec.ExternalName = "example.com"
						}
						out = append(out, variant{fmt.Sprintf("%s %v %v %s selector=%v", policy, f, a, kind, selects), spec})
					}
				}
			}
		}
	}
	slices.SortFunc(out, func(a, b variant) int { return strings.Compare(a.name, b.name) })
	return out
}

func bases() []variant {
	ports := []corev1.ServicePort{{Port: 80}}
	selector := map[string]string{"a": "b"}
	return []variant{
		{"ClusterIP", corev1.ServiceSpec{Ports: ports, Selector: selector}},
		{"headless", corev1.ServiceSpec{Ports: ports, Selector: selector, ClusterIP: "None"}},
		{"ExternalName", corev1.ServiceSpec{Type: corev1.ServiceTypeExternalName, ExternalName: "example.com"}},
		{"prefers both", corev1.ServiceSpec{Ports: ports, Selector: selector, IPFamilyPolicy: ptr.To(corev1.IPFamilyPolicyPreferDualStack)}},
		{"NodePort", corev1.ServiceSpec{Type: corev1.ServiceTypeNodePort, Ports: ports, Selector: selector}},
	}
}

// question is a Service to be created, or one to be changed into another.
type question struct{ from, to *variant }

func (q question) String() string {
	if q.from == nil {
		return "create " + q.to.name
	}
	return "update of " + q.from.name + " to " + q.to.name
}

func questionsAboutServices() []question {
	var out []question
	variants, olds := variantsOfServices(), bases()
	for i := range variants {
		out = append(out, question{to: &variants[i]})
	}
	for i := range olds {
		for j := range variants {
			if variants[j].spec.Type == corev1.ServiceTypeNodePort && olds[i].name != "NodePort" {
				continue // ports are no matter of families
			}
			out = append(out, question{&olds[i], &variants[j]})
		}
	}
	return out
}

func answers(t *testing.T, s typedv1.ServiceInterface, questions []question) []string {
	out := make([]string, len(questions))
	for i, q := range questions {
		out[i] = answer(t, s, q)
	}
	return out
}

func answer(t *testing.T, s typedv1.ServiceInterface, q question) string {
	ctx := context.Background()
	svc := &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: "s"}}
	svc.Spec = q.to.spec
	if q.from != nil {
		svc.Spec = q.from.spec
	}
	made, err := s.Create(ctx, svc, metav1.CreateOptions{})
	if q.from != nil {
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		made.Spec = q.to.spec
		made, err = s.Update(ctx, made, metav1.UpdateOptions{})
	}
	if gone := s.Delete(ctx, "s", metav1.DeleteOptions{}); gone != nil && !apierrors.IsNotFound(gone) {
		t.Fatal(gone)
	}
	if err != nil {
		return hide(err.Error())
	}
	b, err := json.Marshal(made.Spec)
	if err != nil {
		t.Fatal(err)
	}
	return hide(string(b))
}

var (
	chosenIP   = regexp.MustCompile(`10\.96\.\d+\.\d+|fd00:96::[0-9a-f]+`)
	chosenPort = regexp.MustCompile(`"nodePort":\d+`)
)

// hide takes out what a server chose.
func hide(text string) string {
	text = chosenIP.ReplaceAllStringFunc(text, func(ip string) string {
		switch ip {
		case "10.96.1.1", "fd00:96::101", "10.96.0.0":
			return ip
		}
		return "an address"
	})
	return chosenPort.ReplaceAllString(text, `"nodePort":"a port"`)
}
