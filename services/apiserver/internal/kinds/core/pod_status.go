package core

import (
	"fmt"
	"math"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	netutils "k8s.io/utils/net"

	"coracle.local/services/apiserver/internal/kinds/check"
)

const longestHealthMessage = corev1.ResourceHealthMessageMaxLength

// preparePodStatus keeps the spec, and those fields of the status that
// kubelets which do not know them would clear.
func preparePodStatus(pod, old *corev1.Pod) {
	pod.Spec = old.Spec
	pod.DeletionTimestamp = nil
	pod.OwnerReferences = old.OwnerReferences
	s, was := &pod.Status, &old.Status
	if s.QOSClass == "" {
		s.QOSClass = was.QOSClass
	}
	if s.ResourceClaimStatuses == nil {
		s.ResourceClaimStatuses = was.ResourceClaimStatuses
	}
	if s.ExtendedResourceClaimStatus == nil {
		s.ExtendedResourceClaimStatus = was.ExtendedResourceClaimStatus
	}
	if s.ObservedGeneration == 0 {
		s.ObservedGeneration = was.ObservedGeneration
	}
	keepObservedGenerations(s, was)
	s.NodeAllocatableResourceClaimStatuses = nil
	s.VolumeHealth = nil
	for _, list := range [][]corev1.ContainerStatus{s.ContainerStatuses, s.InitContainerStatuses, s.EphemeralContainerStatuses} {
		for i := range list {
			for j := range list[i].VolumeMounts {
				list[i].VolumeMounts[j].VolumeStatus = nil
			}
		}
	}
}

// keepObservedGenerations matches conditions by type and, as a type may occur
// more than once, by their order in it.
func keepObservedGenerations(status, old *corev1.PodStatus) {
	former := map[corev1.PodConditionType][]int64{}
	for _, c := range old.Conditions {
		former[c.Type] = append(former[c.Type], c.ObservedGeneration)
	}
	for i := range status.Conditions {
		c := &status.Conditions[i]
		generations := former[c.Type]
		if len(generations) == 0 {
			continue
		}
		former[c.Type] = generations[1:]
		if c.ObservedGeneration == 0 {
			c.ObservedGeneration = generations[0]
		}
	}
}

func validatePodStatus(pod, old *corev1.Pod) field.ErrorList {
	errs := validatePodAnnotationUpdate(pod, old, PodAllowances(old))
	s, was := &pod.Status, &old.Status
	errs = append(errs, validatePodConditions(statusPath.Child("conditions"), s.Conditions)...)
	if pod.Spec.NodeName != old.Spec.NodeName {
		errs = append(errs, field.Forbidden(statusPath.Child("nodeName"), "may not be changed directly"))
	}
	if at := statusPath.Child("nominatedNodeName"); s.NominatedNodeName != was.NominatedNodeName && s.NominatedNodeName != "" {
		errs = append(errs, check.Name(at, s.NominatedNodeName, apivalidation.NameIsDNSSubdomain)...)
		if old.Spec.NodeName != "" {
			errs = append(errs, field.Forbidden(at, "may not be set on pods that are already bound to a node"))
		}
	}
	if s.ObservedGeneration < 0 {
		errs = append(errs, field.Invalid(statusPath.Child("observedGeneration"), s.ObservedGeneration, "must be a non-negative integer"))
	}
	errs = append(errs, check.Unchanged(statusPath.Child("qosClass"), s.QOSClass, was.QOSClass)...)
	errs = append(errs, validateTransitions(statusPath.Child("containerStatuses"), s.ContainerStatuses, was.ContainerStatuses, &old.Spec, old.Spec.Containers)...)
	errs = append(errs, validateTransitions(statusPath.Child("initContainerStatuses"), s.InitContainerStatuses, was.InitContainerStatuses, &old.Spec, old.Spec.InitContainers)...)
	errs = append(errs, validateTransitions(statusPath.Child("ephemeralContainerStatuses"), s.EphemeralContainerStatuses, was.EphemeralContainerStatuses, nil, nil)...)
	errs = append(errs, validateClaimStatuses(statusPath.Child("resourceClaimStatuses"), s.ResourceClaimStatuses, pod.Spec.ResourceClaims)...)
	errs = append(errs, validateExtendedClaim(statusPath.Child("extendedResourceClaimStatus"), s.ExtendedResourceClaimStatus, &pod.Spec)...)
	errs = append(errs, validatePodIPs(s, was)...)
	errs = append(errs, validateHostIPs(s, was)...)
	for _, list := range []struct {
		child    string
		statuses []corev1.ContainerStatus
	}{
		{"containerStatuses", s.ContainerStatuses},
		{"initContainerStatuses", s.InitContainerStatuses},
		{"ephemeralContainerStatuses", s.EphemeralContainerStatuses},
	} {
		errs = append(errs, validateStatusUsers(statusPath.Child(list.child), list.statuses, pod.Spec.OS)...)
	}
	errs = append(errs, validateResourceHealth(statusPath.Child("containerStatuses"), s.ContainerStatuses, pod.Spec.Containers, s)...)
	errs = append(errs, validateResourceHealth(statusPath.Child("initContainerStatuses"), s.InitContainerStatuses, pod.Spec.InitContainers, s)...)
	for i := range s.EphemeralContainerStatuses {
		if len(s.EphemeralContainerStatuses[i].AllocatedResourcesStatus) > 0 {
			at := statusPath.Child("ephemeralContainerStatuses").Index(i).Child("allocatedResourcesStatus")
			errs = append(errs, field.Forbidden(at, "must not be specified in container status"))
		}
	}
	return errs
}

