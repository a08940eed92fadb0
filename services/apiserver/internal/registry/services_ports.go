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

// nodePorts takes node ports, and notes those that an update frees. A port is
// one Service's, whatever its protocol; the Service may use it for several
// protocols.
func (a *allocation) nodePorts() error {
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
		if err := a.healthCheckPort(); err != nil {
			return err
		}
	}
	if a.old != nil {
		has := nodePortsOf(a.svc)
		a.freed = slices.DeleteFunc(nodePortsOf(a.old), func(p int32) bool { return slices.Contains(has, p) })
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
				if err := a.freePort(i, &p.NodePort); err != nil {
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
	type use struct {
		protocol corev1.Protocol
		port     int32
	}
	used := map[use]bool{}
	for i := range a.svc.Spec.Ports {
		p := &a.svc.Spec.Ports[i]
		if p.NodePort == 0 && !needsNodePorts(a.svc) {
			continue
		}
		switch {
		case p.NodePort == 0:
			if err := a.freePort(i, &p.NodePort); err != nil {
				return err
			}
		case !had[p.NodePort] && !a.takes(p.NodePort):
			if err := a.reservePort(i, p.NodePort); err != nil {
				return err
			}
		}
		this := use{p.Protocol, p.NodePort}
		if used[this] {
			return internal(fmt.Sprintf("duplicate nodePort: %v", this))
		}
		used[this] = true
	}
	return nil
}

func (a *allocation) healthCheckPort() error {
	port := &a.svc.Spec.HealthCheckNodePort
	if *port == 0 {
		return a.freePort(healthCheck, port)
	}
	return a.reservePort(healthCheck, *port)
}

// reservePort takes a port that a client names.
func (a *allocation) reservePort(index int, port int32) error {
	t := takenPort{number: port, index: index}
	reason := ""
	switch s := a.services; {
	case !s.ports.Contains(int(port)) && a.dryRun:
		return nil // nothing is taken, so nobody asks what there is
	case !s.ports.Contains(int(port)):
		reason = "provided port is not in the valid range. The range of valid ports is " + s.ports.String()
	case a.takes(port) || s.nodePorts[port] != "":
		reason, a.scarce = portAllocated, true
	}
	if reason != "" {
		return a.refusePort(t, reason)
	}
	a.hold(t)
	return nil
}

// freePort takes any free port.
func (a *allocation) freePort(index int, into *int32) error {
	port, ok := a.pick(a.services.record)
	if !ok {
		a.scarce = true
		return a.refusePort(takenPort{index: index, chosen: true}, "range is full")
	}
	a.hold(takenPort{number: port, index: index, chosen: true})
	*into = port
	return nil
}

func (a *allocation) takes(port int32) bool {
	return slices.ContainsFunc(a.ports, func(t takenPort) bool { return t.number == port })
}

func (a *allocation) hold(t takenPort) {
	if !a.dryRun {
		a.services.nodePorts[t.number] = a.svc.UID
	}
	a.ports = append(a.ports, t)
}

func (a *allocation) refusePort(t takenPort, reason string) error {
	switch {
	case t.index == healthCheck && t.chosen:
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a HealthCheck NodePort 0: %s", reason))
	case t.index == healthCheck:
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate requested HealthCheck NodePort %v: %s", t.number, reason))
	case t.chosen:
		return apierrors.NewInternalError(fmt.Errorf("failed to allocate a nodePort: %s", reason))
	}
	return a.invalid(field.NewPath("spec", "ports").Index(t.index).Child("nodePort"), t.number, reason)
}

// pick finds a port that neither a Service nor the record has, if that is known.
// As long as there are others, the lower part of the range is left to those who
// name one.
func (a *allocation) pick(record *portRecord) (int32, bool) {
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
			if s.nodePorts[port] == "" && !a.takes(port) && (record == nil || !record.has(port)) {
				return port, true
			}
		}
	}
	return 0, false
}

// exchangePorts takes others for the ports that the record has given to
// somebody else. The record is as new as etcd's, or has none of them.
func (a *allocation) exchangePorts(record *portRecord) error {
	s := a.services
	s.mu.Lock()
	defer s.mu.Unlock()
	for i := range a.ports {
		t := &a.ports[i]
		if !record.has(t.number) {
			continue
		}
		giveBack(s.nodePorts, t.number, a.svc.UID)
		if !t.chosen {
			return a.refusePort(*t, portAllocated)
		}
		port, ok := a.pick(record)
		if !ok {
			return a.refusePort(*t, "range is full")
		}
		a.setPort(t.number, port)
		t.number, a.exchanged = port, true
		s.nodePorts[port] = a.svc.UID
	}
	return nil
}

// setPort exchanges a port, which the Service may have for several protocols.
func (a *allocation) setPort(from, to int32) {
	for i := range a.svc.Spec.Ports {
		if p := &a.svc.Spec.Ports[i]; p.NodePort == from {
			p.NodePort = to
		}
	}
	if a.svc.Spec.HealthCheckNodePort == from {
		a.svc.Spec.HealthCheckNodePort = to
	}
}
