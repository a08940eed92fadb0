package servicecidrs

import (
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/controller-manager/internal/workbench"
)

func cidr(name string, cidrs ...string) *networkingv1.ServiceCIDR {
	return &networkingv1.ServiceCIDR{ObjectMeta: metav1.ObjectMeta{Name: name}, Spec: networkingv1.ServiceCIDRSpec{CIDRs: cidrs}}
}

func address(ip string) *networkingv1.IPAddress {
	return &networkingv1.IPAddress{ObjectMeta: metav1.ObjectMeta{Name: ip, Labels: map[string]string{networkingv1.LabelManagedBy: allocator}}}
}

func TestReady(t *testing.T) {
	b := workbench.New(t, cidr("a", "10.0.0.0/24"))
	b.Add(New(b.Deps()))
	b.Settle()
	a := workbench.Get[*networkingv1.ServiceCIDR](b, "", "a")
	if len(a.Finalizers) != 1 || a.Finalizers[0] != "networking.k8s.io/service-cidr-finalizer" {
		t.Errorf("finalizers %q", a.Finalizers)
	}
	if c := a.Status.Conditions; len(c) != 1 || c[0].Type != "Ready" || c[0].Status != metav1.ConditionTrue || c[0].Message != "Kubernetes Service CIDR is ready" {
		t.Errorf("conditions %+v", c)
	}
}

func TestDeletion(t *testing.T) {
	tests := []struct {
		name  string
		other []string
		ip    string
		stays bool
	}{
		{name: "unused"},
		{name: "used", ip: "10.0.0.5", stays: true},
		{name: "used elsewhere", ip: "10.0.1.5"},
		{name: "within another", ip: "10.0.0.5", other: []string{"10.0.0.0/16"}},
		{name: "another has the address", ip: "10.0.0.5", other: []string{"10.0.0.0/28"}},
		{name: "another has other addresses", ip: "10.0.0.77", other: []string{"10.0.0.0/28"}, stays: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			b := workbench.New(t, cidr("a", "10.0.0.0/24"))
			if test.ip != "" {
				b.API.Seed(address(test.ip))
			}
			if test.other != nil {
				b.API.Seed(cidr("b", test.other...))
			}
			b.Add(New(b.Deps()))
			b.Settle()
			workbench.Delete[*networkingv1.ServiceCIDR](b, "", "a")
			b.Advance(grace - time.Second)
			a, ok := workbench.Find[*networkingv1.ServiceCIDR](b, "", "a")
			if !ok {
				t.Fatal("gone while an API server may not know of it")
			}
			b.Advance(2 * time.Second)
			if _, ok = workbench.Find[*networkingv1.ServiceCIDR](b, "", "a"); ok != test.stays {
				t.Fatalf("is there: %v", ok)
			}
			if !test.stays {
				return
			}
			if c := a.Status.Conditions; len(c) != 1 || c[0].Status != metav1.ConditionFalse || c[0].Reason != "Terminating" {
				t.Errorf("conditions %+v", c)
			}
			workbench.Delete[*networkingv1.IPAddress](b, "", test.ip)
			b.Settle()
			if _, ok := workbench.Find[*networkingv1.ServiceCIDR](b, "", "a"); ok {
				t.Error("stays though its last address went")
			}
		})
	}
}
