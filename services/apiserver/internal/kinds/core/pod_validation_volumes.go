package core

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apivalidation "k8s.io/apimachinery/pkg/api/validation"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"coracle.local/services/apiserver/internal/kinds/check"
)

const moreThanOneVolumeType = "may not specify more than 1 volume type"

// validateVolumes returns the sources of the volumes that are right, by name,
// for the checks of what mounts them. meta is nil in a template.
func validateVolumes(p *field.Path, volumes []corev1.Volume, meta *metav1.ObjectMeta, allow Allowances) (map[string]*corev1.VolumeSource, field.ErrorList) {
	var errs field.ErrorList
	created := createdClaims(volumes, meta)
	sources := make(map[string]*corev1.VolumeSource, len(volumes))
	for i := range volumes {
		volume := &volumes[i]
		at := p.Index(i)
		found := validateVolumeSource(at, volume, meta, allow)
		if volume.Name == "" {
			found = append(found, field.Required(at.Child("name"), ""))
		} else {
			found = append(found, check.DNSLabel(at.Child("name"), volume.Name)...)
		}
		if _, ok := sources[volume.Name]; ok {
			found = append(found, field.Duplicate(at.Child("name"), volume.Name))
		}
		if len(found) == 0 {
			sources[volume.Name] = &volume.VolumeSource
		}
		errs = append(errs, found...)
		if claim := volume.PersistentVolumeClaim; claim != nil && created.Has(claim.ClaimName) {
			errs = append(errs, field.Invalid(at.Child("persistentVolumeClaim", "claimName"), claim.ClaimName,
				"must not reference a PVC that gets created for an ephemeral volume"))
		}
	}
	return sources, errs
}

// createdClaims are the names of the claims that come with the pod. A pod
// without a name has none that could be known.
func createdClaims(volumes []corev1.Volume, meta *metav1.ObjectMeta) sets.Set[string] {
	created := sets.Set[string]{}
	if meta == nil || meta.Name == "" {
		return created
	}
	for i := range volumes {
		if volumes[i].Ephemeral != nil {
			created.Insert(meta.Name + "-" + volumes[i].Name)
		}
	}
	return created
}

func validateVolumeSource(p *field.Path, volume *corev1.Volume, meta *metav1.ObjectMeta, allow Allowances) field.ErrorList {
	s := &volume.VolumeSource
	u := check.NewUnion(p, moreThanOneVolumeType)
	u.Member(s.EmptyDir != nil, "emptyDir", func(p *field.Path) field.ErrorList { return validateEmptyDir(p, s.EmptyDir) })
	u.Member(s.HostPath != nil, "hostPath", validateHostPath(s.HostPath))
	u.Member(s.GitRepo != nil, "gitRepo", func(p *field.Path) field.ErrorList {
		return append(check.Set(p, "repository", s.GitRepo.Repository), check.Descending(p.Child("directory"), s.GitRepo.Directory)...)
	})
	if d := s.GCEPersistentDisk; d != nil {
		u.Renamed(true, "gcePersistentDisk", "persistentDisk", validateDisk("pdName", d.PDName, d.Partition))
	}
	if d := s.AWSElasticBlockStore; d != nil {
		u.Member(true, "awsElasticBlockStore", validateDisk("volumeID", d.VolumeID, d.Partition))
	}
	u.Member(s.Secret != nil, "secret", func(p *field.Path) field.ErrorList {
		errs := check.Set(p, "secretName", s.Secret.SecretName)
		errs = append(errs, check.FileMode(p.Child("defaultMode"), s.Secret.DefaultMode)...)
		errs = append(errs, check.FileUser(p.Child("defaultUser"), s.Secret.DefaultUser)...)
		return append(errs, validateItems(p, s.Secret.Items)...)
	})
	u.Member(s.NFS != nil, "nfs", validateNFS(s.NFS))
	u.Member(s.ISCSI != nil, "iscsi", validateISCSI(s.ISCSI))
	if s.ISCSI != nil && s.ISCSI.InitiatorName != nil && len(volume.Name+":"+s.ISCSI.TargetPortal) > 64 {
		u.Add(field.Invalid(p.Child("name"), volume.Name, iscsiNameTooLong))
	}
	validateVolumeSourceMore(u, s)
	u.Member(s.Projected != nil, "projected", func(p *field.Path) field.ErrorList { return validateProjected(p, s.Projected, allow) })
	if v := s.ScaleIO; v != nil {
		u.Member(true, "scaleIO", validateSet("gateway", v.Gateway, "system", v.System, "volumeName", v.VolumeName))
	}
	u.Member(s.CSI != nil, "csi", validateCSIVolume(s.CSI))
	u.Member(s.Ephemeral != nil, "ephemeral", func(p *field.Path) field.ErrorList { return validateEphemeral(p, s.Ephemeral) })
	if s.Ephemeral != nil && meta != nil && meta.Name != "" && volume.Name != "" {
		claim := meta.Name + "-" + volume.Name
		for _, message := range apivalidation.NameIsDNSSubdomain(claim, false) {
			u.Add(field.Invalid(p.Child("name"), volume.Name, fmt.Sprintf("PVC name %q: %v", claim, message)))
		}
	}
	u.Member(s.Image != nil, "image", func(p *field.Path) field.ErrorList { return validateImageVolume(p, s.Image, allow) })
	return u.Errors("must specify a volume type")
}

