package core

import (
	"fmt"
	"math"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	metavalidation "k8s.io/apimachinery/pkg/apis/meta/v1/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
)

// Limits that come from the C library's resolver.
const (
	maxNameservers    = 3
	maxSearchPaths    = 32
	maxSearchPathsLen = 2048
	maxHostnameLen    = 64
)

// validatePodSpec checks a pod's spec or a template's; meta is nil in a
// template, where the pod's name is not known yet.
func validatePodSpec(p *field.Path, spec *corev1.PodSpec, meta *metav1.ObjectMeta, allow Allowances) field.ErrorList {
	var errs field.ErrorList
	if spec.TerminationGracePeriodSeconds == nil {
		errs = append(errs, field.Required(p.Child("terminationGracePeriodSeconds"), ""))
	}
	volumes, wrong := validateVolumes(p.Child("volumes"), spec.Volumes, meta, allow)
	errs = append(errs, wrong...)
	c := &podContext{spec: spec, volumes: volumes, claims: claimNames(spec.ResourceClaims), allow: allow}
	errs = append(errs, validatePodClaims(p.Child("resourceClaims"), meta, spec.ResourceClaims)...)
	errs = append(errs, c.validateContainers(p.Child("containers"))...)
	errs = append(errs, c.validateInitContainers(p.Child("initContainers"))...)
	errs = append(errs, c.validateEphemeralContainers(p.Child("ephemeralContainers"))...)
	errs = append(errs, validatePodResources(p, spec, c.claims, allow)...)
	errs = append(errs, validateHostNetworkPorts(p.Child("containers"), spec, allow)...)
	errs = append(errs, check.RequiredOneOf(p.Child("restartPolicy"), spec.RestartPolicy,
		corev1.RestartPolicyAlways, corev1.RestartPolicyOnFailure, corev1.RestartPolicyNever)...)
	errs = append(errs, check.RequiredOneOf(p.Child("dnsPolicy"), spec.DNSPolicy,
		corev1.DNSClusterFirstWithHostNet, corev1.DNSClusterFirst, corev1.DNSDefault, corev1.DNSNone)...)
	errs = append(errs, metavalidation.ValidateLabels(spec.NodeSelector, p.Child("nodeSelector"))...)
	errs = append(errs, validatePodSecurityContext(p.Child("securityContext"), spec, allow)...)
	if share := spec.ShareProcessNamespace; share != nil && *share && spec.HostPID {
		errs = append(errs, field.Invalid(p.Child("shareProcessNamespace"), *share, "ShareProcessNamespace and HostPID cannot both be enabled"))
	}
	errs = append(errs, validateAffinity(p.Child("affinity"), spec.Affinity, allow)...)
	errs = append(errs, validateDNSConfig(p.Child("dnsConfig"), spec)...)
	errs = append(errs, validateGates(p, spec)...)
	errs = append(errs, validateSpread(p.Child("topologySpreadConstraints"), spec.TopologySpreadConstraints, allow)...)
	errs = append(errs, validateHostProcess(p, spec)...)
	errs = append(errs, validateHostUsers(p, spec, allow)...)
	errs = append(errs, validateHostnameOverride(p.Child("hostnameOverride"), spec)...)
	errs = append(errs, validatePodNames(p, spec)...)
	if spec.Overhead != nil {
		overhead := &corev1.ResourceRequirements{Limits: spec.Overhead}
		errs = append(errs, validateRequirements(p.Child("overhead"), overhead, ValidateContainerResource, nil, allow.IndivisibleHugePages)...)
	}
	errs = append(errs, validateOS(p, spec)...)
	return append(errs, validateFileKeyVolumes(p, spec)...)
}

// validatePodNames checks the many short fields of a spec, most of them
// references to other objects.
func validatePodNames(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	if spec.ServiceAccountName != "" {
		errs = append(errs, check.Name(p.Child("serviceAccountName"), spec.ServiceAccountName, apivalidation.ValidateServiceAccountName)...)
	}
	if spec.NodeName != "" {
		errs = append(errs, check.Name(p.Child("nodeName"), spec.NodeName, apivalidation.NameIsDNSSubdomain)...)
	}
	if seconds := spec.ActiveDeadlineSeconds; seconds != nil && (*seconds < 1 || *seconds > math.MaxInt32) {
		errs = append(errs, field.Invalid(p.Child("activeDeadlineSeconds"), *seconds, validation.InclusiveRangeError(1, math.MaxInt32)))
	}
	if spec.Hostname != "" {
		errs = append(errs, check.DNSLabel(p.Child("hostname"), spec.Hostname)...)
	}
	if spec.Subdomain != "" {
		errs = append(errs, check.DNSLabel(p.Child("subdomain"), spec.Subdomain)...)
	}
	errs = append(errs, ValidateTolerations(p.Child("tolerations"), spec.Tolerations)...)
	for i, alias := range spec.HostAliases {
		at := p.Child("hostAliases").Index(i)
		errs = append(errs, check.IP(at.Child("ip"), alias.IP)...)
		for j, hostname := range alias.Hostnames {
			errs = append(errs, check.DNSSubdomain(at.Child("hostnames").Index(j), hostname)...)
		}
	}
	if spec.PriorityClassName != "" {
		errs = append(errs, check.Name(p.Child("priorityClassName"), spec.PriorityClassName, apivalidation.NameIsDNSSubdomain)...)
	}
	if spec.RuntimeClassName != nil {
		errs = append(errs, check.Name(p.Child("runtimeClassName"), *spec.RuntimeClassName, apivalidation.NameIsDNSSubdomain)...)
	}
	if spec.PreemptionPolicy != nil {
		errs = append(errs, check.RequiredOneOf(p.Child("preemptionPolicy"), *spec.PreemptionPolicy, corev1.PreemptLowerPriority, corev1.PreemptNever)...)
	}
	return errs
}

