package networking

import (
	"reflect"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/kinds/check"
	"coracle.local/services/apiserver/internal/strategy"
)

var specPath = field.NewPath("spec")

// NetworkPolicy is the behaviour of networking.k8s.io/v1 NetworkPolicy.
func NetworkPolicy() strategy.Kind[*networkingv1.NetworkPolicy] {
	return strategy.Kind[*networkingv1.NetworkPolicy]{
		Default:       defaultPolicy,
		PrepareCreate: func(n *networkingv1.NetworkPolicy) { n.Generation = 1 },
		PrepareUpdate: func(n, old *networkingv1.NetworkPolicy) {
			strategy.Generation(n, old, !reflect.DeepEqual(n.Spec, old.Spec)) // an empty list is not none
		},
		ValidateCreate: func(n *networkingv1.NetworkPolicy) field.ErrorList {
			return validatePolicy(&n.Spec, policyAllowances{})
		},
		ValidateUpdate: func(n, old *networkingv1.NetworkPolicy) field.ErrorList {
			return validatePolicy(&n.Spec, policyAllowances{
				selectorValues: len(check.Selector(nil, &old.Spec.PodSelector, false)) > 0,
				blocks:         blocksOf(&old.Spec),
			})
		},
		Warnings:                 policyWarnings,
		AllowUnconditionalUpdate: true,
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Pod-Selector", networkingv1.NetworkPolicySpec{}.SwaggerDoc()["podSelector"]),
			cells.Age(),
		),
		Cells: func(n *networkingv1.NetworkPolicy) []any {
			return []any{n.Name, metav1.FormatLabelSelector(&n.Spec.PodSelector), cells.AgeOf(n)}
		},
	}
}

// defaultPolicy takes a policy that does not say otherwise for one of incoming
// traffic, and of outgoing traffic if it has rules for it.
func defaultPolicy(n *networkingv1.NetworkPolicy) {
	for _, r := range rulesOf(&n.Spec) {
		for i := range r.ports {
			if r.ports[i].Protocol == nil {
				r.ports[i].Protocol = ptr.To(corev1.ProtocolTCP)
			}
		}
	}
	if len(n.Spec.PolicyTypes) > 0 {
		return
	}
	n.Spec.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
	if len(n.Spec.Egress) > 0 {
		n.Spec.PolicyTypes = append(n.Spec.PolicyTypes, networkingv1.PolicyTypeEgress)
	}
}

// policyRule is a rule of either direction.
type policyRule struct {
	path, peersPath *field.Path
	ports           []networkingv1.NetworkPolicyPort
	peers           []networkingv1.NetworkPolicyPeer
}

func rulesOf(spec *networkingv1.NetworkPolicySpec) []policyRule {
	var rules []policyRule
	for i := range spec.Ingress {
		p := specPath.Child("ingress").Index(i)
		rules = append(rules, policyRule{p, p.Child("from"), spec.Ingress[i].Ports, spec.Ingress[i].From})
	}
	for i := range spec.Egress {
		p := specPath.Child("egress").Index(i)
		rules = append(rules, policyRule{p, p.Child("to"), spec.Egress[i].Ports, spec.Egress[i].To})
	}
	return rules
}

// policyAllowances are what an update is forgiven because the stored policy
// has it. Rules have no names to tell which of them are new, so an address
// block may appear anywhere if it appeared somewhere before.
type policyAllowances struct {
	selectorValues bool
	blocks         []string
}

func blocksOf(spec *networkingv1.NetworkPolicySpec) []string {
	var blocks []string
	for _, r := range rulesOf(spec) {
		for i := range r.peers {
			if block := r.peers[i].IPBlock; block != nil {
				blocks = append(append(blocks, block.CIDR), block.Except...)
			}
		}
	}
	return blocks
}

func policyWarnings(n, _ *networkingv1.NetworkPolicy) []string {
	var warnings []string
	for _, r := range rulesOf(&n.Spec) {
		for i := range r.peers {
			block := r.peers[i].IPBlock
			if block == nil {
				continue
			}
			p := r.peersPath.Index(i).Child("ipBlock")
			warnings = append(warnings, validation.GetWarningsForCIDR(p.Child("cidr"), block.CIDR)...)
			for k, except := range block.Except {
				warnings = append(warnings, validation.GetWarningsForCIDR(p.Child("except").Index(k), except)...)
			}
		}
	}
	return warnings
}
