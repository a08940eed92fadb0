// Package backend is the one way from this server to what runs in the cluster:
// to a port of a pod, and to one of the endpoints of a Service.
package backend

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strconv"
	"time"

	corev1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	kubeletv1 "coracle.local/proto/coracle/kubelet/v1"
)

// DefaultPort is a Service's port where nothing else is said.
const DefaultPort = 443

// dialTimeout bounds a connection to an address.
const dialTimeout = 30 * time.Second

// Kubelets reaches the kubelets of nodes.
type Kubelets interface {
	// Dial returns the API of a node's kubelet. The connection behind it is
	// shared and stays open.
	Dial(ctx context.Context, node string) (kubeletv1.KubeletServiceClient, error)
}

// Objects are what is known of the cluster. An absent object is NotFound.
type Objects interface {
	Pod(ctx context.Context, namespace, name string) (*corev1.Pod, error)
	Service(ctx context.Context, namespace, name string) (*corev1.Service, error)
	EndpointSlices(ctx context.Context, namespace, service string) ([]*discoveryv1.EndpointSlice, error)
}

// Backends finds and reaches backends. Objects must be set; without Kubelets no
// pod is reached. It holds no state and may be copied.
type Backends struct {
	Kubelets Kubelets
	Objects  Objects
}

// Place is where connections to a backend go. It is of the moment: ask anew for
// each connection.
type Place struct {
	// Host and Port are the address, for people and for Host headers.
	Host string
	Port int32
	// Pod is set if the address is a pod's, which is reached through its
	// kubelet: this server needs no route into the pods' network.
	Pod *corev1.Pod
}

// Address is host and port.
func (p *Place) Address() string { return net.JoinHostPort(p.Host, strconv.Itoa(int(p.Port))) }

// Service finds where a connection to a port of a Service goes: to a ready
// endpoint, chosen at random, or to the external name. Errors are for a client:
// NotFound if there is no such Service, ServiceUnavailable if it has no such
// port or no ready endpoint.
func (b Backends) Service(ctx context.Context, namespace, name string, port int32) (*Place, error) {
	service, err := b.Objects.Service(ctx, namespace, name)
	if err != nil {
		return nil, err
	}
	if service.Spec.Type == corev1.ServiceTypeExternalName {
		return &Place{Host: service.Spec.ExternalName, Port: port}, nil
	}
	portName, ok := PortName(service, port)
	if !ok {
		return nil, NoPort(name, int64(port))
	}
	return b.Endpoint(ctx, namespace, name, portName, AnyEndpoint)
}

// NoPort is the error of a Service without the port.
func NoPort(service string, port int64) error {
	return apierrors.NewServiceUnavailable(fmt.Sprintf("no service port %d found for service %q", port, service))
}

// PortName is the name of a Service's port, by which EndpointSlices know it.
func PortName(service *corev1.Service, port int32) (string, bool) {
	for _, p := range service.Spec.Ports {
		if p.Port == port {
			return p.Name, true
		}
	}
	return "", false
}

// Which says what endpoints count.
type Which int

// AnyEndpoint is for what the cluster's administrators have set up. PodsOnly
// leaves out the addresses that are no pod's: anybody who may write
// EndpointSlices can write them, and so use this server as a proxy to anywhere.
const (
	AnyEndpoint Which = iota
	PodsOnly
)

// Endpoint chooses a ready endpoint of a Service's named port, at random, in
// the Service's first address family if it has several.
func (b Backends) Endpoint(ctx context.Context, namespace, service, port string, which Which) (*Place, error) {
	all, err := b.Objects.EndpointSlices(ctx, namespace, service)
	if err != nil {
		return nil, err
	}
	for _, slice := range b.preferred(ctx, namespace, service, all) {
		for _, p := range slice.Ports {
			if p.Port == nil || p.Name == nil || *p.Name != port {
				continue
			}
			for _, e := range rand.Perm(len(slice.Endpoints)) {
				if place := b.place(ctx, namespace, &slice.Endpoints[e], *p.Port, which); place != nil {
					return place, nil
				}
			}
		}
	}
	return nil, apierrors.NewServiceUnavailable(fmt.Sprintf("no endpoints available for service %q", service))
}

// preferred shuffles the slices, those of the Service's first family first.
func (b Backends) preferred(ctx context.Context, namespace, service string, all []*discoveryv1.EndpointSlice) []*discoveryv1.EndpointSlice {
	if len(all) < 2 {
		return all
	}
	all = slices.Clone(all)
	rand.Shuffle(len(all), func(i, j int) { all[i], all[j] = all[j], all[i] })
	s, err := b.Objects.Service(ctx, namespace, service)
	if err != nil || len(s.Spec.IPFamilies) == 0 {
		return all
	}
	first := discoveryv1.AddressType(s.Spec.IPFamilies[0])
	slices.SortStableFunc(all, func(x, y *discoveryv1.EndpointSlice) int {
		switch {
		case x.AddressType == first && y.AddressType != first:
			return -1
		case x.AddressType != first && y.AddressType == first:
			return 1
		}
		return 0
	})
	return all
}

// place is where an endpoint is, nil if it does not count.
func (b Backends) place(ctx context.Context, namespace string, e *discoveryv1.Endpoint, port int32, which Which) *Place {
	if e.Conditions.Ready != nil && !*e.Conditions.Ready || len(e.Addresses) == 0 {
		return nil
	}
	place := &Place{Host: e.Addresses[0], Port: port}
	if place.Pod = b.podOf(ctx, namespace, e); place.Pod == nil && which == PodsOnly {
		return nil
	}
	return place
}

// podOf returns the pod that an endpoint is, nil if it is none.
func (b Backends) podOf(ctx context.Context, namespace string, e *discoveryv1.Endpoint) *corev1.Pod {
	if e.TargetRef == nil || e.TargetRef.Kind != "" && e.TargetRef.Kind != "Pod" || e.TargetRef.Namespace != namespace {
		return nil
	}
	pod, err := b.Objects.Pod(ctx, namespace, e.TargetRef.Name)
	if err != nil {
		return nil
	}
	for _, ip := range pod.Status.PodIPs {
		if ip.IP == e.Addresses[0] {
			return pod
		}
	}
	return nil
}

// Dial opens a connection to a place: through the kubelet of a pod on a node, to
// the address itself otherwise.
func (b Backends) Dial(ctx context.Context, p *Place) (net.Conn, error) {
	if p.Pod != nil && p.Pod.Spec.NodeName != "" {
		return b.DialPod(ctx, p.Pod, p.Port)
	}
	d := net.Dialer{Timeout: dialTimeout}
	return d.DialContext(ctx, "tcp", p.Address())
}

// ServiceDialer is a dialer, as http.Transport wants it, that connects to the
// Service whatever address it is asked for.
func (b Backends) ServiceDialer(namespace, name string, port int32) func(ctx context.Context, network, address string) (net.Conn, error) {
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		place, err := b.Service(ctx, namespace, name, port)
		if err != nil {
			return nil, err
		}
		return b.Dial(ctx, place)
	}
}
