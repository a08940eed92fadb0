package core

import (
	"fmt"
	"path"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
)

const notInline = "may not be specified in the context of inline volumes"

func validatePersistentVolume(v *corev1.PersistentVolume, lenient bool) field.ErrorList {
	errs := ValidatePersistentVolumeSpec(specPath, &v.Spec, v.Name, false, lenient)
	return append(errs, validateMountOptionsAnnotation(v)...)
}

// validateMountOptionsAnnotation knows which sources took options from an
// annotation, before there was a field.
func validateMountOptionsAnnotation(v *corev1.PersistentVolume) field.ErrorList {
	s := &v.Spec
	if _, set := v.Annotations[corev1.MountOptionAnnotation]; !set || s.GCEPersistentDisk != nil || s.AWSElasticBlockStore != nil ||
		s.Glusterfs != nil || s.NFS != nil || s.RBD != nil || s.Quobyte != nil || s.ISCSI != nil || s.Cinder != nil || s.CephFS != nil ||
		s.AzureFile != nil || s.VsphereVolume != nil || s.AzureDisk != nil || s.PhotonPersistentDisk != nil {
		return nil
	}
	return field.ErrorList{field.Forbidden(metadataPath.Child("annotations", corev1.MountOptionAnnotation), "may not specify mount options for this volume type")}
}

// ValidatePersistentVolumeSpec checks a volume's spec. Inline is a spec that
// stands in a volume attachment, where only a CSI source makes sense; lenient
// lets label values through that are none.
func ValidatePersistentVolumeSpec(p *field.Path, spec *corev1.PersistentVolumeSpec, name string, inline, lenient bool) field.ErrorList {
	var errs field.ErrorList
	if inline {
		if spec.ClaimRef != nil {
			errs = append(errs, field.Forbidden(p.Child("claimRef"), notInline))
		}
		if len(spec.Capacity) > 0 {
			errs = append(errs, field.Forbidden(p.Child("capacity"), notInline))
		}
		if spec.CSI == nil {
			errs = append(errs, field.Required(p.Child("csi"), "has to be specified in the context of inline volumes"))
		}
	}
	if len(spec.AccessModes) == 0 {
		errs = append(errs, field.Required(p.Child("accessModes"), ""))
	}
	errs = append(errs, validateAccessModes(p.Child("accessModes"), spec.AccessModes)...)
	if !inline {
		errs = append(errs, validateCapacity(p.Child("capacity"), spec.Capacity)...)
	}
	errs = append(errs, validateReclaimPolicy(p.Child("persistentVolumeReclaimPolicy"), spec.PersistentVolumeReclaimPolicy, inline)...)
	if spec.NodeAffinity != nil {
		at := p.Child("nodeAffinity")
		switch {
		case inline:
			errs = append(errs, field.Forbidden(at, notInline))
		case spec.NodeAffinity.Required == nil:
			errs = append(errs, field.Required(at.Child("required"), "must specify required node constraints"))
		default:
			errs = append(errs, validateNodeSelector(at.Child("required"), spec.NodeAffinity.Required, lenient)...)
		}
	}
	errs = append(errs, validatePersistentSource(p, spec, name, inline)...)
	if spec.HostPath != nil && path.Clean(spec.HostPath.Path) == "/" && spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimRecycle {
		errs = append(errs, field.Forbidden(p.Child("persistentVolumeReclaimPolicy"), "may not be 'recycle' for a hostPath mount of '/'"))
	}
	return append(errs, validateVolumeClasses(p, spec, inline)...)
}

func validateCapacity(p *field.Path, capacity corev1.ResourceList) field.ErrorList {
	var errs field.ErrorList
	if len(capacity) == 0 {
		errs = append(errs, field.Required(p, ""))
	}
	if _, set := capacity[corev1.ResourceStorage]; !set || len(capacity) > 1 {
		errs = append(errs, field.NotSupported(p, capacity, []corev1.ResourceName{corev1.ResourceStorage}))
	}
	for _, name := range sortedKeys(capacity) {
		errs = append(errs, validateSizes(p, corev1.ResourceList{name: capacity[name]})...)
		errs = append(errs, check.QuantityPositive(p.Key(string(name)), capacity[name])...)
	}
	return errs
}

func validateReclaimPolicy(p *field.Path, policy corev1.PersistentVolumeReclaimPolicy, inline bool) field.ErrorList {
	switch {
	case policy == "":
		return nil
	case !inline:
		return check.OneOf(p, policy, corev1.PersistentVolumeReclaimDelete, corev1.PersistentVolumeReclaimRecycle, corev1.PersistentVolumeReclaimRetain)
	case policy != corev1.PersistentVolumeReclaimRetain:
		return field.ErrorList{field.Forbidden(p, "may only be "+string(corev1.PersistentVolumeReclaimRetain)+" in the context of inline volumes")}
	}
	return nil
}

