package core

import (
	"net"
	"regexp"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
)

var (
	iscsiIQN = regexp.MustCompile(`iqn\.\d{4}-\d{2}\.([[:alnum:]-.]+)(:[^,;*&$|\s]+)$`)
	iscsiEUI = regexp.MustCompile(`^eui.[[:alnum:]]{16}$`)
	iscsiNAA = regexp.MustCompile(`^naa.[[:alnum:]]{32}$`)
)

const iscsiNameTooLong = "Total length of <volume name>:<iscsi.targetPortal> must be under 64 characters if iscsi.initiatorName is specified."

// iscsi is what the two iSCSI sources have in common.
type iscsi struct {
	portal, iqn string
	lun         int32
	chap        bool
	hasSecret   bool
	initiator   *string
	// unknownPrefix is said of a name of none of the three schemes.
	unknownPrefix string
}

func (s iscsi) validateTarget(p *field.Path) field.ErrorList {
	var errs field.ErrorList
	if s.iqn == "" {
		errs = append(errs, field.Required(p.Child("iqn"), ""))
	} else {
		errs = append(errs, s.validateName(p.Child("iqn"), s.iqn)...)
	}
	errs = append(errs, validateLun(p, s.lun)...)
	if s.chap && !s.hasSecret {
		errs = append(errs, field.Required(p.Child("secretRef"), ""))
	}
	return errs
}

func (s iscsi) validateInitiator(p *field.Path) field.ErrorList {
	if s.initiator == nil {
		return nil
	}
	return s.validateName(p.Child("initiatorname"), *s.initiator)
}

func (s iscsi) validateName(p *field.Path, name string) field.ErrorList {
	for prefix, format := range map[string]*regexp.Regexp{"iqn": iscsiIQN, "eui": iscsiEUI, "naa": iscsiNAA} {
		if !strings.HasPrefix(name, prefix) {
			continue
		}
		if format.MatchString(name) {
			return nil
		}
		return field.ErrorList{field.Invalid(p, name, "must be valid format")}
	}
	return field.ErrorList{field.Invalid(p, name, s.unknownPrefix)}
}

func validateISCSI(source *corev1.ISCSIVolumeSource) func(*field.Path) field.ErrorList {
	return func(p *field.Path) field.ErrorList {
		s := iscsi{
			portal: source.TargetPortal, iqn: source.IQN, lun: source.Lun,
			chap: source.DiscoveryCHAPAuth || source.SessionCHAPAuth, hasSecret: source.SecretRef != nil,
			initiator: source.InitiatorName, unknownPrefix: "must be valid format starting with iqn, eui, or naa",
		}
		errs := check.Set(p, "targetPortal", s.portal)
		errs = append(errs, s.validateTarget(p)...)
		return append(errs, s.validateInitiator(p)...)
	}
}

func validateISCSIPersistent(source *corev1.ISCSIPersistentVolumeSource, volume string) func(*field.Path) field.ErrorList {
	return func(p *field.Path) field.ErrorList {
		s := iscsi{
			portal: source.TargetPortal, iqn: source.IQN, lun: source.Lun,
			chap: source.DiscoveryCHAPAuth || source.SessionCHAPAuth, hasSecret: source.SecretRef != nil,
			initiator: source.InitiatorName, unknownPrefix: "must be valid format",
		}
		errs := check.Set(p, "targetPortal", s.portal)
		if s.initiator != nil && len(volume+":"+s.portal) > 64 {
			errs = append(errs, field.Invalid(p.Child("targetportal"), s.portal, iscsiNameTooLong))
		}
		errs = append(errs, s.validateTarget(p)...)
		if source.SecretRef != nil && source.SecretRef.Name == "" {
			errs = append(errs, field.Required(p.Child("secretRef", "name"), ""))
		}
		return append(errs, s.validateInitiator(p)...)
	}
}

func validateGlusterfsPersistent(source *corev1.GlusterfsPersistentVolumeSource) func(*field.Path) field.ErrorList {
	return func(p *field.Path) field.ErrorList {
		errs := check.Set(p, "endpoints", source.EndpointsName, "path", source.Path)
		switch namespace := source.EndpointsNamespace; {
		case namespace == nil:
		case *namespace == "":
			errs = append(errs, field.Invalid(p.Child("endpointsNamespace"), *namespace,
				"if the endpointnamespace is set, it must be a valid namespace name"))
		default:
			errs = append(errs, check.Name(p.Child("endpointsNamespace"), *namespace, apivalidation.ValidateNamespaceName)...)
		}
		return errs
	}
}

func validateFlocker(source *corev1.FlockerVolumeSource) func(*field.Path) field.ErrorList {
	return func(p *field.Path) field.ErrorList {
		var errs field.ErrorList
		switch {
		case source.DatasetName == "" && source.DatasetUUID == "":
			errs = append(errs, field.Required(p, "one of datasetName and datasetUUID is required"))
		case source.DatasetName != "" && source.DatasetUUID != "":
			errs = append(errs, field.Invalid(p, "resource", "datasetName and datasetUUID can not be specified simultaneously"))
		}
		if strings.Contains(source.DatasetName, "/") {
			errs = append(errs, field.Invalid(p.Child("datasetName"), source.DatasetName, "must not contain '/'"))
		}
		return errs
	}
}

