package bootstrap

import (
	"fmt"
	"net/netip"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"coracle.local/libs/kinds"
)

const (
	serviceName = "kubernetes"
	servicePort = 443
	portName    = "https"
)

// Endpoint is an address of the API server.
type Endpoint struct {
	Address string // an IP address
	Port    int32
}

// ServiceAddress returns the address of the kubernetes Service, the first of
// the range.
func ServiceAddress(cidr string) (netip.Addr, error) {
	prefix, err := netip.ParsePrefix(cidr)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("service range: %w", err)
	}
	address := prefix.Masked().Addr().Next()
	if !prefix.Contains(address) {
		return netip.Addr{}, fmt.Errorf("service range %s has no address for the kubernetes Service", cidr)
	}
	return address, nil
}

// KubernetesService is the Service under which pods find the API server.
func KubernetesService(c Config) (*corev1.Service, error) {
	if len(c.ServiceCIDRs) == 0 {
		return nil, fmt.Errorf("no service range is set")
	}
	address, err := ServiceAddress(c.ServiceCIDRs[0])
	if err != nil {
		return nil, err
	}
	family, policy, internal := corev1.IPv4Protocol, corev1.IPFamilyPolicySingleStack, corev1.ServiceInternalTrafficPolicyCluster
	if address.Is6() {
		family = corev1.IPv6Protocol
	}
	return &corev1.Service{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: metav1.NamespaceDefault, Name: serviceName,
			Labels: map[string]string{"component": "apiserver", "provider": "kubernetes"},
		},
		Spec: corev1.ServiceSpec{
			Type:      corev1.ServiceTypeClusterIP,
			ClusterIP: address.String(), ClusterIPs: []string{address.String()},
			IPFamilies: []corev1.IPFamily{family}, IPFamilyPolicy: &policy,
			InternalTrafficPolicy: &internal, SessionAffinity: corev1.ServiceAffinityNone,
			Ports: []corev1.ServicePort{{
				Name: portName, Protocol: corev1.ProtocolTCP, Port: servicePort,
				TargetPort: intstr.FromInt32(c.Endpoint.Port),
			}},
		},
	}, nil
}

// EndpointObjects are the Endpoints and the EndpointSlice of the kubernetes
// Service.
func EndpointObjects(e Endpoint) []kinds.Object {
	name, port, protocol, ready := portName, e.Port, corev1.ProtocolTCP, true
	addressType := discoveryv1.AddressTypeIPv4
	if ip, err := netip.ParseAddr(e.Address); err == nil && ip.Is6() {
		addressType = discoveryv1.AddressTypeIPv6
	}
	meta := metav1.ObjectMeta{Namespace: metav1.NamespaceDefault, Name: serviceName}
	endpoints := &corev1.Endpoints{ObjectMeta: meta, Subsets: []corev1.EndpointSubset{{
		Addresses: []corev1.EndpointAddress{{IP: e.Address}},
		Ports:     []corev1.EndpointPort{{Name: name, Port: port, Protocol: protocol}},
	}}}
	// The slice beside it is ours too, not a mirror's work.
	endpoints.Labels = map[string]string{discoveryv1.LabelSkipMirror: "true"}
	slice := &discoveryv1.EndpointSlice{
		ObjectMeta: meta, AddressType: addressType,
		Endpoints: []discoveryv1.Endpoint{{
			Addresses:  []string{e.Address},
			Conditions: discoveryv1.EndpointConditions{Ready: &ready},
		}},
		Ports: []discoveryv1.EndpointPort{{Name: &name, Port: &port, Protocol: &protocol}},
	}
	slice.Labels = map[string]string{discoveryv1.LabelServiceName: serviceName}
	return []kinds.Object{endpoints, slice}
}
