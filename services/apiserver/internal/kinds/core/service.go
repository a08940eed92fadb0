package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"coracle.local/services/apiserver/internal/kinds/cells"
	"coracle.local/services/apiserver/internal/strategy"
)

// Service is the behaviour of core/v1 Service in a cluster of some address
// families. Addresses and ports are allocated by the registry, between the
// preparation and the validation.
func Service(f Families) strategy.Kind[*corev1.Service] {
	doc := corev1.ServiceSpec{}.SwaggerDoc()
	return strategy.Kind[*corev1.Service]{
		Default: defaultService,
		PrepareCreate: func(s *corev1.Service) {
			dropInternalTrafficPolicy(s)
			prepareService(s, f)
		},
		PrepareUpdate: func(s, old *corev1.Service) {
			dropInternalTrafficPolicy(s)
			prepareServiceUpdate(s, old, f)
		},
		ValidateCreate: validateServiceCreate,
		ValidateUpdate: validateServiceUpdate,
		NameRule:       apivalidation.NameIsDNSLabel,
		Status: &strategy.Sub[*corev1.Service]{
			PrepareUpdate:  func(s, old *corev1.Service) { s.Spec = old.Spec },
			ValidateUpdate: validateServiceStatus,
			Warnings:       serviceStatusWarnings,
		},
		Fields: func(s *corev1.Service) fields.Set {
			return fields.Set{"spec.clusterIP": s.Spec.ClusterIP, "spec.type": string(s.Spec.Type)}
		},
		Warnings:                 serviceWarnings,
		AllowCreateOnUpdate:      true,
		AllowUnconditionalUpdate: true,
		ResetFields:              map[string][]string{"": {"status"}, "status": {"spec"}},
		Columns: cells.Columns(
			cells.Name(),
			cells.Text("Type", doc["type"]),
			cells.Text("Cluster-IP", doc["clusterIP"]),
			cells.Text("External-IP", doc["externalIPs"]),
			cells.Text("Port(s)", doc["ports"]),
			cells.Age(),
			cells.Wide(cells.Text("Selector", doc["selector"])),
		),
		Cells: serviceCells,
	}
}

func defaultService(s *corev1.Service) {
	spec := &s.Spec
	setIfEmpty(&spec.SessionAffinity, corev1.ServiceAffinityNone)
	switch c := spec.SessionAffinityConfig; {
	case spec.SessionAffinity == corev1.ServiceAffinityNone:
		spec.SessionAffinityConfig = nil
	case spec.SessionAffinity == corev1.ServiceAffinityClientIP && (c == nil || c.ClientIP == nil || c.ClientIP.TimeoutSeconds == nil):
		spec.SessionAffinityConfig = &corev1.SessionAffinityConfig{
			ClientIP: &corev1.ClientIPConfig{TimeoutSeconds: ptr.To(corev1.DefaultClientIPServiceAffinitySeconds)},
		}
	}
	setIfEmpty(&spec.Type, corev1.ServiceTypeClusterIP)
	for i := range spec.Ports {
		port := &spec.Ports[i]
		setIfEmpty(&port.Protocol, corev1.ProtocolTCP)
		if port.TargetPort == intstr.FromInt32(0) || port.TargetPort == intstr.FromString("") {
			port.TargetPort = intstr.FromInt32(port.Port)
		}
	}
	if externallyAccessible(s) {
		setIfEmpty(&spec.ExternalTrafficPolicy, corev1.ServiceExternalTrafficPolicyCluster)
	}
	if spec.Type != corev1.ServiceTypeExternalName && spec.InternalTrafficPolicy == nil {
		spec.InternalTrafficPolicy = ptr.To(corev1.ServiceInternalTrafficPolicyCluster)
	}
	if spec.Type != corev1.ServiceTypeLoadBalancer {
		return
	}
	if spec.AllocateLoadBalancerNodePorts == nil {
		spec.AllocateLoadBalancerNodePorts = ptr.To(true)
	}
	for i := range s.Status.LoadBalancer.Ingress {
		if ingress := &s.Status.LoadBalancer.Ingress[i]; ingress.IP != "" && ingress.IPMode == nil {
			ingress.IPMode = ptr.To(corev1.LoadBalancerIPModeVIP)
		}
	}
}

