package core

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
)

// The rules in this file and in volume_sources_vendor.go hold for volumes of
// pods and for persistent volumes alike.

func validateHostPath(source *corev1.HostPathVolumeSource) func(*field.Path) field.ErrorList {
	return func(p *field.Path) field.ErrorList {
		if source.Path == "" {
			return field.ErrorList{field.Required(p.Child("path"), "")}
		}
		errs := check.NoBacksteps(p.Child("path"), source.Path)
		if source.Type != nil {
			errs = append(errs, check.OneOf(p.Child("type"), *source.Type,
				corev1.HostPathUnset, corev1.HostPathBlockDev, corev1.HostPathCharDev, corev1.HostPathDirectory,
				corev1.HostPathDirectoryOrCreate, corev1.HostPathFile, corev1.HostPathFileOrCreate, corev1.HostPathSocket)...)
		}
		return errs
	}
}

func validateNFS(source *corev1.NFSVolumeSource) func(*field.Path) field.ErrorList {
	return func(p *field.Path) field.ErrorList {
		errs := check.Set(p, "server", source.Server, "path", source.Path)
		if !strings.HasPrefix(source.Path, "/") {
			errs = append(errs, field.Invalid(p.Child("path"), source.Path, "must be an absolute path"))
		}
		return errs
	}
}

func validateFibreChannel(source *corev1.FCVolumeSource) func(*field.Path) field.ErrorList {
	return func(p *field.Path) field.ErrorList {
		var errs field.ErrorList
		names, ids := len(source.TargetWWNs), len(source.WWIDs)
		switch {
		case names == 0 && ids == 0:
			errs = append(errs, field.Required(p.Child("targetWWNs"), "must specify either targetWWNs or wwids, but not both"))
		case names != 0 && ids != 0:
			errs = append(errs, field.Invalid(p.Child("targetWWNs"), source.TargetWWNs, "targetWWNs and wwids can not be specified simultaneously"))
		}
		switch {
		case names == 0:
		case source.Lun == nil:
			errs = append(errs, field.Required(p.Child("lun"), "lun is required if targetWWNs is specified"))
		default:
			errs = append(errs, validateLun(p, *source.Lun)...)
		}
		return errs
	}
}

func validateLun(p *field.Path, lun int32) field.ErrorList {
	if lun >= 0 && lun <= 255 {
		return nil
	}
	return field.ErrorList{field.Invalid(p.Child("lun"), lun, validation.InclusiveRangeError(0, 255))}
}

// validateDisk is for the cloud disks that have a name and a partition.
func validateDisk(child, id string, partition int32) func(*field.Path) field.ErrorList {
	return func(p *field.Path) field.ErrorList {
		errs := check.Set(p, child, id)
		if partition < 0 || partition > 255 {
			errs = append(errs, field.Invalid(p.Child("partition"), partition, validation.InclusiveRangeError(1, 255)))
		}
		return errs
	}
}

// validateSet is for sources of which nothing is checked but that some
// strings are there.
func validateSet(childAndValue ...string) func(*field.Path) field.ErrorList {
	return func(p *field.Path) field.ErrorList { return check.Set(p, childAndValue...) }
}

// validateMonitors is for Ceph, whose first field is a list.
func validateMonitors(monitors []string, childAndValue ...string) func(*field.Path) field.ErrorList {
	return func(p *field.Path) field.ErrorList {
		var errs field.ErrorList
		if len(monitors) == 0 {
			errs = append(errs, field.Required(p.Child("monitors"), ""))
		}
		return append(errs, check.Set(p, childAndValue...)...)
	}
}

// ValidateCSIDriverName checks the name by which a driver registers.
func ValidateCSIDriverName(p *field.Path, name string) field.ErrorList {
	if name == "" {
		return field.ErrorList{field.Required(p, "")}
	}
	var errs field.ErrorList
	if len(name) > 63 {
		errs = append(errs, field.TooLong(p, "", 63))
	}
	return append(errs, check.All(p, name, validation.IsDNS1123Subdomain(strings.ToLower(name)))...)
}

func validateCSIVolume(source *corev1.CSIVolumeSource) func(*field.Path) field.ErrorList {
	return func(p *field.Path) field.ErrorList {
		errs := ValidateCSIDriverName(p.Child("driver"), source.Driver)
		if ref := source.NodePublishSecretRef; ref != nil {
			if ref.Name == "" {
				return append(errs, field.Required(p.Child("nodePublishSecretRef", "name"), ""))
			}
			errs = append(errs, check.Name(p.Child("name"), ref.Name, apivalidation.NameIsDNSSubdomain)...)
		}
		return errs
	}
}

func validateCSIPersistent(source *corev1.CSIPersistentVolumeSource) func(*field.Path) field.ErrorList {
	return func(p *field.Path) field.ErrorList {
		errs := ValidateCSIDriverName(p.Child("driver"), source.Driver)
		errs = append(errs, check.Set(p, "volumeHandle", source.VolumeHandle)...)
		for _, ref := range []struct {
			child  string
			secret *corev1.SecretReference
		}{
			{"controllerPublishSecretRef", source.ControllerPublishSecretRef},
			{"controllerExpandSecretRef", source.ControllerExpandSecretRef},
			{"nodePublishSecretRef", source.NodePublishSecretRef},
			{"nodeExpandSecretRef", source.NodeExpandSecretRef},
		} {
			if ref.secret != nil {
				errs = append(errs, validateSecretReference(p.Child(ref.child), ref.secret)...)
			}
		}
		return errs
	}
}

func validateSecretReference(p *field.Path, ref *corev1.SecretReference) field.ErrorList {
	var errs field.ErrorList
	if ref.Name == "" {
		errs = append(errs, field.Required(p.Child("name"), ""))
	} else {
		errs = append(errs, check.DNSSubdomain(p.Child("name"), ref.Name)...)
	}
	if ref.Namespace == "" {
		return append(errs, field.Required(p.Child("namespace"), ""))
	}
	return append(errs, check.DNSLabel(p.Child("namespace"), ref.Namespace)...)
}
