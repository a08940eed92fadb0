package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"coracle.local/services/apiserver/internal/kinds/check"
)

const (
	onlyForLoadBalancer = "may only be used when `type` is 'LoadBalancer'"
	maxAffinitySeconds  = 86400
	topologyHints       = corev1.DeprecatedAnnotationTopologyAwareHints
)

func validateServiceCreate(s *corev1.Service) field.ErrorList { return validateService(s, nil) }

func validateServiceUpdate(s, old *corev1.Service) field.ErrorList {
	errs := validateClusterIPsUpdate(s, old)
	errs = append(errs, validateFamiliesUpdate(s, old)...)
	errs = append(errs, validateLoadBalancerClass(s, old)...)
	if needsHealthCheck(s) && needsHealthCheck(old) && s.Spec.HealthCheckNodePort != old.Spec.HealthCheckNodePort {
		errs = append(errs, field.Forbidden(specPath.Child("healthCheckNodePort"), "field is immutable"))
	}
	return append(errs, validateService(s, old)...)
}

func validateService(s, old *corev1.Service) field.ErrorList {
	spec := &s.Spec
	var errs field.ErrorList
	mode, hasMode := s.Annotations[corev1.AnnotationTopologyMode]
	if hints, hasHints := s.Annotations[topologyHints]; hasMode && hasHints && mode != hints {
		errs = append(errs, field.Invalid(metadataPath.Child("annotations").Key(corev1.AnnotationTopologyMode), mode,
			fmt.Sprintf("must match annotations[%s] when both are specified", topologyHints)))
	}
	if len(spec.Ports) == 0 && !isHeadless(s) && spec.Type != corev1.ServiceTypeExternalName {
		errs = append(errs, field.Required(specPath.Child("ports"), ""))
	}
	errs = append(errs, validateServiceType(s)...)
	errs = append(errs, validateServicePorts(specPath.Child("ports"), spec.Ports)...)
	if spec.Selector != nil {
		errs = append(errs, metavalidation.ValidateLabels(spec.Selector, specPath.Child("selector"))...)
	}
	errs = append(errs, validateSessionAffinity(spec)...)
	errs = append(errs, validateFamilyFields(s, old)...)
	errs = append(errs, validateExternalIPs(s, old)...)
	errs = append(errs, check.RequiredOneOf(specPath.Child("type"), spec.Type,
		corev1.ServiceTypeClusterIP, corev1.ServiceTypeExternalName, corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort)...)
	errs = append(errs, validateServicePortsUnique(specPath.Child("ports"), spec)...)
	errs = append(errs, validateSourceRanges(s, old)...)
	balanced := spec.Type == corev1.ServiceTypeLoadBalancer
	switch {
	case spec.AllocateLoadBalancerNodePorts != nil && !balanced:
		errs = append(errs, field.Forbidden(specPath.Child("allocateLoadBalancerNodePorts"), onlyForLoadBalancer))
	case spec.AllocateLoadBalancerNodePorts == nil && balanced:
		errs = append(errs, field.Required(field.NewPath("allocateLoadBalancerNodePorts"), ""))
	}
	errs = append(errs, validateLoadBalancerClass(s, nil)...)
	return append(errs, validateTrafficPolicies(s)...)
}

// validateServiceType has what only one type demands or refuses.
func validateServiceType(s *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	spec := &s.Spec
	switch spec.Type {
	case corev1.ServiceTypeLoadBalancer, corev1.ServiceTypeNodePort:
		if isHeadless(s) {
			errs = append(errs, field.Invalid(clusterIPsPath.Index(0), spec.ClusterIPs[0], fmt.Sprintf("may not be set to 'None' for %s services", spec.Type)))
		}
	case corev1.ServiceTypeExternalName:
		const refused = "may not be set for ExternalName services"
		if len(spec.ClusterIPs) > 0 {
			errs = append(errs, field.Forbidden(clusterIPsPath, refused))
		}
		if len(spec.IPFamilies) > 0 {
			errs = append(errs, field.Forbidden(familiesPath, refused))
		}
		if spec.IPFamilyPolicy != nil {
			errs = append(errs, field.Forbidden(policyPath, refused))
		}
		if cname := strings.TrimSuffix(spec.ExternalName, "."); cname != "" {
			errs = append(errs, check.DNSSubdomain(specPath.Child("externalName"), cname)...)
		} else {
			errs = append(errs, field.Required(specPath.Child("externalName"), ""))
		}
	}
	return errs
}

