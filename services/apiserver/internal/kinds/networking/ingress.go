package networking

import (
	"fmt"

	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/strategy"
)

// classAnnotation named the class before the spec had a field for it.
const classAnnotation = "kubernetes.io/ingress.class"

// shownHosts is how many hosts a table's cell has room for.
const shownHosts = 3

// Ingress is the behaviour of networking.k8s.io/v1 Ingress.
func Ingress() strategy.Kind[*networkingv1.Ingress] {
	return strategy.Kind[*networkingv1.Ingress]{
		PrepareCreate: func(i *networkingv1.Ingress) {
			i.Status = networkingv1.IngressStatus{}
			i.Generation = 1
		},
		PrepareUpdate: func(i, old *networkingv1.Ingress) {
			i.Status = old.Status
			strategy.Generation(i, old, !equality.Semantic.DeepEqual(i.Spec, old.Spec))
		},
		ValidateCreate: validateIngressCreate,
		ValidateUpdate: func(i, old *networkingv1.Ingress) field.ErrorList {
			return validateIngress(&i.Spec, ingressAllowancesOf(&old.Spec))
		},
		Status: &strategy.Sub[*networkingv1.Ingress]{
			PrepareUpdate:  func(i, old *networkingv1.Ingress) { i.Spec = old.Spec },
			ValidateUpdate: validateIngressStatus,
			Warnings: func(i, _ *networkingv1.Ingress) []string {
				var warnings []string
				for k, ingress := range i.Status.LoadBalancer.Ingress {
					if ingress.IP != "" {
						warnings = append(warnings, validation.GetWarningsForIP(field.NewPath("status", "loadBalancer", "ingress").Index(k), ingress.IP)...)
					}
				}
				return warnings
			},
		},
		Warnings: func(i, old *networkingv1.Ingress) []string {
			if _, annotated := i.Annotations[classAnnotation]; old == nil && annotated && i.Spec.IngressClassName == nil {
				return []string{fmt.Sprintf("annotation %q is deprecated, please use 'spec.ingressClassName' instead", classAnnotation)}
			}
			return nil
		},
		AllowUnconditionalUpdate: true,
		ResetFields:              map[string][]string{"": {"status"}, "status": {"spec"}},
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Class", "The name of the IngressClass resource that should be used for additional configuration"),
			cells.Text("Hosts", "Hosts that incoming requests are matched against before the ingress rule"),
			cells.Text("Address", "Address is a list containing ingress points for the load-balancer"),
			cells.Text("Ports", "Ports of TLS configurations that open"),
			cells.Age(),
		),
		Cells: func(i *networkingv1.Ingress) []any {
			ports := "80"
			if len(i.Spec.TLS) > 0 {
				ports = "80, 443"
			}
			return []any{i.Name, cells.Ptr(i.Spec.IngressClassName, "<none>"), hostsCell(i.Spec.Rules), addressCell(i), ports, cells.AgeOf(i)}
		},
	}
}

// hostsCell counts rules, not hosts, when it says how many more there are: so
// does upstream.
func hostsCell(rules []networkingv1.IngressRule) string {
	var hosts []string
	more := false
	for i := range rules {
		more = more || len(hosts) == shownHosts
		if !more && rules[i].Host != "" {
			hosts = append(hosts, rules[i].Host)
		}
	}
	if len(hosts) == 0 {
		return "*"
	}
	shown := cells.AtMost(shownHosts, hosts)
	if more {
		return fmt.Sprintf("%s + %d more...", shown, len(rules)-shownHosts)
	}
	return shown
}

func addressCell(i *networkingv1.Ingress) string {
	var addresses []string
	for _, ingress := range i.Status.LoadBalancer.Ingress {
		if address := cells.Or(ingress.IP, ingress.Hostname); address != "" {
			addresses = append(addresses, address)
		}
	}
	return cells.Sorted(addresses)
}
