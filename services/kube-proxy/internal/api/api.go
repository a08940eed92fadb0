// Package api answers proxy.proto: what this node does with traffic to Services.
package api

import (
	"context"
	"net/netip"
	"slices"
	"strings"

	"google.golang.org/protobuf/types/known/timestamppb"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"

	proxyv1 "coracle.local/proto/coracle/proxy/v1"
	"coracle.local/services/kube-proxy/internal/model"
	"coracle.local/services/kube-proxy/internal/proxy"
)

// Service implements ProxyService.
type Service struct {
	proxyv1.UnimplementedProxyServiceServer
	node  string
	proxy *proxy.Proxy
}

// New returns the service of a node's proxy.
func New(node string, p *proxy.Proxy) *Service { return &Service{node: node, proxy: p} }

// ListServices lists what is proxied.
func (s *Service) ListServices(_ context.Context, q *proxyv1.ListServicesRequest) (*proxyv1.ListServicesResponse, error) {
	m, _, synced, err := s.proxy.State()
	out := &proxyv1.ListServicesResponse{}
	if !synced.IsZero() {
		out.Synced = timestamppb.New(synced)
	}
	if err != nil {
		out.LastError = err.Error()
	}
	if m == nil {
		return out, nil
	}
	for i := range m.Ports {
		if q.GetNamespace() == "" || q.GetNamespace() == m.Ports[i].Namespace {
			out.Ports = append(out.Ports, s.port(&m.Ports[i]))
		}
	}
	return out, nil
}

// GetBackends finds the ports that a target names.
func (s *Service) GetBackends(_ context.Context, q *proxyv1.GetBackendsRequest) (*proxyv1.GetBackendsResponse, error) {
	m, r, _, _ := s.proxy.State()
	if m == nil {
		return nil, apierrors.NewServiceUnavailable("no rules are written yet")
	}
	wanted, err := target(q.GetTarget())
	if err != nil {
		return nil, err
	}
	out := &proxyv1.GetBackendsResponse{}
	for i := range m.Ports {
		if p := &m.Ports[i]; wanted(p) {
			out.Ports = append(out.Ports, s.port(p))
			out.Rules = append(out.Rules, r.About(p)...)
		}
	}
	if len(out.Ports) == 0 {
		return nil, apierrors.NewNotFound(corev1.Resource("services"), q.GetTarget())
	}
	return out, nil
}

// Resync writes all rules anew.
func (s *Service) Resync(ctx context.Context, _ *proxyv1.ResyncRequest) (*proxyv1.ResyncResponse, error) {
	n, err := s.proxy.Resync(ctx)
	if err != nil {
		return nil, err
	}
	return &proxyv1.ResyncResponse{Chains: int32(n)}, nil
}

// target reads an address with a port, or namespace/name.
func target(t string) (func(*model.Port) bool, error) {
	if at, err := netip.ParseAddrPort(t); err == nil {
		return func(p *model.Port) bool {
			if int32(at.Port()) == p.NodePort && at.Addr() != p.ClusterIP {
				return true
			}
			return int32(at.Port()) == p.Number && (at.Addr() == p.ClusterIP || slices.Contains(p.External, at.Addr()))
		}, nil
	}
	namespace, name, ok := strings.Cut(t, "/")
	if !ok || namespace == "" || name == "" {
		return nil, apierrors.NewBadRequest("target must be an address with a port, such as 10.96.0.10:53, or a Service, such as kube-system/kube-dns")
	}
	return func(p *model.Port) bool { return p.Namespace == namespace && p.Name == name }, nil
}

func (s *Service) port(p *model.Port) *proxyv1.ServicePort {
	out := &proxyv1.ServicePort{
		Namespace: p.Namespace, Name: p.Name, PortName: p.PortName, Protocol: string(p.Protocol),
		ClusterIp: p.ClusterIP.String(), Port: p.Number, NodePort: p.NodePort, AffinitySeconds: p.Affinity,
	}
	for _, ip := range p.External {
		out.ExternalIps = append(out.ExternalIps, ip.String())
	}
	for _, e := range p.Internal() {
		out.Backends = append(out.Backends, &proxyv1.Backend{
			Ip: e.Addr.Addr().String(), Port: int32(e.Addr.Port()), Node: e.Node, Local: e.Node == s.node, Terminating: e.Terminating,
		})
	}
	return out
}