// dropInternalTrafficPolicy leaves out what has no meaning for external names;
// upstream does so when it reads. Whoever set it is still noted to have.
func dropInternalTrafficPolicy(s *corev1.Service) {
	if s.Spec.Type == corev1.ServiceTypeExternalName {
		s.Spec.InternalTrafficPolicy = nil
	}
}

// externallyAccessible tells whether traffic from outside can reach a Service.
func externallyAccessible(s *corev1.Service) bool {
	return needsNodePort(s) || (s.Spec.Type == corev1.ServiceTypeClusterIP && len(s.Spec.ExternalIPs) > 0)
}

func needsClusterIP(s *corev1.Service) bool { return s.Spec.Type != corev1.ServiceTypeExternalName }

func needsNodePort(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeNodePort || s.Spec.Type == corev1.ServiceTypeLoadBalancer
}

// needsHealthCheck: only a load balancer that must find the nodes with
// endpoints asks for them.
func needsHealthCheck(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeLoadBalancer && s.Spec.ExternalTrafficPolicy == corev1.ServiceExternalTrafficPolicyLocal
}

func isHeadless(s *corev1.Service) bool {
	return len(s.Spec.ClusterIPs) == 1 && s.Spec.ClusterIPs[0] == corev1.ClusterIPNone
}

// prepareService makes the linked fields agree where the client wrote one of
// them, and chooses address families.
func prepareService(s *corev1.Service, f Families) {
	s.Status = corev1.ServiceStatus{}
	if s.Spec.ClusterIP != "" && len(s.Spec.ClusterIPs) == 0 {
		s.Spec.ClusterIPs = []string{s.Spec.ClusterIP}
	}
	f.choose(s, nil)
}

func prepareServiceUpdate(s, old *corev1.Service, f Families) {
	s.Status = *old.Status.DeepCopy()
	keepAllocated(s, old)
	alignClusterIPs(s, old)
	f.choose(s, old)
	dropForType(s, old)
}

// keepAllocated lets clients write a Service again as they wrote it first,
// without what the server added.
func keepAllocated(s, old *corev1.Service) {
	if needsClusterIP(old) && needsClusterIP(s) {
		setIfEmpty(&s.Spec.ClusterIP, old.Spec.ClusterIP)
		if len(s.Spec.ClusterIPs) == 0 {
			s.Spec.ClusterIPs = slices.Clone(old.Spec.ClusterIPs)
		}
	}
	if allocatesNodePorts(old) && allocatesNodePorts(s) {
		keepNodePorts(s.Spec.Ports, old.Spec.Ports)
	}
	if needsHealthCheck(old) && needsHealthCheck(s) && s.Spec.HealthCheckNodePort == 0 {
		s.Spec.HealthCheckNodePort = old.Spec.HealthCheckNodePort
	}
}

func allocatesNodePorts(s *corev1.Service) bool {
	return s.Spec.Type == corev1.ServiceTypeNodePort ||
		(s.Spec.Type == corev1.ServiceTypeLoadBalancer && (s.Spec.AllocateLoadBalancerNodePorts == nil || *s.Spec.AllocateLoadBalancerNodePorts))
}

// keepNodePorts recognizes ports by their names; a node port that the client
// gave to another one is not given twice.
func keepNodePorts(ports, old []corev1.ServicePort) {
	byName := map[string]int32{}
	for _, port := range old {
		byName[port.Name] = port.NodePort
	}
	used := map[int32]bool{}
	for _, port := range ports {
		used[port.NodePort] = port.NodePort != 0
	}
	for i := range ports {
		if port := &ports[i]; port.NodePort == 0 && !used[byName[port.Name]] {
			port.NodePort = byName[port.Name]
		}
	}
}

