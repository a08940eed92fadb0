package core

import (
	"fmt"
	"regexp"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"
	"k8s.io/component-helpers/node/util/sysctl"

	"coracle.local/services/apiserver/internal/kinds/check"
)

const maxSysctlLength = 253

var sysctlName = regexp.MustCompile(`^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$`)

func (c *podContext) validateSecurityContext(p *field.Path, sc *corev1.SecurityContext) field.ErrorList {
	if sc == nil {
		return nil
	}
	errs := validateRunAs(p, sc.RunAsUser, sc.RunAsGroup)
	if sc.ProcMount != nil {
		errs = append(errs, check.OneOf(p.Child("procMount"), *sc.ProcMount, corev1.DefaultProcMount, corev1.UnmaskedProcMount)...)
		if c.hostUsers() && *sc.ProcMount == corev1.UnmaskedProcMount {
			errs = append(errs, field.Invalid(p.Child("procMount"), *sc.ProcMount, "`hostUsers` must be false to use `Unmasked`"))
		}
	}
	errs = append(errs, validateSeccomp(p.Child("seccompProfile"), sc.SeccompProfile)...)
	if sc.AllowPrivilegeEscalation != nil && !*sc.AllowPrivilegeEscalation {
		if sc.Privileged != nil && *sc.Privileged {
			errs = append(errs, field.Invalid(p, check.Internal(sc), "cannot set `allowPrivilegeEscalation` to false and `privileged` to true"))
		}
		if sc.Capabilities != nil && !c.allow.SysAdminWithoutEscalation {
			for _, capability := range sc.Capabilities.Add {
				if capability == "CAP_SYS_ADMIN" {
					errs = append(errs, field.Invalid(p, check.Internal(sc), "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN"))
				}
			}
		}
	}
	errs = append(errs, validateWindowsOptions(p.Child("windowsOptions"), sc.WindowsOptions)...)
	return append(errs, validateAppArmor(p.Child("appArmorProfile"), sc.AppArmorProfile)...)
}

func validateRunAs(p *field.Path, user, group *int64) field.ErrorList {
	var errs field.ErrorList
	if user != nil {
		errs = append(errs, check.All(p.Child("runAsUser"), *user, validation.IsValidUserID(*user))...)
	}
	if group != nil {
		errs = append(errs, check.All(p.Child("runAsGroup"), *group, validation.IsValidGroupID(*group))...)
	}
	return errs
}

func validatePodSecurityContext(p *field.Path, spec *corev1.PodSpec, allow Allowances) field.ErrorList {
	sc := spec.SecurityContext
	if sc == nil {
		return nil
	}
	var errs field.ErrorList
	if sc.FSGroup != nil {
		errs = append(errs, check.All(p.Child("fsGroup"), *sc.FSGroup, validation.IsValidGroupID(*sc.FSGroup))...)
	}
	errs = append(errs, validateRunAs(p, sc.RunAsUser, sc.RunAsGroup)...)
	for i, group := range sc.SupplementalGroups {
		errs = append(errs, check.All(p.Child("supplementalGroups").Index(i), group, validation.IsValidGroupID(group))...)
	}
	errs = append(errs, validateSysctls(p.Child("sysctls"), spec, allow)...)
	if sc.FSGroupChangePolicy != nil {
		errs = append(errs, check.OneOf(p.Child("fsGroupChangePolicy"), *sc.FSGroupChangePolicy,
			corev1.FSGroupChangeAlways, corev1.FSGroupChangeOnRootMismatch)...)
	}
	errs = append(errs, validateSeccomp(p.Child("seccompProfile"), sc.SeccompProfile)...)
	errs = append(errs, validateWindowsOptions(p.Child("windowsOptions"), sc.WindowsOptions)...)
	errs = append(errs, validateAppArmor(p.Child("appArmorProfile"), sc.AppArmorProfile)...)
	if sc.SupplementalGroupsPolicy != nil {
		errs = append(errs, check.OneOf(p.Child("supplementalGroupsPolicy"), *sc.SupplementalGroupsPolicy,
			corev1.SupplementalGroupsPolicyMerge, corev1.SupplementalGroupsPolicyStrict)...)
	}
	if sc.SELinuxChangePolicy != nil {
		errs = append(errs, check.OneOf(p.Child("seLinuxChangePolicy"), *sc.SELinuxChangePolicy,
			corev1.SELinuxChangePolicyMountOption, corev1.SELinuxChangePolicyRecursive)...)
	}
	return errs
}

func validateSysctls(p *field.Path, spec *corev1.PodSpec, allow Allowances) field.ErrorList {
	var errs field.ErrorList
	names := sets.Set[string]{}
	for i, s := range spec.SecurityContext.Sysctls {
		at := p.Index(i).Child("name")
		switch {
		case s.Name == "":
			errs = append(errs, field.Required(at, ""))
		case len(s.Name) > maxSysctlLength || !sysctlName.MatchString(s.Name):
			errs = append(errs, field.Invalid(at, s.Name, fmt.Sprintf("must have at most %d characters and match regex %s", maxSysctlLength, sysctlName)))
		case names.Has(s.Name):
			errs = append(errs, field.Duplicate(at, s.Name))
		}
		if !allow.HostSysctls {
			errs = append(errs, validateHostSysctl(at, s.Name, spec)...)
		}
		names.Insert(s.Name)
	}
	return errs
}

// validateHostSysctl refuses settings of a namespace that is the node's.
func validateHostSysctl(p *field.Path, name string, spec *corev1.PodSpec) field.ErrorList {
	namespace, _, _ := sysctl.GetNamespace(name)
	switch {
	case spec.HostNetwork && namespace == sysctl.NetNamespace:
		return field.ErrorList{field.Invalid(p, name, "may not be specified when 'hostNetwork' is true")}
	case spec.HostIPC && namespace == sysctl.IPCNamespace:
		return field.ErrorList{field.Invalid(p, name, "may not be specified when 'hostIPC' is true")}
	}
	return nil
}

func validateHostUsers(p *field.Path, spec *corev1.PodSpec, allow Allowances) field.ErrorList {
	if spec.HostUsers == nil || *spec.HostUsers {
		return nil
	}
	const refused = "when `hostUsers` is false"
	var errs field.ErrorList
	if spec.HostNetwork && !allow.UserNamespaceOnHostNetwork {
		errs = append(errs, field.Forbidden(p.Child("hostNetwork"), refused))
	}
	if spec.HostPID {
		errs = append(errs, field.Forbidden(p.Child("HostPID"), refused))
	}
	if spec.HostIPC {
		errs = append(errs, field.Forbidden(p.Child("HostIPC"), refused))
	}
	if allow.UserNamespaceWithDevices {
		return errs
	}
	for ctr, at := range containers(spec, p) {
		if len(ctr.VolumeDevices) > 0 {
			errs = append(errs, field.Forbidden(at.Child("volumeDevices"), refused))
		}
	}
	return errs
}