func validateVolumeClasses(p *field.Path, spec *corev1.PersistentVolumeSpec, inline bool) field.ErrorList {
	var errs field.ErrorList
	switch {
	case spec.StorageClassName == "":
	case inline:
		errs = append(errs, field.Forbidden(p.Child("storageClassName"), notInline))
	default:
		errs = append(errs, check.Name(p.Child("storageClassName"), spec.StorageClassName, apivalidation.NameIsDNSSubdomain)...)
	}
	switch mode := spec.VolumeMode; {
	case mode == nil:
	case !inline:
		errs = append(errs, check.OneOf(p.Child("volumeMode"), *mode, corev1.PersistentVolumeBlock, corev1.PersistentVolumeFilesystem)...)
	case *mode != corev1.PersistentVolumeFilesystem:
		errs = append(errs, field.Forbidden(p.Child("volumeMode"),
			"may not specify volumeMode other than "+string(corev1.PersistentVolumeFilesystem)+" in the context of inline volumes"))
	}
	if class := spec.VolumeAttributesClassName; class != nil {
		at := p.Child("volumeAttributesClassName")
		if *class == "" {
			errs = append(errs, field.Required(at, "an empty string is disallowed"))
		} else {
			errs = append(errs, check.Name(at, *class, apivalidation.NameIsDNSSubdomain)...)
		}
		if spec.CSI == nil {
			errs = append(errs, field.Required(p.Child("csi"), "has to be specified when using volumeAttributesClassName"))
		}
	}
	return errs
}

func validatePersistentSource(p *field.Path, spec *corev1.PersistentVolumeSpec, name string, inline bool) field.ErrorList {
	s := &spec.PersistentVolumeSource
	u := check.NewUnion(p, moreThanOneVolumeType)
	u.Member(s.HostPath != nil, "hostPath", validateHostPath(s.HostPath))
	if d := s.GCEPersistentDisk; d != nil {
		u.Renamed(true, "gcePersistentDisk", "persistentDisk", validateDisk("pdName", d.PDName, d.Partition))
	}
	if d := s.AWSElasticBlockStore; d != nil {
		u.Member(true, "awsElasticBlockStore", validateDisk("volumeID", d.VolumeID, d.Partition))
	}
	u.Member(s.Glusterfs != nil, "glusterfs", validateGlusterfsPersistent(s.Glusterfs))
	u.Member(s.Flocker != nil, "flocker", validateFlocker(s.Flocker))
	u.Member(s.NFS != nil, "nfs", validateNFS(s.NFS))
	if v := s.RBD; v != nil {
		u.Member(true, "rbd", validateMonitors(v.CephMonitors, "image", v.RBDImage))
	}
	u.Member(s.Quobyte != nil, "quobyte", validateQuobyte(s.Quobyte))
	if v := s.CephFS; v != nil {
		u.Renamed(true, "cephFS", "cephfs", validateMonitors(v.Monitors))
	}
	u.Member(s.ISCSI != nil, "iscsi", validateISCSIPersistent(s.ISCSI, name))
	if v := s.Cinder; v != nil {
		secret, namespace := secretName(v.SecretRef)
		u.Member(true, "cinder", validateCinder(v.VolumeID, v.SecretRef != nil, secret, &namespace))
	}
	u.Member(s.FC != nil, "fc", validateFibreChannel(s.FC))
	validatePersistentSourceMore(u, s)
	u.Member(s.Local != nil, "local", func(local *field.Path) field.ErrorList {
		errs := check.NoBacksteps(local.Child("path"), s.Local.Path)
		if s.Local.Path == "" {
			errs = field.ErrorList{field.Required(local.Child("path"), "")}
		}
		if spec.NodeAffinity == nil || inline {
			errs = append(errs, field.Required(p.Child("nodeAffinity"), "Local volume requires node affinity"))
		}
		return errs
	})
	if v := s.StorageOS; v != nil {
		name, namespace := "", ""
		if v.SecretRef != nil {
			name, namespace = v.SecretRef.Name, v.SecretRef.Namespace
		}
		u.Member(true, "storageos", validateStorageOS(v.VolumeName, v.VolumeNamespace, v.SecretRef != nil, name, &namespace))
	}
	u.Member(s.CSI != nil, "csi", validateCSIPersistent(s.CSI))
	return u.Errors("must specify a volume type")
}