func validatePodConditions(p *field.Path, conditions []corev1.PodCondition) field.ErrorList {
	var errs field.ErrorList
	for i, c := range conditions {
		if c.ObservedGeneration < 0 {
			errs = append(errs, field.Invalid(p.Index(i).Child("observedGeneration"), c.ObservedGeneration, "must be a non-negative integer"))
		}
		switch c.Type {
		case corev1.PodScheduled, corev1.PodReady, corev1.PodInitialized:
		default:
			errs = append(errs, check.QualifiedName(p.Index(i).Child("Type"), string(c.Type))...)
		}
	}
	return errs
}

// validateTransitions keeps containers that ended ended, unless they are to
// be restarted. A nil spec means that none ever is.
func validateTransitions(p *field.Path, statuses, old []corev1.ContainerStatus, spec *corev1.PodSpec, list []corev1.Container) field.ErrorList {
	if spec != nil && restartsAll(spec) {
		return nil
	}
	var errs field.ErrorList
	for i := range old {
		ended := old[i].State.Terminated
		if ended == nil {
			continue
		}
		now := slices.IndexFunc(statuses, func(s corev1.ContainerStatus) bool { return s.Name == old[i].Name && s.State.Terminated == nil })
		if now < 0 {
			continue
		}
		c := slices.IndexFunc(list, func(c corev1.Container) bool { return c.Name == old[i].Name })
		if c < 0 || !restarts(&list[c], spec.RestartPolicy, ended.ExitCode) {
			errs = append(errs, field.Forbidden(p.Index(i).Child("state"), "may not be transitioned to non-terminated state"))
		}
	}
	return errs
}

func restartsAll(spec *corev1.PodSpec) bool {
	for ctr := range containers(spec, nil) {
		for _, rule := range ctr.RestartPolicyRules {
			if rule.Action == corev1.ContainerRestartRuleActionRestartAllContainers {
				return true
			}
		}
	}
	return false
}

func restarts(c *corev1.Container, podPolicy corev1.RestartPolicy, exitCode int32) bool {
	policy := string(podPolicy)
	if c.RestartPolicy != nil {
		for _, rule := range c.RestartPolicyRules {
			if rule.ExitCodes == nil {
				continue
			}
			listed := slices.Contains(rule.ExitCodes.Values, exitCode)
			if listed == (rule.ExitCodes.Operator == corev1.ContainerRestartRuleOnExitCodesOpIn) {
				return rule.Action == corev1.ContainerRestartRuleActionRestart
			}
		}
		policy = string(*c.RestartPolicy)
	}
	switch policy {
	case string(corev1.RestartPolicyOnFailure):
		return exitCode != 0
	case string(corev1.RestartPolicyNever):
		return false
	}
	return true
}

func validateClaimStatuses(p *field.Path, statuses []corev1.PodResourceClaimStatus, claims []corev1.PodResourceClaim) field.ErrorList {
	var errs field.ErrorList
	known, seen := claimNames(claims), sets.Set[string]{}
	for i, s := range statuses {
		at := p.Index(i)
		if !known.Has(s.Name) {
			errs = append(errs, field.Invalid(at.Child("name"), s.Name, "must match the name of an entry in `spec.resourceClaims`"))
		}
		if seen.Has(s.Name) {
			errs = append(errs, field.Duplicate(at.Child("name"), s.Name))
		}
		seen.Insert(s.Name)
		if s.ResourceClaimName != nil {
			errs = append(errs, check.Name(at.Child("resourceClaimName"), *s.ResourceClaimName, apivalidation.NameIsDNSSubdomain)...)
		}
	}
	return errs
}

