package endpoints

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	endpointutil "k8s.io/endpointslice/util"
	utilnet "k8s.io/utils/net"

	"coracle.local/services/controller-manager/internal/plan"
)

// face is one slice to be: the addresses of one family that serve the same
// ports.
type face struct {
	family    discoveryv1.AddressType
	ports     []discoveryv1.EndpointPort
	endpoints []discoveryv1.Endpoint
}

func (f face) key() string { return faceKey(f.family, f.ports) }

func faceKey(family discoveryv1.AddressType, ports []discoveryv1.EndpointPort) string {
	return fmt.Sprintf("%s-%s", family, endpointutil.NewPortMapKey(ports))
}

// mirror compares the slices with the Endpoints, which may be none.
func mirror(s mirrorState, perSubset int) plan.Plan {
	var p plan.Plan
	if s.Endpoints == nil {
		for _, slice := range s.Slices {
			p.Add(plan.DeleteOf(slice))
		}
		return p
	}
	faces, events := facesOf(s.Endpoints, perSubset)
	have := map[string][]*discoveryv1.EndpointSlice{}
	for _, slice := range s.Slices {
		k := faceKey(slice.AddressType, slice.Ports)
		have[k] = append(have[k], slice)
	}
	var create, update []*discoveryv1.EndpointSlice
	var gone []*discoveryv1.EndpointSlice
	for _, f := range faces {
		old := have[f.key()]
		delete(have, f.key())
		switch {
		case len(f.endpoints) == 0:
			gone = append(gone, old...)
			continue
		case len(old) == 0:
			create = append(create, sliceOf(s.Endpoints, f, ""))
			continue
		}
		gone = append(gone, old[1:]...)
		if !reflects(old[0], s.Endpoints, f) {
			update = append(update, sliceOf(s.Endpoints, f, old[0].Name))
		}
	}
	for _, k := range slices.Sorted(maps.Keys(have)) {
		gone = append(gone, have[k]...)
	}
	create, update, gone = recycle(create, update, gone)
	for _, e := range events {
		p.Add(e)
	}
	if s.Endpoints.DeletionTimestamp == nil {
		for _, slice := range create {
			p.Add(plan.Create{Object: slice})
		}
	}
	for _, slice := range update {
		p.Add(plan.Update{Object: slice})
	}
	for _, slice := range gone {
		p.Add(plan.DeleteOf(slice))
	}
	return p
}

// facesOf is the slices that Endpoints should have, and what to tell of what
// is left out.
func facesOf(e *corev1.Endpoints, perSubset int) ([]face, []plan.Action) {
	var out []face
	invalid, skipped := 0, 0
	for _, subset := range repack(e.Subsets) {
		four, six := face{family: discoveryv1.AddressTypeIPv4, ports: portsOf(subset.Ports)}, face{family: discoveryv1.AddressTypeIPv6, ports: portsOf(subset.Ports)}
		added := 0
		for i, a := range append(slices.Clone(subset.Addresses), subset.NotReadyAddresses...) {
			if added >= perSubset {
				break
			}
			ip := utilnet.ParseIPSloppy(a.IP)
			if ip == nil {
				invalid++
				continue
			}
			ready := i < len(subset.Addresses)
			point := discoveryv1.Endpoint{
				Addresses: []string{ip.String()}, Conditions: discoveryv1.EndpointConditions{Ready: &ready}, TargetRef: a.TargetRef, NodeName: a.NodeName,
			}
			if a.Hostname != "" {
				point.Hostname = &a.Hostname
			}
			if utilnet.IsIPv6(ip) {
				six.endpoints = append(six.endpoints, point)
			} else {
				four.endpoints = append(four.endpoints, point)
			}
			added++
		}
		skipped += len(subset.Addresses) + len(subset.NotReadyAddresses) - added
		out = append(out, four, six)
	}
	var events []plan.Action
	if invalid > 0 {
		events = append(events, plan.Event{
			About: e, Type: corev1.EventTypeWarning, Reason: "InvalidIPAddress",
			Message: fmt.Sprintf("Skipped %d invalid IP addresses when mirroring to EndpointSlices", invalid),
		})
	}
	if skipped > invalid {
		events = append(events, plan.Event{
			About: e, Type: corev1.EventTypeWarning, Reason: "TooManyAddressesToMirror",
			Message: fmt.Sprintf("A max of %d addresses can be mirrored to EndpointSlices per Endpoints subset. %d addresses were skipped", perSubset, skipped),
		})
	}
	return out, events
}

func portsOf(ports []corev1.EndpointPort) []discoveryv1.EndpointPort {
	out := []discoveryv1.EndpointPort{}
	for _, p := range ports {
		out = append(out, discoveryv1.EndpointPort{Name: &p.Name, Port: &p.Port, Protocol: &p.Protocol, AppProtocol: p.AppProtocol})
	}
	return out
}