// validatePersistentSourceMore continues the union with sources of products.
func validatePersistentSourceMore(u *check.Union, s *corev1.PersistentVolumeSource) {
	if v := s.FlexVolume; v != nil {
		// Upstream does not mind another member before this one.
		u.Besides("flexVolume", validateFlexVolume(v.Driver, v.Options))
	}
	u.Member(s.AzureFile != nil, "azureFile", validateAzureFilePersistent(s.AzureFile))
	if v := s.VsphereVolume; v != nil {
		u.Member(true, "vsphereVolume", validateSet("volumePath", v.VolumePath))
	}
	if v := s.PhotonPersistentDisk; v != nil {
		u.Member(true, "photonPersistentDisk", validateSet("pdID", v.PdID))
	}
	if v := s.PortworxVolume; v != nil {
		u.Member(true, "portworxVolume", validateSet("volumeID", v.VolumeID))
	}
	u.Member(s.AzureDisk != nil, "azureDisk", validateAzureDisk(s.AzureDisk))
	if v := s.ScaleIO; v != nil {
		u.Member(true, "scaleIO", validateSet("gateway", v.Gateway, "system", v.System, "volumeName", v.VolumeName))
	}
}

func secretName(ref *corev1.SecretReference) (name, namespace string) {
	if ref == nil {
		return "", ""
	}
	return ref.Name, ref.Namespace
}

func validatePersistentVolumeUpdate(v, old *corev1.PersistentVolume) field.ErrorList {
	lenient := old.Spec.NodeAffinity != nil && old.Spec.NodeAffinity.Required != nil && hasInvalidLabelValues(old.Spec.NodeAffinity.Required)
	errs := validatePersistentVolume(v, lenient)
	errs = append(errs, ValidatePersistentVolumeSpec(specPath, &v.Spec, v.Name, false, lenient)...)
	source := v.Spec.PersistentVolumeSource.DeepCopy()
	if was := old.Spec.CSI; was != nil && was.ControllerExpandSecretRef == nil && source.CSI != nil {
		// The secret for growing the volume may be added later.
		source.CSI.ControllerExpandSecretRef = nil
	}
	if !equality.Semantic.DeepEqual(*source, old.Spec.PersistentVolumeSource) {
		errs = append(errs, field.Forbidden(specPath.Child("persistentvolumesource"),
			fmt.Sprintf("spec.persistentvolumesource is immutable after creation\n%v", check.Diff(old.Spec.PersistentVolumeSource, *source))))
	}
	errs = append(errs, check.Unchanged(field.NewPath("volumeMode"), v.Spec.VolumeMode, old.Spec.VolumeMode)...)
	if old.Spec.NodeAffinity != nil && !sameButForGA(v.Spec.NodeAffinity, old.Spec.NodeAffinity) {
		errs = append(errs, field.Invalid(field.NewPath("nodeAffinity"), check.Internal(v.Spec.NodeAffinity), check.Immutable+", except for updating from beta label to GA"))
	}
	if old.Spec.VolumeAttributesClassName != nil && v.Spec.VolumeAttributesClassName == nil {
		errs = append(errs, field.Forbidden(specPath.Child("volumeAttributesClassName"), "update from non-nil value to nil is forbidden"))
	}
	return errs
}

// stableLabels are the present names of labels that had others.
var stableLabels = map[string]string{
	corev1.LabelFailureDomainBetaZone:   corev1.LabelTopologyZone,
	corev1.LabelFailureDomainBetaRegion: corev1.LabelTopologyRegion,
	"beta.kubernetes.io/os":             corev1.LabelOSStable,
	"beta.kubernetes.io/arch":           corev1.LabelArchStable,
	corev1.LabelInstanceType:            corev1.LabelInstanceTypeStable,
}

// sameButForGA lets a volume's affinity be rewritten from labels that went
// out of use to those that replaced them.
func sameButForGA(affinity, old *corev1.VolumeNodeAffinity) bool {
	old = old.DeepCopy()
	if affinity != nil && affinity.Required != nil && old.Required != nil {
		is := affinity.Required.NodeSelectorTerms
		for i := range min(len(is), len(old.Required.NodeSelectorTerms)) {
			adoptStable(is[i].MatchExpressions, old.Required.NodeSelectorTerms[i].MatchExpressions)
			adoptStable(is[i].MatchFields, old.Required.NodeSelectorTerms[i].MatchFields)
		}
	}
	return equality.Semantic.DeepEqual(affinity, old)
}

func adoptStable(list, old []corev1.NodeSelectorRequirement) {
	for i := range min(len(list), len(old)) {
		if stable := stableLabels[old[i].Key]; stable != "" && stable == list[i].Key {
			old[i].Key = stable
		}
	}
}
