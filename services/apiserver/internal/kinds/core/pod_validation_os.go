package core

import (
	"fmt"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
)

const (
	maxCredentialSpecKiB  = 64
	maxUserNameDomain     = 256
	maxUserName           = 104
	windowsOptionsOnLinux = "windows options cannot be set for a linux pod"
	notOnWindows          = "cannot be set for a windows pod"
)

var (
	controlCharacters   = regexp.MustCompile(`[[:cntrl:]]+`)
	netBIOSDomain       = regexp.MustCompile(`^[^\\/:\*\?"<>|\.][^\\/:\*\?"<>|]{0,14}$`)
	dnsDomain           = regexp.MustCompile(`^[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*$`)
	userNameCharacters  = regexp.MustCompile(`["/\\:;|=,\+\*\?<>@\[\]]`)
	userNameNothingElse = regexp.MustCompile(`^[\. ]+$`)
)

func validateWindowsOptions(p *field.Path, options *corev1.WindowsSecurityContextOptions) field.ErrorList {
	if options == nil {
		return nil
	}
	var errs field.ErrorList
	if name := options.GMSACredentialSpecName; name != nil {
		errs = append(errs, check.DNSSubdomain(p.Child("gmsaCredentialSpecName"), *name)...)
	}
	if spec := options.GMSACredentialSpec; spec != nil {
		at := p.Child("gmsaCredentialSpec")
		switch {
		case *spec == "":
			errs = append(errs, field.Invalid(at, *spec, "gmsaCredentialSpec cannot be an empty string"))
		case len(*spec) > maxCredentialSpecKiB*1024:
			errs = append(errs, field.Invalid(at, *spec, fmt.Sprintf("gmsaCredentialSpec size must be under %d KiB", maxCredentialSpecKiB)))
		}
	}
	if name := options.RunAsUserName; name != nil {
		for _, message := range wrongUserName(*name) {
			errs = append(errs, field.Invalid(p.Child("runAsUserName"), *name, message))
		}
	}
	return errs
}

// wrongUserName tells what is wrong with DOMAIN\user or user.
func wrongUserName(name string) []string {
	parts := strings.Split(name, `\`)
	switch {
	case name == "":
		return []string{"runAsUserName cannot be an empty string"}
	case controlCharacters.MatchString(name):
		return []string{"runAsUserName cannot contain control characters"}
	case len(parts) > 2:
		return []string{"runAsUserName cannot contain more than one backslash"}
	}
	var wrong []string
	user := parts[len(parts)-1]
	if len(parts) == 2 {
		domain := parts[0]
		if len(domain) >= maxUserNameDomain {
			wrong = append(wrong, fmt.Sprintf("runAsUserName's Domain length must be under %d characters", maxUserNameDomain))
		}
		if !netBIOSDomain.MatchString(domain) && !dnsDomain.MatchString(domain) {
			wrong = append(wrong, "runAsUserName's Domain doesn't match the NetBios nor the DNS format")
		}
	}
	switch {
	case user == "":
		wrong = append(wrong, "runAsUserName's User cannot be empty")
	case len(user) > maxUserName:
		wrong = append(wrong, fmt.Sprintf("runAsUserName's User length must not be longer than %d characters", maxUserName))
	}
	if userNameNothingElse.MatchString(user) {
		wrong = append(wrong, "runAsUserName's User cannot contain only periods or spaces")
	}
	if userNameCharacters.MatchString(user) {
		wrong = append(wrong, `runAsUserName's User cannot contain the following characters: "/\:;|=,+*?<>@[]`)
	}
	return wrong
}