// repack groups what people wrote as the endpoints controller would: ports
// that the same addresses serve make one subset. An address that is not ready
// in one subset is not ready.
func repack(subsets []corev1.EndpointSubset) []corev1.EndpointSubset {
	var ports []*port
	at := map[string]*port{}
	for _, s := range subsets {
		all := s.Ports
		none := len(all) == 0
		if none {
			all = []corev1.EndpointPort{{Port: -1}}
		}
		for _, ep := range all {
			k := portText(ep)
			if ep.AppProtocol != nil {
				k += "/" + *ep.AppProtocol
			}
			if at[k] == nil {
				at[k] = &port{EndpointPort: ep, none: none}
				ports = append(ports, at[k])
			}
			for _, a := range s.Addresses {
				at[k].serve(a, true)
			}
			for _, a := range s.NotReadyAddresses {
				at[k].serve(a, false)
			}
		}
	}
	return group(ports)
}

// serve adds an address once.
func (p *port) serve(a corev1.EndpointAddress, ready bool) {
	is := func(b corev1.EndpointAddress) bool { return addressText(a) == addressText(b) }
	if slices.ContainsFunc(p.notReady, is) {
		return
	}
	if ready {
		if !slices.ContainsFunc(p.ready, is) {
			p.ready = append(p.ready, a)
		}
		return
	}
	p.ready = slices.DeleteFunc(p.ready, is)
	p.notReady = append(p.notReady, a)
}

func sliceOf(e *corev1.Endpoints, f face, name string) *discoveryv1.EndpointSlice {
	out := &discoveryv1.EndpointSlice{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: e.Namespace, Name: name, Labels: map[string]string{}, Annotations: annotationsOf(e),
			OwnerReferences: []metav1.OwnerReference{*metav1.NewControllerRef(e, corev1.SchemeGroupVersion.WithKind("Endpoints"))},
		},
		AddressType: f.family, Ports: f.ports, Endpoints: f.endpoints,
	}
	maps.Copy(out.Labels, e.Labels)
	out.Labels[discoveryv1.LabelServiceName], out.Labels[discoveryv1.LabelManagedBy] = e.Name, mirroredBy
	if name == "" {
		out.GenerateName = e.Name + "-"
		if len(apivalidation.NameIsDNSSubdomain(out.GenerateName, true)) > 0 {
			out.GenerateName = e.Name
		}
	}
	return out
}

// annotationsOf leaves out what is about the Endpoints alone.
func annotationsOf(e *corev1.Endpoints) map[string]string {
	out := map[string]string{}
	for k, v := range e.Annotations {
		if k != corev1.EndpointsLastChangeTriggerTime && k != corev1.LastAppliedConfigAnnotation {
			out[k] = v
		}
	}
	return out
}

// reflects tells whether a slice says what it should, in whatever order.
func reflects(s *discoveryv1.EndpointSlice, e *corev1.Endpoints, f face) bool {
	labels := maps.Clone(s.Labels)
	delete(labels, discoveryv1.LabelManagedBy)
	delete(labels, discoveryv1.LabelServiceName)
	for _, r := range s.OwnerReferences {
		if r.Kind == "Endpoints" && r.Name == e.Name && r.UID != e.UID {
			return false
		}
	}
	order := func(points []discoveryv1.Endpoint) []discoveryv1.Endpoint {
		points = slices.Clone(points)
		slices.SortFunc(points, func(a, b discoveryv1.Endpoint) int { return strings.Compare(pointText(a), pointText(b)) })
		return points
	}
	return apiequality.Semantic.DeepEqual(labels, e.Labels) && apiequality.Semantic.DeepEqual(s.Annotations, annotationsOf(e)) &&
		apiequality.Semantic.DeepEqual(order(s.Endpoints), order(f.endpoints))
}

func pointText(e discoveryv1.Endpoint) string {
	if e.TargetRef == nil {
		return strings.Join(e.Addresses, ",")
	}
	return strings.Join(e.Addresses, ",") + "/" + string(e.TargetRef.UID)
}

// recycle gives what is to be created the names of what is to go, where the
// families agree: an update costs less than both.
func recycle(create, update, gone []*discoveryv1.EndpointSlice) (c, u, g []*discoveryv1.EndpointSlice) {
	for _, slice := range create {
		i := slices.IndexFunc(gone, func(g *discoveryv1.EndpointSlice) bool { return g.AddressType == slice.AddressType })
		if i < 0 {
			c = append(c, slice)
			continue
		}
		slice.Name, slice.GenerateName = gone[i].Name, ""
		update = append(update, slice)
		gone = slices.Delete(slices.Clone(gone), i, i+1)
	}
	return c, update, gone
}
