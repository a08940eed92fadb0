package quota

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

var (
	serviceCount = CountName(schema.GroupResource{Resource: "services"})
	serviceNames = []corev1.ResourceName{
		serviceCount, corev1.ResourceServices, corev1.ResourceServicesNodePorts, corev1.ResourceServicesLoadBalancers,
	}
)

// services is charged for node ports and load balancers too, which a change of
// type can add.
var services = &Evaluator{
	Resource: schema.GroupResource{Resource: "services"},
	Names:    func(hard []corev1.ResourceName, _ World) []corev1.ResourceName { return both(hard, serviceNames) },
	Charged:  func(c Change, _ World) bool { return c.Subresource == "" },
	Usage: func(o Object, _ World) corev1.ResourceList {
		s, ok := o.(*corev1.Service)
		if !ok {
			return nil
		}
		out := corev1.ResourceList{
			serviceCount: number(1), corev1.ResourceServices: number(1),
			corev1.ResourceServicesLoadBalancers: number(0), corev1.ResourceServicesNodePorts: number(nodePorts(s)),
		}
		if s.Spec.Type == corev1.ServiceTypeLoadBalancer {
			out[corev1.ResourceServicesLoadBalancers] = number(1)
		}
		return out
	},
}

// nodePorts is how many ports a Service will have: they are charged before they
// are allocated.
func nodePorts(s *corev1.Service) int {
	switch allocates := s.Spec.AllocateLoadBalancerNodePorts; {
	case s.Spec.Type == corev1.ServiceTypeLoadBalancer && allocates != nil && !*allocates:
		n := 0
		for _, p := range s.Spec.Ports {
			if p.NodePort != 0 {
				n++
			}
		}
		return n
	case s.Spec.Type == corev1.ServiceTypeLoadBalancer, s.Spec.Type == corev1.ServiceTypeNodePort:
		return len(s.Spec.Ports)
	}
	return 0
}
