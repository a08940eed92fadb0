package core

import (
	"fmt"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
)

var (
	// The fields of a pod that the downward API offers, in the order in which
	// errors list them.
	envFieldPaths = []string{
		"metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
		"status.hostIP", "status.hostIPs", "status.podIP", "status.podIPs",
	}
	volumeFieldPaths = []string{"metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"}

	// Further fields that are known to a pod, but not offered.
	otherFieldPaths = []string{"spec.restartPolicy", "spec.schedulerName", "status.phase"}

	resourceFields = []string{
		"limits.cpu", "limits.ephemeral-storage", "limits.memory",
		"requests.cpu", "requests.ephemeral-storage", "requests.memory",
	}
	byteDivisors = []string{"1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"}
)

func validateEnv(p *field.Path, vars []corev1.EnvVar) field.ErrorList {
	var errs field.ErrorList
	for i := range vars {
		at := p.Index(i)
		if vars[i].Name == "" {
			errs = append(errs, field.Required(at.Child("name"), ""))
		} else {
			errs = append(errs, check.All(at.Child("name"), vars[i].Name, validation.IsRelaxedEnvVarName(vars[i].Name))...)
		}
		errs = append(errs, validateValueFrom(at.Child("valueFrom"), &vars[i])...)
	}
	return errs
}