func validateExtendedClaim(p *field.Path, status *corev1.PodExtendedResourceClaimStatus, spec *corev1.PodSpec) field.ErrorList {
	if status == nil {
		return nil
	}
	var errs field.ErrorList
	if len(status.RequestMappings) == 0 {
		errs = append(errs, field.Required(p.Child("requestMappings"), "at least one request mapping is required"))
	}
	requests := map[string]corev1.ResourceList{}
	for _, list := range [][]corev1.Container{spec.InitContainers, spec.Containers} {
		for i := range list {
			requests[list[i].Name] = list[i].Resources.Requests
		}
	}
	seen := sets.Set[corev1.ContainerExtendedResourceRequest]{}
	for i, m := range status.RequestMappings {
		at := p.Child("requestMappings").Index(i)
		if list, known := requests[m.ContainerName]; !known {
			errs = append(errs, field.Invalid(at.Child("containerName"), m.ContainerName, "must match the name of an entry in spec.initContainers.name or spec.containers.name"))
		} else if _, requested := list[corev1.ResourceName(m.ResourceName)]; !requested {
			errs = append(errs, field.Invalid(at.Child("resourceName"), m.ResourceName,
				"must match the extended resource name of an entry in spec.initContainers.resources.requests or spec.containers.resources.requests"))
		}
		errs = append(errs, check.DNSLabel(p.Child("requestName"), m.RequestName)...)
		if seen.Has(m) {
			errs = append(errs,
				field.Duplicate(at.Child("containerName"), m.ContainerName),
				field.Duplicate(at.Child("resourceName"), m.ResourceName),
				field.Duplicate(at.Child("requestName"), m.RequestName))
		}
		seen.Insert(m)
	}
	if status.ResourceClaimName == "" {
		return append(errs, field.Required(p.Child("resourceClaimName"), ""))
	}
	return append(errs, check.Name(p.Child("resourceClaimName"), status.ResourceClaimName, apivalidation.NameIsDNSSubdomain)...)
}

func validatePodIPs(s, old *corev1.PodStatus) field.ErrorList {
	at := statusPath.Child("podIPs")
	ips, former := make([]string, len(s.PodIPs)), make([]string, len(old.PodIPs))
	for i := range s.PodIPs {
		ips[i] = s.PodIPs[i].IP
	}
	for i := range old.PodIPs {
		former[i] = old.PodIPs[i].IP
	}
	errs := validateIPList(at, ips, former, s.PodIPs)
	switch {
	case (s.PodIP != "") != (len(ips) > 0):
		errs = append(errs, field.Invalid(at, check.Internal(s.PodIPs), "podIP and podIPs must either both be set or both be unset"))
	case len(ips) > 0 && s.PodIP != ips[0]:
		errs = append(errs, field.Invalid(at.Index(0).Child("ip"), ips[0], "must be equal to `podIP`"))
	}
	return errs
}

func validateHostIPs(s, old *corev1.PodStatus) field.ErrorList {
	if len(s.HostIPs) == 0 {
		return nil
	}
	var errs field.ErrorList
	at := statusPath.Child("hostIPs")
	if s.HostIP != s.HostIPs[0].IP {
		errs = append(errs, field.Invalid(at.Index(0).Child("ip"), s.HostIPs[0].IP, "must be equal to `hostIP`"))
	}
	ips, former := make([]string, len(s.HostIPs)), make([]string, len(old.HostIPs))
	for i := range s.HostIPs {
		ips[i] = s.HostIPs[i].IP
	}
	for i := range old.HostIPs {
		former[i] = old.HostIPs[i].IP
	}
	return append(errs, validateIPList(at, ips, former, s.HostIPs)...)
}