// validateVolumeSourceMore continues the union with the sources that
// mostly belong to one storage product.
func validateVolumeSourceMore(u *check.Union, s *corev1.VolumeSource) {
	if v := s.Glusterfs; v != nil {
		u.Member(true, "glusterfs", validateSet("endpoints", v.EndpointsName, "path", v.Path))
	}
	u.Member(s.Flocker != nil, "flocker", validateFlocker(s.Flocker))
	if v := s.PersistentVolumeClaim; v != nil {
		u.Member(true, "persistentVolumeClaim", validateSet("claimName", v.ClaimName))
	}
	if v := s.RBD; v != nil {
		u.Member(true, "rbd", validateMonitors(v.CephMonitors, "image", v.RBDImage))
	}
	if v := s.Cinder; v != nil {
		u.Member(true, "cinder", validateCinder(v.VolumeID, v.SecretRef != nil, localName(v.SecretRef), nil))
	}
	if v := s.CephFS; v != nil {
		u.Renamed(true, "cephFS", "cephfs", validateMonitors(v.Monitors))
	}
	u.Member(s.Quobyte != nil, "quobyte", validateQuobyte(s.Quobyte))
	u.Renamed(s.DownwardAPI != nil, "downwarAPI", "downwardAPI", func(p *field.Path) field.ErrorList {
		return validateDownwardAPIVolume(p, s.DownwardAPI)
	})
	u.Member(s.FC != nil, "fc", validateFibreChannel(s.FC))
	if v := s.FlexVolume; v != nil {
		u.Member(true, "flexVolume", validateFlexVolume(v.Driver, v.Options))
	}
	u.Member(s.ConfigMap != nil, "configMap", func(p *field.Path) field.ErrorList {
		errs := check.Set(p, "name", s.ConfigMap.Name)
		errs = append(errs, check.FileMode(p.Child("defaultMode"), s.ConfigMap.DefaultMode)...)
		errs = append(errs, check.FileUser(p.Child("defaultUser"), s.ConfigMap.DefaultUser)...)
		return append(errs, validateItems(p, s.ConfigMap.Items)...)
	})
	if v := s.AzureFile; v != nil {
		u.Member(true, "azureFile", validateSet("secretName", v.SecretName, "shareName", v.ShareName))
	}
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
	if v := s.StorageOS; v != nil {
		u.Member(true, "storageos", validateStorageOS(v.VolumeName, v.VolumeNamespace, v.SecretRef != nil, localName(v.SecretRef), nil))
	}
}

func localName(ref *corev1.LocalObjectReference) string {
	if ref == nil {
		return ""
	}
	return ref.Name
}

func validateEmptyDir(p *field.Path, source *corev1.EmptyDirVolumeSource) field.ErrorList {
	if source.SizeLimit != nil && source.SizeLimit.Sign() < 0 {
		return field.ErrorList{field.Forbidden(p.Child("sizeLimit"), "SizeLimit field must be a valid resource quantity")}
	}
	return nil
}

func validateImageVolume(p *field.Path, source *corev1.ImageVolumeSource, allow Allowances) field.ErrorList {
	var errs field.ErrorList
	if source.Reference == "" && !allow.EmptyImageReference {
		errs = append(errs, field.Required(p.Child("reference"), ""))
	}
	return append(errs, validatePullPolicy(p.Child("pullPolicy"), source.PullPolicy)...)
}

func validateEphemeral(p *field.Path, source *corev1.EphemeralVolumeSource) field.ErrorList {
	at := p.Child("volumeClaimTemplate")
	if source.VolumeClaimTemplate == nil {
		return field.ErrorList{field.Required(at, "")}
	}
	errs := validateTemplateMeta(at.Child("metadata"), &source.VolumeClaimTemplate.ObjectMeta)
	return append(errs, validateClaimSpec(at.Child("spec"), &source.VolumeClaimTemplate.Spec, claimAllowances{})...)
}
