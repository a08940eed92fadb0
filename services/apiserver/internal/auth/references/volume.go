package references

import corev1 "k8s.io/api/core/v1"

// Secret names a secret of a persistent volume.
type Secret struct{ Namespace, Name string }

// VolumeSecrets returns the secrets of a persistent volume that the kubelet
// needs to mount it; those of the controllers alone are left out.
func VolumeSecrets(pv *corev1.PersistentVolume) []Secret {
	claimNamespace := ""
	if pv.Spec.ClaimRef != nil {
		claimNamespace = pv.Spec.ClaimRef.Namespace
	}
	var out []Secret
	add := func(namespace, name string) {
		if name != "" {
			out = append(out, Secret{namespace, name})
		}
	}
	// Old volumes name a secret without its namespace: the claim's is meant.
	claims := func(r *corev1.SecretReference) {
		if r == nil {
			return
		}
		if r.Namespace == "" {
			add(claimNamespace, r.Name)
		} else {
			add(r.Namespace, r.Name)
		}
	}
	exact := func(r *corev1.SecretReference) {
		if r != nil {
			add(r.Namespace, r.Name)
		}
	}
	switch s := &pv.Spec.PersistentVolumeSource; {
	case s.AzureFile != nil:
		if n := s.AzureFile.SecretNamespace; n != nil && *n != "" {
			add(*n, s.AzureFile.SecretName)
		} else {
			add(claimNamespace, s.AzureFile.SecretName)
		}
	case s.CephFS != nil:
		claims(s.CephFS.SecretRef)
	case s.Cinder != nil:
		exact(s.Cinder.SecretRef)
	case s.FlexVolume != nil:
		claims(s.FlexVolume.SecretRef)
	case s.RBD != nil:
		claims(s.RBD.SecretRef)
	case s.ScaleIO != nil:
		claims(s.ScaleIO.SecretRef)
	case s.ISCSI != nil:
		claims(s.ISCSI.SecretRef)
	case s.StorageOS != nil:
		if r := s.StorageOS.SecretRef; r != nil {
			add(r.Namespace, r.Name)
		}
	case s.CSI != nil:
		exact(s.CSI.NodePublishSecretRef)
		exact(s.CSI.NodeStageSecretRef)
		exact(s.CSI.NodeExpandSecretRef)
	}
	return out
}
