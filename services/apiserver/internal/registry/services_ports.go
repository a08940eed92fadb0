package registry

import (
	"fmt"
	"math/rand/v2"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/validation/field"
)

const portAllocated = "provided port is already allocated"

func exposed(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeNodePort || svc.Spec.Type == corev1.ServiceTypeLoadBalancer
}

func needsNodePorts(svc *corev1.Service) bool {
	switch svc.Spec.Type {
	case corev1.ServiceTypeNodePort:
		return true
	case corev1.ServiceTypeLoadBalancer:
		return svc.Spec.AllocateLoadBalancerNodePorts == nil || *svc.Spec.AllocateLoadBalancerNodePorts
	}
	return false
}

func needsHealthCheckPort(svc *corev1.Service) bool {
	return svc.Spec.Type == corev1.ServiceTypeLoadBalancer && svc.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

// ports takes node ports. A port is one Service's, whatever its protocol; the
// Service may use it for several protocols.
func (a *allocation) ports() error {
	if exposed(a.svc) {
		take := a.newPorts
		if a.old != nil {
			take = a.changedPorts
		}
		if err := take(); err != nil {
			return err
		}
	}
	if needsHealthCheckPort(a.svc) && (a.old == nil || !needsHealthCheckPort(a.old)) {
		return a.healthCheckPort()
	}
	return nil
}

// newPorts gives ports of one number and different protocols one node port.
func (a *allocation) newPorts() error {
	list := a.svc.Spec.Ports
	given := map[int32]int32{}
	for i := range list {
		p := &list[i]
		if p.NodePort == 0 && !needsNodePorts(a.svc) {
			continue
		}
		switch before := given[p.Port]; {
		case before == 0:
			// One that the client names for any of them is for all.
			p.NodePort = named(list, p.Port)
			if p.NodePort == 0 {
				if err := a.freePort(&p.NodePort); err != nil {
					return err
				}
			} else if err := a.reservePort(i, p.NodePort); err != nil {
				return err
			}
			given[p.Port] = p.NodePort
		case p.NodePort == 0:
			p.NodePort = before
		case p.NodePort != before:
			if err := a.reservePort(i, p.NodePort); err != nil {
				return err
			}
		}
	}
	return nil
}

// named is the first node port that a client names for a port; 0 if it leaves
// that to the server.
func named(ports []corev1.ServicePort, port int32) int32 {
	i := slices.IndexFunc(ports, func(p corev1.ServicePort) bool { return p.Port == port && p.NodePort != 0 })
	if i < 0 {
		return 0
	}
	return ports[i].NodePort
}

// changedPorts takes what a Service does not have yet.
func (a *allocation) changedPorts() error {
	had := map[int32]bool{}
	for _, p := range a.old.Spec.Ports {
		had[p.NodePort] = true
	}
	for i := range a.svc.Spec.Ports {
		p := &a.svc.Spec.Ports[i]
		switch {
		case p.NodePort == 0 && needsNodePorts(a.svc):
			if err := a.freePort(&p.NodePort); err != nil {
				return err
			}
		case p.NodePort != 0 && !had[p.NodePort] && !slices.Contains(a.numbers, p.NodePort):
			if err := a.reservePort(i, p.NodePort); err != nil {
				return err
			}
		}
	}
	return nil
}

func (a *allocation) healthCheckPort() error {
	spec := &a.svc.Spec
	if spec.HealthCheckNodePort == 0 {
		if reason := a.pick(&spec.HealthCheckNodePort); reason != "" {
			return apierrors.NewInternalError(fmt.Errorf("failed to allocate a HealthCheck NodePort 0: %s", reason))
		}
		return nil
	}
	if reason := a.take(spec.HealthCheckNodePort); reason != "" {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate requested HealthCheck NodePort %v: %s", spec.HealthCheckNodePort, reason))
	}
	return nil
}

func (a *allocation) reservePort(index int, port int32) error {
	if reason := a.take(port); reason != "" {
		return a.invalid(field.NewPath("spec", "ports").Index(index).Child("nodePort"), port, reason)
	}
	return nil
}

func (a *allocation) freePort(into *int32) error {
	if reason := a.pick(into); reason != "" {
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %s", reason))
	}
	return nil
}

// take takes a port that a client names.
func (a *allocation) take(port int32) (refusal string) {
	s := a.services
	if a.dryRun && !s.ports.Contains(int(port)) {
		return "" // nothing is taken, so nobody asks what there is
	}
	if !s.ports.Contains(int(port)) {
		return "provided port is not in the valid range. The range of valid ports is " + s.ports.String()
	}
	if _, taken := s.nodePorts[port]; taken {
		return portAllocated
	}
	s.nodePorts[port] = a.svc.UID
	a.numbers = append(a.numbers, port)
	return ""
}

// pick takes any free port; the lower part of the range is left to those who
// name one, as long as there are others.
func (a *allocation) pick(into *int32) (refusal string) {
	s := a.services
	low := 0
	if s.ports.Size > 16 {
		low = min(max(s.ports.Size/32, 16), 128)
	}
	for _, part := range [][2]int{{low, s.ports.Size}, {0, low}} {
		size := part[1] - part[0]
		if size <= 0 {
			continue
		}
		start := rand.IntN(size)
		for n := range size {
			port := int32(s.ports.Base + part[0] + (start+n)%size)
			if a.take(port) == "" {
				*into = port
				return ""
			}
		}
	}
	return "range is full"
}
