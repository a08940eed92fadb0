package core

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
)

// Seccomp and AppArmor profiles were annotations before they were fields;
// both forms are still read, and must agree.
const (
	seccompPod             = "seccomp.security.alpha.kubernetes.io/pod"
	seccompContainerPrefix = "container.seccomp.security.alpha.kubernetes.io/"
	dockerDefaultSeccomp   = "docker/default"
	appArmorPrefix         = corev1.DeprecatedAppArmorBetaContainerAnnotationKeyPrefix
	longestProfilePath     = 4095
)

func validateSeccomp(p *field.Path, profile *corev1.SeccompProfile) field.ErrorList {
	if profile == nil {
		return nil
	}
	var errs field.ErrorList
	if profile.Type == "" {
		errs = append(errs, field.Required(p.Child("type"), "type is required when seccompProfile is set"))
	} else {
		errs = append(errs, check.OneOf(p.Child("type"), profile.Type,
			corev1.SeccompProfileTypeLocalhost, corev1.SeccompProfileTypeRuntimeDefault, corev1.SeccompProfileTypeUnconfined)...)
	}
	at := p.Child("localhostProfile")
	switch {
	case profile.Type != corev1.SeccompProfileTypeLocalhost && profile.LocalhostProfile != nil:
		errs = append(errs, field.Invalid(at, check.Internal(profile), "can only be set when seccomp type is Localhost"))
	case profile.Type != corev1.SeccompProfileTypeLocalhost:
	case profile.LocalhostProfile == nil:
		errs = append(errs, field.Required(at, "must be set when seccomp type is Localhost"))
	default:
		errs = append(errs, check.Descending(at, *profile.LocalhostProfile)...)
	}
	return errs
}

func validateAppArmor(p *field.Path, profile *corev1.AppArmorProfile) field.ErrorList {
	if profile == nil {
		return nil
	}
	at := p.Child("localhostProfile")
	switch profile.Type {
	case corev1.AppArmorProfileTypeLocalhost:
		return validateAppArmorPath(at, profile.LocalhostProfile)
	case corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined:
		if profile.LocalhostProfile != nil {
			return field.ErrorList{field.Invalid(at, *profile.LocalhostProfile, "can only be set when AppArmor type is Localhost")}
		}
		return nil
	case "":
		return field.ErrorList{field.Required(p.Child("type"), "type is required when appArmorProfile is set")}
	}
	return check.OneOf(p.Child("type"), profile.Type,
		corev1.AppArmorProfileTypeLocalhost, corev1.AppArmorProfileTypeRuntimeDefault, corev1.AppArmorProfileTypeUnconfined)
}

func validateAppArmorPath(p *field.Path, profile *string) field.ErrorList {
	const missing = "must be set when AppArmor type is Localhost"
	if profile == nil {
		return field.ErrorList{field.Required(p, missing)}
	}
	var errs field.ErrorList
	switch trimmed := strings.TrimSpace(*profile); {
	case trimmed != *profile:
		errs = append(errs, field.Invalid(p, *profile, "must not be padded with whitespace"))
	case trimmed == "":
		errs = append(errs, field.Required(p, missing))
	}
	if len(*profile) > longestProfilePath {
		errs = append(errs, field.TooLong(p, "", longestProfilePath))
	}
	return errs
}

func validateProfileAnnotations(p *field.Path, annotations map[string]string, spec *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	if profile, ok := annotations[seccompPod]; ok {
		errs = append(errs, validateSeccompAnnotation(p.Child(seccompPod), profile)...)
	}
	keys := sortedKeys(annotations)
	for _, key := range keys {
		if strings.HasPrefix(key, seccompContainerPrefix) {
			errs = append(errs, validateSeccompAnnotation(p.Child(key), annotations[key])...)
		}
	}
	for _, key := range keys {
		name, ok := strings.CutPrefix(key, appArmorPrefix)
		if !ok {
			continue
		}
		if !hasContainer(spec, name) {
			errs = append(errs, field.Invalid(p.Key(key), name, "container not found"))
		}
		profile := annotations[key]
		switch {
		case profile == "", profile == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault, profile == corev1.DeprecatedAppArmorBetaProfileNameUnconfined:
		case !strings.HasPrefix(profile, corev1.DeprecatedAppArmorBetaProfileNamePrefix):
			errs = append(errs, field.Invalid(p.Key(key), profile, fmt.Sprintf("invalid AppArmor profile name: %q", profile)))
		}
	}
	return errs
}