// alignClusterIPs does for clients that know the single address only what
// they would do to the list.
func alignClusterIPs(s, old *corev1.Service) {
	was, is := &old.Spec, &s.Spec
	if len(is.ClusterIPs) == 0 && is.ClusterIP == was.ClusterIP {
		is.ClusterIPs = slices.Clone(was.ClusterIPs)
	}
	if is.ClusterIP == was.ClusterIP || !slices.Equal(is.ClusterIPs, was.ClusterIPs) {
		return
	}
	if is.ClusterIP == "" {
		is.ClusterIPs = nil
		return
	}
	is.ClusterIPs = []string{is.ClusterIP}
}

// dropForType clears what the former type had and the new one has no use for,
// unless the client changed it too, which is an error then.
func dropForType(s, old *corev1.Service) {
	is, was := &s.Spec, &old.Spec
	if needsClusterIP(old) && !needsClusterIP(s) {
		if is.ClusterIP == was.ClusterIP && slices.Equal(is.ClusterIPs, was.ClusterIPs) {
			is.ClusterIP, is.ClusterIPs = "", nil
		}
		if slices.Equal(is.IPFamilies, was.IPFamilies) {
			is.IPFamilies = nil
		}
		if ptr.Equal(is.IPFamilyPolicy, was.IPFamilyPolicy) {
			is.IPFamilyPolicy = nil
		}
	}
	if needsNodePort(old) && !needsNodePort(s) && noNewNodePorts(is.Ports, was.Ports) {
		for i := range is.Ports {
			is.Ports[i].NodePort = 0
		}
	}
	if needsHealthCheck(old) && !needsHealthCheck(s) && is.HealthCheckNodePort == was.HealthCheckNodePort {
		is.HealthCheckNodePort = 0
	}
	if was.Type == corev1.ServiceTypeLoadBalancer && is.Type != corev1.ServiceTypeLoadBalancer {
		if ptr.Equal(is.AllocateLoadBalancerNodePorts, was.AllocateLoadBalancerNodePorts) {
			is.AllocateLoadBalancerNodePorts = nil
		}
		if ptr.Equal(is.LoadBalancerClass, was.LoadBalancerClass) {
			is.LoadBalancerClass = nil
		}
	}
	if externallyAccessible(old) && !externallyAccessible(s) && is.ExternalTrafficPolicy == was.ExternalTrafficPolicy {
		is.ExternalTrafficPolicy = ""
	}
	if is.Type != corev1.ServiceTypeLoadBalancer {
		s.Status.LoadBalancer = corev1.LoadBalancerStatus{}
	}
}

func noNewNodePorts(ports, old []corev1.ServicePort) bool {
	for _, port := range ports {
		known := slices.ContainsFunc(old, func(p corev1.ServicePort) bool { return p.NodePort == port.NodePort })
		if port.NodePort != 0 && !known {
			return false
		}
	}
	return true
}

func serviceCells(s *corev1.Service) []any {
	ip := "<none>"
	if len(s.Spec.ClusterIPs) > 0 {
		ip = s.Spec.ClusterIPs[0]
	}
	ports := make([]string, len(s.Spec.Ports))
	for i, port := range s.Spec.Ports {
		ports[i] = fmt.Sprintf("%d/%s", port.Port, port.Protocol)
		if port.NodePort > 0 {
			ports[i] = fmt.Sprintf("%d:%d/%s", port.Port, port.NodePort, port.Protocol)
		}
	}
	return []any{
		s.Name, string(s.Spec.Type), ip, externalIP(s), cells.Or(strings.Join(ports, ","), "<none>"), cells.AgeOf(s), cells.Labels(s.Spec.Selector),
	}
}

func externalIP(s *corev1.Service) string {
	external := strings.Join(s.Spec.ExternalIPs, ",")
	switch s.Spec.Type {
	case corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort:
		return cells.Or(external, "<none>")
	case corev1.ServiceTypeExternalName:
		return s.Spec.ExternalName
	case corev1.ServiceTypeLoadBalancer:
		var points []string
		for _, ingress := range s.Status.LoadBalancer.Ingress {
			if point := cells.Or(ingress.IP, ingress.Hostname); point != "" {
				points = append(points, point)
			}
		}
		balancer := cells.Sorted(points)
		if balancer != "" && external != "" {
			return balancer + "," + external
		}
		return cells.Or(balancer+external, "<pending>")
	}
	return "<unknown>"
}