func validateQuobyte(source *corev1.QuobyteVolumeSource) func(*field.Path) field.ErrorList {
	const hostPorts = "must be a host:port pair or multiple pairs separated by commas"
	return func(p *field.Path) field.ErrorList {
		var errs field.ErrorList
		switch {
		case source.Registry == "":
			errs = append(errs, field.Required(p.Child("registry"), hostPorts))
		case len(source.Tenant) >= 65:
			errs = append(errs, field.Required(p.Child("tenant"), "must be a UUID and may not exceed a length of 64 characters"))
		default:
			for hostPort := range strings.SplitSeq(source.Registry, ",") {
				if _, _, err := net.SplitHostPort(hostPort); err != nil {
					errs = append(errs, field.Invalid(p.Child("registry"), source.Registry, hostPorts))
				}
			}
		}
		return append(errs, check.Set(p, "volume", source.Volume)...)
	}
}

// validateCinder checks Cinder's two sources; a persistent volume's secret
// has a namespace, a pod volume's has none and passes nil.
func validateCinder(volumeID string, hasSecret bool, secret string, namespace *string) func(*field.Path) field.ErrorList {
	return func(p *field.Path) field.ErrorList {
		errs := check.Set(p, "volumeID", volumeID)
		return append(errs, validateOptionalSecret(p, hasSecret, secret, namespace)...)
	}
}

func validateStorageOS(volume, volumeNamespace string, hasSecret bool, secret string, namespace *string) func(*field.Path) field.ErrorList {
	return func(p *field.Path) field.ErrorList {
		var errs field.ErrorList
		if volume == "" {
			errs = append(errs, field.Required(p.Child("volumeName"), ""))
		} else {
			errs = append(errs, check.DNSLabel(p.Child("volumeName"), volume)...)
		}
		if volumeNamespace != "" {
			errs = append(errs, check.DNSLabel(p.Child("volumeNamespace"), volumeNamespace)...)
		}
		return append(errs, validateOptionalSecret(p, hasSecret, secret, namespace)...)
	}
}

func validateOptionalSecret(p *field.Path, hasSecret bool, name string, namespace *string) field.ErrorList {
	if !hasSecret {
		return nil
	}
	errs := check.Set(p.Child("secretRef"), "name", name)
	if namespace != nil {
		errs = append(errs, check.Set(p.Child("secretRef"), "namespace", *namespace)...)
	}
	return errs
}

func validateFlexVolume(driver string, options map[string]string) func(*field.Path) field.ErrorList {
	return func(p *field.Path) field.ErrorList {
		errs := check.Set(p, "driver", driver)
		for _, key := range sortedKeys(options) {
			namespace, _, _ := strings.Cut(key, "/")
			normalized := "." + strings.ToLower(namespace)
			if strings.HasSuffix(normalized, ".kubernetes.io") || strings.HasSuffix(normalized, ".k8s.io") {
				errs = append(errs, field.Invalid(p.Child("options").Key(key), key, "kubernetes.io and k8s.io namespaces are reserved"))
			}
		}
		return errs
	}
}

func validateAzureFilePersistent(source *corev1.AzureFilePersistentVolumeSource) func(*field.Path) field.ErrorList {
	return func(p *field.Path) field.ErrorList {
		errs := check.Set(p, "secretName", source.SecretName, "shareName", source.ShareName)
		if source.SecretNamespace != nil {
			errs = append(errs, check.Set(p, "secretNamespace", *source.SecretNamespace)...)
		}
		return errs
	}
}

func validateAzureDisk(source *corev1.AzureDiskVolumeSource) func(*field.Path) field.ErrorList {
	return func(p *field.Path) field.ErrorList {
		errs := check.Set(p, "diskName", source.DiskName, "diskURI", source.DataDiskURI)
		if source.CachingMode != nil {
			errs = append(errs, check.OneOf(p.Child("cachingMode"), *source.CachingMode,
				corev1.AzureDataDiskCachingNone, corev1.AzureDataDiskCachingReadOnly, corev1.AzureDataDiskCachingReadWrite)...)
		}
		if source.Kind == nil {
			return errs
		}
		errs = append(errs, check.OneOf(p.Child("kind"), *source.Kind,
			corev1.AzureDedicatedBlobDisk, corev1.AzureManagedDisk, corev1.AzureSharedBlobDisk)...)
		prefix, form := "https://", "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd"
		if *source.Kind == corev1.AzureManagedDisk {
			prefix = "/subscriptions/"
			form = "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}"
		}
		if !strings.HasPrefix(source.DataDiskURI, prefix) {
			errs = append(errs, field.NotSupported(p.Child("diskURI"), source.DataDiskURI, []string{form}))
		}
		return errs
	}
}