// validateIPList allows one address of each family.
func validateIPList(p *field.Path, ips, former []string, shown any) field.ErrorList {
	var errs field.ErrorList
	for i, ip := range ips {
		errs = append(errs, check.IP(p.Index(i), ip, former...)...)
	}
	if len(ips) < 2 {
		return errs
	}
	dual, err := netutils.IsDualStackIPStrings(ips)
	if err != nil {
		errs = append(errs, field.InternalError(p, fmt.Errorf("failed to check for dual stack with error:%w", err)))
	}
	if !dual || len(ips) > 2 {
		errs = append(errs, field.Invalid(p, check.Internal(shown), "may specify no more than one IP for each IP family"))
	}
	return errs
}

func validateStatusUsers(p *field.Path, statuses []corev1.ContainerStatus, os *corev1.PodOS) field.ErrorList {
	var errs field.ErrorList
	for i := range statuses {
		if statuses[i].User == nil || statuses[i].User.Linux == nil {
			continue
		}
		user, at := statuses[i].User.Linux, p.Index(i).Child("user", "linux")
		if os != nil && os.Name == corev1.Windows {
			errs = append(errs, field.Forbidden(at, notOnWindows))
			continue
		}
		if user.UID < 0 || user.UID > math.MaxUint32 {
			errs = append(errs, field.Invalid(at.Child("uid"), user.UID, fmt.Sprintf("must be between 0 and %d, inclusive", int64(math.MaxUint32))))
		}
		errs = append(errs, check.All(at.Child("gid"), user.GID, validation.IsValidGroupID(user.GID))...)
		for j, group := range user.SupplementalGroups {
			errs = append(errs, check.All(at.Child("supplementalGroups").Index(j), group, validation.IsValidGroupID(group))...)
		}
	}
	return errs
}

func validateResourceHealth(p *field.Path, statuses []corev1.ContainerStatus, list []corev1.Container, pod *corev1.PodStatus) field.ErrorList {
	var errs field.ErrorList
	for i := range statuses {
		c := slices.IndexFunc(list, func(c corev1.Container) bool { return c.Name == statuses[i].Name })
		for j, allocated := range statuses[i].AllocatedResourcesStatus {
			at := p.Index(i).Child("allocatedResourcesStatus").Index(j)
			if c >= 0 {
				errs = append(errs, validateAllocatedName(at.Child("name"), allocated.Name, &list[c], pod)...)
			}
			errs = append(errs, validateHealths(at.Child("resources"), allocated.Resources)...)
		}
	}
	return errs
}

func validateAllocatedName(p *field.Path, name corev1.ResourceName, c *corev1.Container, pod *corev1.PodStatus) field.ErrorList {
	claim, ofClaim := strings.CutPrefix(string(name), "claim:")
	if !ofClaim {
		if _, requested := c.Resources.Requests[name]; requested {
			return nil
		}
		return field.ErrorList{field.Invalid(p, string(name), "must match one of the container's resource requests")}
	}
	for _, ref := range c.Resources.Claims {
		if claim == strings.TrimSuffix(ref.Name+"/"+ref.Request, "/") {
			return nil
		}
	}
	if extended := pod.ExtendedResourceClaimStatus; extended != nil {
		for _, m := range extended.RequestMappings {
			quantity := c.Resources.Requests[corev1.ResourceName(m.ResourceName)]
			if m.ContainerName == c.Name && claim == extended.ResourceClaimName+"/"+m.RequestName && !quantity.IsZero() {
				return nil
			}
		}
	}
	return field.ErrorList{field.Invalid(p, string(name),
		"must match one of the container's resource claims as 'claim:<claimName>/<requestName>' when container.resources.claims[*].request is set or 'claim:<claimName>' when it is empty")}
}

func validateHealths(p *field.Path, resources []corev1.ResourceHealth) field.ErrorList {
	var errs field.ErrorList
	seen := sets.Set[corev1.ResourceID]{}
	for i, r := range resources {
		at := p.Index(i)
		errs = append(errs, check.OneOf(at.Child("health"), r.Health,
			corev1.ResourceHealthStatusHealthy, corev1.ResourceHealthStatusUnhealthy, corev1.ResourceHealthStatusUnknown)...)
		switch {
		case r.Message == nil:
		case *r.Message == "":
			errs = append(errs, field.Required(at.Child("message"), "must be non-empty if specified"))
		case len(*r.Message) > longestHealthMessage:
			errs = append(errs, field.TooLong(at.Child("message"), "", longestHealthMessage))
		}
		if seen.Has(r.ResourceID) {
			errs = append(errs, field.Duplicate(at.Child("resourceID"), r.ResourceID))
		}
		seen.Insert(r.ResourceID)
	}
	return errs
}
