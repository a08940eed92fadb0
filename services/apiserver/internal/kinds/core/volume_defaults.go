package core

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/utils/ptr"
)

const volumeFileMode = 0o644

func defaultVolume(volume *corev1.Volume) {
	s := &volume.VolumeSource
	if *s == (corev1.VolumeSource{}) {
		s.EmptyDir = &corev1.EmptyDirVolumeSource{}
	}
	// A volume that wrongly has several sources has the defaults of each.
	if s.Secret != nil {
		setMode(&s.Secret.DefaultMode)
	}
	if s.ConfigMap != nil {
		setMode(&s.ConfigMap.DefaultMode)
	}
	if s.DownwardAPI != nil {
		setMode(&s.DownwardAPI.DefaultMode)
		defaultDownwardFiles(s.DownwardAPI.Items)
	}
	if s.Projected != nil {
		defaultProjected(s.Projected)
	}
	if s.HostPath != nil {
		defaultHostPath(s.HostPath)
	}
	if s.Ephemeral != nil && s.Ephemeral.VolumeClaimTemplate != nil {
		defaultClaimSpec(&s.Ephemeral.VolumeClaimTemplate.Spec)
	}
	if s.Image != nil && s.Image.PullPolicy == "" {
		s.Image.PullPolicy = pullPolicy(s.Image.Reference)
	}
	defaultVendorVolume(s)
}

func defaultVendorVolume(s *corev1.VolumeSource) {
	if s.ISCSI != nil {
		setIfEmpty(&s.ISCSI.ISCSIInterface, "default")
	}
	if s.RBD != nil {
		defaultRBD(&s.RBD.RBDPool, &s.RBD.RadosUser, &s.RBD.Keyring)
	}
	if s.AzureDisk != nil {
		defaultAzureDisk(s.AzureDisk)
	}
	if s.ScaleIO != nil {
		setIfEmpty(&s.ScaleIO.StorageMode, "ThinProvisioned")
		setIfEmpty(&s.ScaleIO.FSType, "xfs")
	}
}

func setMode(mode **int32) {
	if *mode == nil {
		*mode = ptr.To[int32](volumeFileMode)
	}
}

func defaultDownwardFiles(files []corev1.DownwardAPIVolumeFile) {
	for i := range files {
		if files[i].FieldRef != nil {
			setIfEmpty(&files[i].FieldRef.APIVersion, "v1")
		}
	}
}

func defaultProjected(source *corev1.ProjectedVolumeSource) {
	setMode(&source.DefaultMode)
	for i := range source.Sources {
		if files := source.Sources[i].DownwardAPI; files != nil {
			defaultDownwardFiles(files.Items)
		}
		if token := source.Sources[i].ServiceAccountToken; token != nil && token.ExpirationSeconds == nil {
			token.ExpirationSeconds = ptr.To[int64](tokenSeconds)
		}
	}
}

func defaultHostPath(source *corev1.HostPathVolumeSource) {
	if source.Type == nil {
		source.Type = ptr.To(corev1.HostPathUnset)
	}
}

func defaultRBD(pool, user, keyring *string) {
	setIfEmpty(pool, "rbd")
	setIfEmpty(user, "admin")
	setIfEmpty(keyring, "/etc/ceph/keyring")
}

func defaultAzureDisk(source *corev1.AzureDiskVolumeSource) {
	if source.CachingMode == nil {
		source.CachingMode = ptr.To(corev1.AzureDataDiskCachingReadWrite)
	}
	if source.Kind == nil {
		source.Kind = ptr.To(corev1.AzureSharedBlobDisk)
	}
	if source.FSType == nil {
		source.FSType = ptr.To("ext4")
	}
	if source.ReadOnly == nil {
		source.ReadOnly = ptr.To(false)
	}
}