// validateHostProcess checks that a pod runs either all its containers as
// processes of a Windows node, or none.
func validateHostProcess(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	var ofPod *bool
	if sc := spec.SecurityContext; sc != nil && sc.WindowsOptions != nil {
		ofPod = sc.WindowsOptions.HostProcess
	}
	all, hosted := 0, 0
	for ctr, at := range containers(spec, p) {
		all++
		own := ofPod
		if sc := ctr.SecurityContext; sc != nil && sc.WindowsOptions != nil && sc.WindowsOptions.HostProcess != nil {
			own = sc.WindowsOptions.HostProcess
			if ofPod != nil && *ofPod != *own {
				errs = append(errs, field.Invalid(at.Child("securityContext", "windowsOptions", "hostProcess"), *own,
					fmt.Sprintf("pod hostProcess value must be identical if both are specified, was %v", *ofPod)))
			}
		}
		if own != nil && *own {
			hosted++
		}
	}
	if hosted == 0 {
		return errs
	}
	if hosted != all {
		errs = append(errs, field.Invalid(p, "", "If pod contains any hostProcess containers then all containers must be HostProcess containers"))
	}
	if !spec.HostNetwork {
		errs = append(errs, field.Invalid(p.Child("hostNetwork"), spec.HostNetwork, "hostNetwork must be true if pod contains any hostProcess containers"))
	}
	return errs
}

// validateOS refuses what the pod's operating system does not have.
func validateOS(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	if spec.OS == nil {
		return nil
	}
	if spec.OS.Name == "" {
		return field.ErrorList{field.Required(p.Child("os", "name"), "")}
	}
	switch spec.OS.Name {
	case corev1.Linux:
		return refuseOnLinux(p, spec)
	case corev1.Windows:
		return refuseOnWindows(p, spec)
	}
	return check.OneOf(p.Child("os"), spec.OS.Name, corev1.Linux, corev1.Windows)
}

func refuseOnLinux(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	if sc := spec.SecurityContext; sc != nil && sc.WindowsOptions != nil {
		errs = append(errs, field.Forbidden(p.Child("securityContext", "windowsOptions"), windowsOptionsOnLinux))
	}
	for ctr, at := range containers(spec, p) {
		if sc := ctr.SecurityContext; sc != nil && sc.WindowsOptions != nil {
			errs = append(errs, field.Forbidden(at.Child("securityContext", "windowsOptions"), windowsOptionsOnLinux))
		}
	}
	return errs
}

// member is a field that an operating system lacks.
type member struct {
	name string
	set  bool
}

func refuseOnWindows(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	refuse := func(p *field.Path, members ...member) {
		for _, m := range members {
			if m.set {
				errs = append(errs, field.Forbidden(p.Child(m.name), notOnWindows))
			}
		}
	}
	if sc := spec.SecurityContext; sc != nil {
		refuse(p.Child("securityContext"),
			member{"appArmorProfile", sc.AppArmorProfile != nil},
			member{"seLinuxOptions", sc.SELinuxOptions != nil},
			member{"seccompProfile", sc.SeccompProfile != nil},
			member{"fsGroup", sc.FSGroup != nil},
			member{"fsGroupChangePolicy", sc.FSGroupChangePolicy != nil},
			member{"sysctls", len(sc.Sysctls) > 0},
			member{"runAsUser", sc.RunAsUser != nil},
			member{"runAsGroup", sc.RunAsGroup != nil},
			member{"supplementalGroups", sc.SupplementalGroups != nil},
			member{"supplementalGroupsPolicy", sc.SupplementalGroupsPolicy != nil},
			member{"seLinuxChangePolicy", sc.SELinuxChangePolicy != nil})
	}
	refuse(p,
		member{"hostUsers", spec.HostUsers != nil},
		member{"hostPID", spec.HostPID},
		member{"hostIPC", spec.HostIPC},
		member{"shareProcessNamespace", spec.ShareProcessNamespace != nil})
	for ctr, at := range containers(spec, p) {
		if sc := ctr.SecurityContext; sc != nil {
			refuse(at.Child("securityContext"),
				member{"appArmorProfile", sc.AppArmorProfile != nil},
				member{"seLinuxOptions", sc.SELinuxOptions != nil},
				member{"seccompProfile", sc.SeccompProfile != nil},
				member{"capabilities", sc.Capabilities != nil},
				member{"readOnlyRootFilesystem", sc.ReadOnlyRootFilesystem != nil},
				member{"privileged", sc.Privileged != nil},
				member{"allowPrivilegeEscalation", sc.AllowPrivilegeEscalation != nil},
				member{"procMount", sc.ProcMount != nil},
				member{"runAsUser", sc.RunAsUser != nil},
				member{"runAsGroup", sc.RunAsGroup != nil})
		}
	}
	return errs
}