func validateValueFrom(p *field.Path, env *corev1.EnvVar) field.ErrorList {
	from := env.ValueFrom
	if from == nil {
		return nil
	}
	var errs field.ErrorList
	sources := 0
	if from.FieldRef != nil {
		sources++
		errs = append(errs, validateFieldRef(p.Child("fieldRef"), from.FieldRef, envFieldPaths)...)
	}
	if from.ResourceFieldRef != nil {
		sources++
		errs = append(errs, validateResourceFieldRef(p.Child("resourceFieldRef"), from.ResourceFieldRef, false)...)
	}
	if ref := from.ConfigMapKeyRef; ref != nil {
		sources++
		errs = append(errs, validateKeyRef(p.Child("configMapKeyRef"), ref.Name, ref.Key)...)
	}
	if ref := from.SecretKeyRef; ref != nil {
		sources++
		errs = append(errs, validateKeyRef(p.Child("secretKeyRef"), ref.Name, ref.Key)...)
	}
	if from.FileKeyRef != nil {
		sources++
		errs = append(errs, validateFileKeyRef(p.Child("fileKeyRef"), from.FileKeyRef)...)
	}
	switch {
	case sources == 0:
		errs = append(errs, field.Invalid(p, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`"))
	case env.Value != "":
		errs = append(errs, field.Invalid(p, "", "may not be specified when `value` is not empty"))
	case sources > 1:
		errs = append(errs, field.Invalid(p, "", "may not have more than one field specified at a time"))
	}
	return errs
}

func validateFieldRef(p *field.Path, ref *corev1.ObjectFieldSelector, offered []string) field.ErrorList {
	if ref.APIVersion == "" {
		return field.ErrorList{field.Required(p.Child("apiVersion"), "")}
	}
	if ref.FieldPath == "" {
		return field.ErrorList{field.Required(p.Child("fieldPath"), "")}
	}
	path, err := downwardPath(ref.APIVersion, ref.FieldPath)
	if err != nil {
		return field.ErrorList{field.Invalid(p.Child("fieldPath"), ref.FieldPath, fmt.Sprintf("error converting fieldPath: %v", err))}
	}
	switch base, key, subscripted := splitSubscript(path); {
	case subscripted && base == "metadata.annotations":
		return check.QualifiedName(p, strings.ToLower(key))
	case subscripted:
		return check.QualifiedName(p, key)
	}
	return check.OneOf(p.Child("fieldPath"), path, offered...)
}

// downwardPath knows the field labels that a pod has in its API version.
func downwardPath(apiVersion, path string) (string, error) {
	if apiVersion != "v1" {
		return "", fmt.Errorf("unsupported pod version: %s", apiVersion)
	}
	base, _, subscripted := splitSubscript(path)
	switch {
	case subscripted && base != "metadata.annotations" && base != "metadata.labels":
		return "", fmt.Errorf("field label does not support subscript: %s", path)
	case subscripted:
		return path, nil
	case path == "spec.host":
		return "spec.nodeName", nil
	case slices.Contains(envFieldPaths, path), slices.Contains(volumeFieldPaths, path), slices.Contains(otherFieldPaths, path):
		return path, nil
	}
	return "", fmt.Errorf("field label not supported: %s", path)
}

// splitSubscript takes metadata.labels['key'] apart.
func splitSubscript(path string) (base, key string, ok bool) {
	inner, ok := strings.CutSuffix(path, "']")
	if !ok {
		return path, "", false
	}
	base, key, ok = strings.Cut(inner, "['")
	if !ok || base == "" {
		return path, "", false
	}
	return base, key, true
}

func validateResourceFieldRef(p *field.Path, ref *corev1.ResourceFieldSelector, ofVolume bool) field.ErrorList {
	var errs field.ErrorList
	hugePages := strings.HasPrefix(ref.Resource, "limits.hugepages-") || strings.HasPrefix(ref.Resource, "requests.hugepages-")
	switch {
	case ofVolume && ref.ContainerName == "":
		errs = append(errs, field.Required(p.Child("containerName"), ""))
	case ref.Resource == "":
		errs = append(errs, field.Required(p.Child("resource"), ""))
	case !hugePages:
		errs = append(errs, check.OneOf(p.Child("resource"), ref.Resource, resourceFields...)...)
	}
	return append(errs, validateDivisor(p.Child("divisor"), ref.Resource, ref.Divisor, hugePages)...)
}

func validateDivisor(p *field.Path, name string, divisor resource.Quantity, hugePages bool) field.ErrorList {
	if divisor.IsZero() {
		return nil
	}
	allowed, listed, what := byteDivisors, strings.Join(byteDivisors, ", "), ""
	switch {
	case hugePages:
		what = "hugepages"
	case name == "limits.cpu" || name == "requests.cpu":
		allowed, listed, what = []string{"1m", "1"}, "1m and 1", "cpu"
	case name == "limits.memory" || name == "requests.memory":
		what = "memory"
	case name == "limits.ephemeral-storage" || name == "requests.ephemeral-storage":
		what = "local ephemeral storage"
	default:
		return nil
	}
	if slices.Contains(allowed, divisor.String()) {
		return nil
	}
	return field.ErrorList{field.Invalid(p, name, fmt.Sprintf("only divisor's values %s are supported with the %s resource", listed, what))}
}

func validateKeyRef(p *field.Path, name, key string) field.ErrorList {
	errs := check.Name(p.Child("name"), name, apivalidation.NameIsDNSSubdomain)
	if key == "" {
		return append(errs, field.Required(p.Child("key"), ""))
	}
	return append(errs, check.All(p.Child("key"), key, validation.IsConfigMapKey(key))...)
}

func validateFileKeyRef(p *field.Path, ref *corev1.FileKeySelector) field.ErrorList {
	var errs field.ErrorList
	if ref.Key == "" {
		errs = append(errs, field.Required(p.Child("key"), ""))
	} else {
		errs = append(errs, check.All(p.Child("key"), ref.Key, validation.IsRelaxedEnvVarName(ref.Key))...)
	}
	if ref.VolumeName == "" {
		errs = append(errs, field.Required(p.Child("volumeName"), ""))
	} else {
		errs = append(errs, check.DNSLabel(p.Child("volumeName"), ref.VolumeName)...)
	}
	if ref.Path == "" {
		return append(errs, field.Required(p.Child("path"), ""))
	}
	return append(errs, check.NoBacksteps(p.Child("path"), ref.Path)...)
}

func validateEnvFrom(p *field.Path, sources []corev1.EnvFromSource) field.ErrorList {
	var errs field.ErrorList
	for i, source := range sources {
		at := p.Index(i)
		if source.Prefix != "" {
			errs = append(errs, check.All(at.Child("prefix"), source.Prefix, validation.IsRelaxedEnvVarName(source.Prefix))...)
		}
		if source.ConfigMapRef != nil {
			errs = append(errs, validateEnvSource(at.Child("configMapRef", "name"), source.ConfigMapRef.Name)...)
		}
		if source.SecretRef != nil {
			errs = append(errs, validateEnvSource(at.Child("secretRef", "name"), source.SecretRef.Name)...)
		}
		switch {
		case source.ConfigMapRef == nil && source.SecretRef == nil:
			errs = append(errs, field.Invalid(p, "", "must specify one of: `configMapRef` or `secretRef`"))
		case source.ConfigMapRef != nil && source.SecretRef != nil:
			errs = append(errs, field.Invalid(p, "", "may not have more than one field specified at a time"))
		}
	}
	return errs
}

func validateEnvSource(p *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	return check.All(p, name, apivalidation.NameIsDNSSubdomain(name, true))
}

// validateFileKeyVolumes checks that files with variables lie in volumes that
// the pod's own init containers can have filled.
func validateFileKeyVolumes(p *field.Path, spec *corev1.PodSpec) field.ErrorList {
	var errs field.ErrorList
	for ctr, at := range containers(spec, p) {
		for i, env := range ctr.Env {
			if env.ValueFrom == nil || env.ValueFrom.FileKeyRef == nil {
				continue
			}
			name := env.ValueFrom.FileKeyRef.VolumeName
			where := at.Child("env").Index(i).Child("valueFrom", "fileKeyRef", "volumeName")
			n := slices.IndexFunc(spec.Volumes, func(v corev1.Volume) bool { return v.Name == name })
			switch {
			case n < 0:
				errs = append(errs, field.NotFound(where, name))
			case spec.Volumes[n].EmptyDir == nil:
				errs = append(errs, field.Invalid(where, name, "referenced volume must be of type emptyDir"))
			}
		}
	}
	return errs
}