// validateHostNetworkPorts: on the node's network a port has one number. In a
// template, host ports may be left out, as pods get them by default.
func validateHostNetworkPorts(p *field.Path, spec *corev1.PodSpec, allow Allowances) field.ErrorList {
	if !spec.HostNetwork {
		return nil
	}
	var errs field.ErrorList
	for i := range spec.Containers {
		for j, port := range spec.Containers[i].Ports {
			if (!allow.Template || port.HostPort != 0) && port.HostPort != port.ContainerPort {
				errs = append(errs, field.Invalid(p.Index(i).Child("ports").Index(j).Child("hostPort"), port.HostPort,
					"must match `containerPort` when `hostNetwork` is true"))
			}
		}
	}
	return errs
}

func validateDNSConfig(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	config := spec.DNSConfig
	if spec.DNSPolicy == corev1.DNSNone {
		if config == nil {
			return field.ErrorList{field.Required(p, fmt.Sprintf("must provide `dnsConfig` when `dnsPolicy` is %s", corev1.DNSNone))}
		}
		if len(config.Nameservers) == 0 {
			return field.ErrorList{field.Required(p.Child("nameservers"), fmt.Sprintf("must provide at least one DNS nameserver when `dnsPolicy` is %s", corev1.DNSNone))}
		}
	}
	if config == nil {
		return nil
	}
	var errs field.ErrorList
	if len(config.Nameservers) > maxNameservers {
		errs = append(errs, field.Invalid(p.Child("nameservers"), config.Nameservers, fmt.Sprintf("must not have more than %v nameservers", maxNameservers)))
	}
	for i, server := range config.Nameservers {
		errs = append(errs, check.IP(p.Child("nameservers").Index(i), server)...)
	}
	if len(config.Searches) > maxSearchPaths {
		errs = append(errs, field.Invalid(p.Child("searches"), config.Searches, fmt.Sprintf("must not have more than %v search paths", maxSearchPaths)))
	}
	if len(strings.Join(config.Searches, " ")) > maxSearchPathsLen {
		errs = append(errs, field.Invalid(p.Child("searches"), config.Searches,
			fmt.Sprintf("must not have more than %v characters (including spaces) in the search list", maxSearchPathsLen)))
	}
	for i, search := range config.Searches {
		if search == "." {
			continue
		}
		search = strings.TrimSuffix(search, ".")
		errs = append(errs, check.All(p.Child("searches").Index(i), search, validation.IsDNS1123SubdomainWithUnderscore(search))...)
	}
	for i, option := range config.Options {
		if option.Name == "" {
			errs = append(errs, field.Required(p.Child("options").Index(i), "must not be empty"))
		}
	}
	return errs
}

func validateGates(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	for i, gate := range spec.ReadinessGates {
		errs = append(errs, check.QualifiedName(p.Child("readinessGates").Index(i).Child("conditionType"), string(gate.ConditionType))...)
	}
	seen := sets.Set[string]{}
	for i, gate := range spec.SchedulingGates {
		at := p.Child("schedulingGates").Index(i)
		errs = append(errs, check.QualifiedName(at, gate.Name)...)
		if seen.Has(gate.Name) {
			errs = append(errs, field.Duplicate(at, gate.Name))
		}
		seen.Insert(gate.Name)
	}
	return errs
}

func validateHostnameOverride(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	if spec.HostnameOverride == nil {
		return nil
	}
	var errs field.ErrorList
	if spec.SetHostnameAsFQDN != nil && *spec.SetHostnameAsFQDN {
		errs = append(errs, field.Forbidden(p, "may not be specified when setHostnameAsFQDN is true"))
	}
	if spec.HostNetwork {
		errs = append(errs, field.Forbidden(p, "may not be specified when hostNetwork is true"))
	}
	if len(*spec.HostnameOverride) > maxHostnameLen {
		errs = append(errs, field.TooLong(p, "", maxHostnameLen))
	}
	return append(errs, check.DNSSubdomain(p, *spec.HostnameOverride)...)
}
