package endpoints

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/endpointslice"
	endpointutil "k8s.io/endpointslice/util"
	utilnet "k8s.io/utils/net"

	"coracle.local/services/controller-manager/internal/pods"
)

// port is one port with the pods that serve it.
type port struct {
	corev1.EndpointPort
	// none stands for the port of a headless Service that names no ports.
	none     bool
	ready    []corev1.EndpointAddress
	notReady []corev1.EndpointAddress
}

// subsetsOf groups the pods behind a Service: ports that the same pods serve
// make one subset.
func subsetsOf(svc *corev1.Service, all []*corev1.Pod) []corev1.EndpointSubset {
	var ports []*port
	at := map[string]*port{}
	add := func(k string, p port, address corev1.EndpointAddress, ready bool) {
		if at[k] == nil {
			at[k] = &p
			ports = append(ports, &p)
		}
		if ready {
			at[k].ready = append(at[k].ready, address)
		} else {
			at[k].notReady = append(at[k].notReady, address)
		}
	}
	for _, p := range all {
		if !endpointutil.ShouldPodBeInEndpoints(p, svc.Spec.PublishNotReadyAddresses) {
			continue
		}
		address, ok := addressOf(svc, p)
		if !ok {
			continue
		}
		ready := svc.Spec.PublishNotReadyAddresses || pods.Ready(p)
		if len(svc.Spec.Ports) == 0 && svc.Spec.ClusterIP == corev1.ClusterIPNone {
			add("none", port{none: true}, address, ready)
		}
		for i := range svc.Spec.Ports {
			sp := &svc.Spec.Ports[i]
			n, err := endpointslice.FindPort(p, sp)
			if err != nil {
				continue // the pod has no port of that name
			}
			ep := corev1.EndpointPort{Name: sp.Name, Port: int32(n), Protocol: sp.Protocol, AppProtocol: sp.AppProtocol}
			add(portText(ep), port{EndpointPort: ep}, address, ready)
		}
	}
	return group(ports)
}

func group(ports []*port) []corev1.EndpointSubset {
	out := []corev1.EndpointSubset{}
	at := map[string]int{}
	for _, p := range ports {
		slices.SortFunc(p.ready, byAddress)
		slices.SortFunc(p.notReady, byAddress)
		s := corev1.EndpointSubset{Addresses: p.ready, NotReadyAddresses: p.notReady}
		k := fmt.Sprint(len(p.ready)) + subsetText(s)
		i, ok := at[k]
		if !ok {
			i = len(out)
			at[k] = i
			out = append(out, s)
		}
		if !p.none {
			out[i].Ports = append(out[i].Ports, p.EndpointPort)
		}
	}
	sortSubsets(out)
	return out
}

// addressOf is a pod's address in the Service's first IP family.
func addressOf(svc *corev1.Service, p *corev1.Pod) (corev1.EndpointAddress, bool) {
	six := utilnet.IsIPv6String(p.Status.PodIP)
	switch {
	case len(svc.Spec.IPFamilies) > 0:
		six = svc.Spec.IPFamilies[0] == corev1.IPv6Protocol
	case svc.Spec.ClusterIP != "" && svc.Spec.ClusterIP != corev1.ClusterIPNone:
		six = utilnet.IsIPv6String(svc.Spec.ClusterIP)
	}
	for _, ip := range p.Status.PodIPs {
		parsed := utilnet.ParseIPSloppy(ip.IP)
		if parsed == nil || utilnet.IsIPv6(parsed) != six {
			continue
		}
		node := p.Spec.NodeName
		a := corev1.EndpointAddress{
			IP: parsed.String(), NodeName: &node,
			TargetRef: &corev1.ObjectReference{Kind: "Pod", Namespace: p.Namespace, Name: p.Name, UID: p.UID},
		}
		if endpointutil.ShouldSetHostname(p, svc) {
			a.Hostname = p.Spec.Hostname
		}
		return a, true
	}
	return corev1.EndpointAddress{}, false
}

// sameSubsets compares as they mean, not as they are ordered: what upstream
// wrote is left alone if it says the same.
func sameSubsets(a, b []corev1.EndpointSubset) bool {
	if len(a) != len(b) {
		return false
	}
	return subsetEquality.DeepEqual(canonical(a), canonical(b))
}

var subsetEquality = conversion.EqualitiesOrDie(func(a, b corev1.ObjectReference) bool {
	a.ResourceVersion, b.ResourceVersion = "", ""
	return a == b
})

func canonical(subsets []corev1.EndpointSubset) []corev1.EndpointSubset {
	out := make([]corev1.EndpointSubset, 0, len(subsets))
	for _, s := range subsets {
		out = append(out, *s.DeepCopy())
	}
	sortSubsets(out)
	return out
}

// sortSubsets brings subsets, and what is in them, into the order of their text.
func sortSubsets(subsets []corev1.EndpointSubset) {
	for _, s := range subsets {
		slices.SortFunc(s.Addresses, byAddress)
		slices.SortFunc(s.NotReadyAddresses, byAddress)
		slices.SortFunc(s.Ports, func(a, b corev1.EndpointPort) int { return cmp.Compare(portText(a), portText(b)) })
	}
	slices.SortFunc(subsets, func(a, b corev1.EndpointSubset) int { return cmp.Compare(subsetText(a), subsetText(b)) })
}

func byAddress(a, b corev1.EndpointAddress) int { return cmp.Compare(addressText(a), addressText(b)) }

func addressText(a corev1.EndpointAddress) string {
	if a.TargetRef == nil {
		return a.IP
	}
	return a.IP + "/" + string(a.TargetRef.UID)
}

func portText(p corev1.EndpointPort) string {
	return fmt.Sprintf("%s/%d/%s", p.Name, p.Port, p.Protocol)
}

func subsetText(s corev1.EndpointSubset) string {
	var b strings.Builder
	for _, p := range s.Ports {
		b.WriteString(portText(p) + ",")
	}
	for _, a := range append(slices.Clone(s.Addresses), s.NotReadyAddresses...) {
		b.WriteString(addressText(a) + ",")
	}
	return b.String()
}