func validateServicePorts(p *field.Path, ports []corev1.ServicePort) field.ErrorList {
	var errs field.ErrorList
	names := sets.Set[string]{}
	for i := range ports {
		port, at := &ports[i], p.Index(i)
		switch {
		case port.Name != "":
			errs = append(errs, check.DNSLabel(at.Child("name"), port.Name)...)
			if names.Has(port.Name) {
				errs = append(errs, field.Duplicate(at.Child("name"), port.Name))
			}
			names.Insert(port.Name)
		case len(ports) > 1:
			errs = append(errs, field.Required(at.Child("name"), ""))
		}
		errs = append(errs, check.All(at.Child("port"), port.Port, validation.IsValidPortNum(int(port.Port)))...)
		errs = append(errs, check.RequiredOneOf(at.Child("protocol"), port.Protocol, protocols...)...)
		errs = append(errs, check.Port(at.Child("targetPort"), port.TargetPort)...)
		if port.AppProtocol != nil {
			errs = append(errs, check.QualifiedName(at.Child("appProtocol"), *port.AppProtocol)...)
		}
	}
	return errs
}

func validateServicePortsUnique(p *field.Path, spec *corev1.ServiceSpec) field.ErrorList {
	var errs field.ErrorList
	if spec.Type == corev1.ServiceTypeClusterIP {
		for i := range spec.Ports {
			if spec.Ports[i].NodePort != 0 {
				errs = append(errs, field.Forbidden(p.Index(i).Child("nodePort"), "may not be used when `type` is 'ClusterIP'"))
			}
		}
	}
	type key struct {
		protocol corev1.Protocol
		number   int32
	}
	seen := sets.Set[key]{}
	for i, port := range spec.Ports {
		k := key{port.Protocol, port.NodePort}
		if port.NodePort != 0 && seen.Has(k) {
			errs = append(errs, field.Duplicate(p.Index(i).Child("nodePort"), port.NodePort))
		}
		seen.Insert(k)
	}
	seen = sets.Set[key]{}
	for i, port := range spec.Ports {
		k := key{port.Protocol, port.Port}
		if seen.Has(k) {
			errs = append(errs, field.Duplicate(p.Index(i), check.Internal(corev1.ServicePort{Protocol: port.Protocol, Port: port.Port})))
		}
		seen.Insert(k)
	}
	return errs
}

func validateSessionAffinity(spec *corev1.ServiceSpec) field.ErrorList {
	errs := check.RequiredOneOf(specPath.Child("sessionAffinity"), spec.SessionAffinity, corev1.ServiceAffinityClientIP, corev1.ServiceAffinityNone)
	at := specPath.Child("sessionAffinityConfig")
	config := spec.SessionAffinityConfig
	if spec.SessionAffinity == corev1.ServiceAffinityNone && config != nil {
		errs = append(errs, field.Forbidden(at, fmt.Sprintf("must not be set when session affinity is %s", corev1.ServiceAffinityNone)))
	}
	if spec.SessionAffinity != corev1.ServiceAffinityClientIP {
		return errs
	}
	missing := fmt.Sprintf("when session affinity type is %s", corev1.ServiceAffinityClientIP)
	seconds := at.Child("clientIP", "timeoutSeconds")
	switch {
	case config == nil:
		errs = append(errs, field.Required(at, missing))
	case config.ClientIP == nil:
		errs = append(errs, field.Required(at.Child("clientIP"), missing))
	case config.ClientIP.TimeoutSeconds == nil:
		errs = append(errs, field.Required(seconds, missing))
	case *config.ClientIP.TimeoutSeconds <= 0 || *config.ClientIP.TimeoutSeconds > maxAffinitySeconds:
		errs = append(errs, field.Invalid(seconds, *config.ClientIP.TimeoutSeconds, fmt.Sprintf("must be greater than 0 and less than %d", maxAffinitySeconds)))
	}
	return errs
}

func validateExternalIPs(s, old *corev1.Service) field.ErrorList {
	var former []string
	if old != nil {
		former = old.Spec.ExternalIPs
	}
	var errs field.ErrorList
	for i, ip := range s.Spec.ExternalIPs {
		at := specPath.Child("externalIPs").Index(i)
		wrong := check.IP(at, ip, former...)
		if len(wrong) == 0 {
			wrong = ValidateEndpointIP(at, ip)
		}
		errs = append(errs, wrong...)
	}
	return errs
}

// validateSourceRanges reads the field or else the annotation that was there
// before it. Values may be padded: so they were in the annotation.
func validateSourceRanges(s, old *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	balanced := s.Spec.Type == corev1.ServiceTypeLoadBalancer
	if ranges := s.Spec.LoadBalancerSourceRanges; len(ranges) > 0 {
		at := specPath.Child("LoadBalancerSourceRanges")
		if !balanced {
			errs = append(errs, field.Forbidden(at, onlyForLoadBalancer))
		}
		var former []string
		if old != nil {
			for _, value := range old.Spec.LoadBalancerSourceRanges {
				former = append(former, strings.TrimSpace(value))
			}
		}
		for i, value := range ranges {
			errs = append(errs, check.CIDR(at.Index(i), strings.TrimSpace(value), former...)...)
		}
		return errs
	}
	value, set := s.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey]
	if !set {
		return nil
	}
	at := metadataPath.Child("annotations").Key(corev1.AnnotationLoadBalancerSourceRangesKey)
	if !balanced {
		errs = append(errs, field.Forbidden(at, onlyForLoadBalancer))
	}
	unchanged := old != nil && old.Annotations[corev1.AnnotationLoadBalancerSourceRangesKey] == value
	if unchanged || strings.TrimSpace(value) == "" {
		return errs
	}
	for cidr := range strings.SplitSeq(value, ",") {
		errs = append(errs, check.CIDR(at, strings.TrimSpace(cidr))...)
	}
	return errs
}