func hasContainer(spec *corev1.PodSpec, name string) bool {
	for ctr := range containers(spec, nil) {
		if ctr.Name == name {
			return true
		}
	}
	return false
}

func validateSeccompAnnotation(p *field.Path, profile string) field.ErrorList {
	switch profile {
	case corev1.SeccompProfileRuntimeDefault, dockerDefaultSeccomp, corev1.SeccompProfileNameUnconfined:
		return nil
	}
	if path, ok := strings.CutPrefix(profile, corev1.SeccompLocalhostProfileNamePrefix); ok {
		return check.Descending(p, path)
	}
	return field.ErrorList{field.Invalid(p, profile, "must be a valid seccomp profile")}
}

// validateProfilesAgree compares the two forms where both are given.
func validateProfilesAgree(p *field.Path, meta *metav1.ObjectMeta, spec *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	if sc := spec.SecurityContext; sc != nil {
		errs = append(errs, validateSeccompAgrees(p.Child("securityContext", "seccompProfile"), sc.SeccompProfile, meta.Annotations, seccompPod)...)
	}
	for ctr, at := range containers(spec, p) {
		if ctr.SecurityContext != nil {
			errs = append(errs, validateSeccompAgrees(at.Child("securityContext", "seccompProfile"),
				ctr.SecurityContext.SeccompProfile, meta.Annotations, seccompContainerPrefix+ctr.Name)...)
		}
	}
	if spec.OS != nil && spec.OS.Name == corev1.Windows {
		return errs
	}
	for ctr, at := range containers(spec, p) {
		var profile *corev1.AppArmorProfile
		if spec.SecurityContext != nil {
			profile = spec.SecurityContext.AppArmorProfile
		}
		if ctr.SecurityContext != nil && ctr.SecurityContext.AppArmorProfile != nil {
			profile = ctr.SecurityContext.AppArmorProfile
		}
		errs = append(errs, validateAppArmorAgrees(at.Child("securityContext", "appArmorProfile"), profile, meta.Annotations, appArmorPrefix+ctr.Name)...)
	}
	return errs
}

func validateSeccompAgrees(p *field.Path, profile *corev1.SeccompProfile, annotations map[string]string, key string) field.ErrorList {
	annotation, annotated := annotations[key]
	if profile == nil || !annotated {
		return nil
	}
	agree := true
	switch profile.Type {
	case corev1.SeccompProfileTypeUnconfined:
		agree = annotation == corev1.SeccompProfileNameUnconfined
	case corev1.SeccompProfileTypeRuntimeDefault:
		agree = annotation == corev1.SeccompProfileRuntimeDefault || annotation == dockerDefaultSeccomp
	case corev1.SeccompProfileTypeLocalhost:
		path, local := strings.CutPrefix(annotation, corev1.SeccompLocalhostProfileNamePrefix)
		if local && (profile.LocalhostProfile == nil || *profile.LocalhostProfile != path) {
			return field.ErrorList{field.Forbidden(p.Child("localhostProfile"), "seccomp profile in annotation and field must match")}
		}
		agree = local
	}
	if agree {
		return nil
	}
	return field.ErrorList{field.Forbidden(p.Child("type"), "seccomp type in annotation and field must match")}
}

func validateAppArmorAgrees(p *field.Path, profile *corev1.AppArmorProfile, annotations map[string]string, key string) field.ErrorList {
	annotation, annotated := annotations[key]
	if profile == nil || !annotated {
		return nil
	}
	agree := true
	switch profile.Type {
	case corev1.AppArmorProfileTypeUnconfined:
		agree = annotation == corev1.DeprecatedAppArmorBetaProfileNameUnconfined
	case corev1.AppArmorProfileTypeRuntimeDefault:
		agree = annotation == corev1.DeprecatedAppArmorBetaProfileRuntimeDefault
	case corev1.AppArmorProfileTypeLocalhost:
		path, local := strings.CutPrefix(annotation, corev1.DeprecatedAppArmorBetaProfileNamePrefix)
		if local && (profile.LocalhostProfile == nil || *profile.LocalhostProfile != path) {
			return field.ErrorList{field.Forbidden(p.Child("localhostProfile"), "apparmor profile in annotation and field must match")}
		}
		agree = local
	}
	if agree {
		return nil
	}
	return field.ErrorList{field.Forbidden(p.Child("type"), "apparmor type in annotation and field must match")}
}