func validateLoadBalancerClass(s, old *corev1.Service) field.ErrorList {
	at, class := specPath.Child("loadBalancerClass"), s.Spec.LoadBalancerClass
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		if class == nil {
			return nil
		}
		return field.ErrorList{field.Forbidden(at, onlyForLoadBalancer)}
	}
	var errs field.ErrorList
	if old != nil && old.Spec.Type == corev1.ServiceTypeLoadBalancer {
		was := old.Spec.LoadBalancerClass
		if (class == nil) != (was == nil) || (class != nil && *class != *was) {
			errs = append(errs, field.Invalid(at, class, "may not change once set"))
		}
	}
	if class != nil {
		errs = append(errs, check.QualifiedName(at, *class)...)
	}
	return errs
}

func validateTrafficPolicies(s *corev1.Service) field.ErrorList {
	var errs field.ErrorList
	spec := &s.Spec
	at := specPath.Child("externalTrafficPolicy")
	switch {
	case externallyAccessible(s):
		errs = append(errs, check.RequiredOneOf(at, spec.ExternalTrafficPolicy,
			corev1.ServiceExternalTrafficPolicyCluster, corev1.ServiceExternalTrafficPolicyLocal)...)
	case spec.ExternalTrafficPolicy != "":
		errs = append(errs, field.Invalid(at, spec.ExternalTrafficPolicy, "may only be set for externally-accessible services"))
	}
	at = specPath.Child("healthCheckNodePort")
	switch needed := needsHealthCheck(s); {
	case !needed && spec.HealthCheckNodePort != 0:
		errs = append(errs, field.Invalid(at, spec.HealthCheckNodePort, "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'"))
	case needed && spec.HealthCheckNodePort == 0:
		errs = append(errs, field.Required(at, ""))
	case needed:
		errs = append(errs, check.All(at, spec.HealthCheckNodePort, validation.IsValidPortNum(int(spec.HealthCheckNodePort)))...)
	}
	at = specPath.Child("internalTrafficPolicy")
	if policy := spec.InternalTrafficPolicy; policy != nil {
		errs = append(errs, check.OneOf(at, *policy, corev1.ServiceInternalTrafficPolicyCluster, corev1.ServiceInternalTrafficPolicyLocal)...)
	} else if needsNodePort(s) || spec.Type == corev1.ServiceTypeClusterIP {
		errs = append(errs, field.Required(at, ""))
	}
	if distribution := spec.TrafficDistribution; distribution != nil {
		errs = append(errs, check.OneOf(specPath.Child("trafficDistribution"), *distribution,
			corev1.ServiceTrafficDistributionPreferClose, corev1.ServiceTrafficDistributionPreferSameZone, corev1.ServiceTrafficDistributionPreferSameNode)...)
	}
	return errs
}

func validateServiceStatus(s, old *corev1.Service) field.ErrorList {
	at := statusPath.Child("loadBalancer", "ingress")
	points := s.Status.LoadBalancer.Ingress
	if s.Spec.Type != corev1.ServiceTypeLoadBalancer {
		if len(points) == 0 {
			return nil
		}
		return field.ErrorList{field.Forbidden(at, "may only be used when `spec.type` is 'LoadBalancer'")}
	}
	var former []string
	for _, point := range old.Status.LoadBalancer.Ingress {
		if point.IP != "" {
			former = append(former, point.IP)
		}
	}
	var errs field.ErrorList
	for i := range points {
		errs = append(errs, validateIngressPoint(at.Index(i), &points[i], former)...)
	}
	return errs
}

func validateIngressPoint(p *field.Path, point *corev1.LoadBalancerIngress, former []string) field.ErrorList {
	var errs field.ErrorList
	if point.IP != "" {
		errs = append(errs, check.IP(p.Child("ip"), point.IP, former...)...)
	}
	switch mode := point.IPMode; {
	case mode == nil && point.IP != "":
		errs = append(errs, field.Required(p.Child("ipMode"), "must be specified when `ip` is set"))
	case mode != nil && point.IP == "":
		errs = append(errs, field.Forbidden(p.Child("ipMode"), "may not be specified when `ip` is not set"))
	case mode != nil:
		errs = append(errs, check.OneOf(p.Child("ipMode"), *mode, corev1.LoadBalancerIPModeProxy, corev1.LoadBalancerIPModeVIP)...)
	}
	if point.Hostname != "" {
		errs = append(errs, check.DNSSubdomain(p.Child("hostname"), point.Hostname)...)
		if netutils.ParseIPSloppy(point.Hostname) != nil {
			errs = append(errs, field.Invalid(p.Child("hostname"), point.Hostname, "must be a DNS name, not an IP address"))
		}
	}
	return errs
}
