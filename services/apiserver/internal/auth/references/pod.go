// Package references finds the objects that a pod or a volume refers to, which
// is what decides about the kubelet's access and about mirror pods.
package references

import (
	"fmt"
	"iter"

	corev1 "k8s.io/api/core/v1"
)

// Containers goes over all containers of a pod: init, ordinary, ephemeral.
func Containers(spec *corev1.PodSpec) iter.Seq[*corev1.Container] {
	return func(yield func(*corev1.Container) bool) {
		for i := range spec.InitContainers {
			if !yield(&spec.InitContainers[i]) {
				return
			}
		}
		for i := range spec.Containers {
			if !yield(&spec.Containers[i]) {
				return
			}
		}
		for i := range spec.EphemeralContainers {
			if !yield((*corev1.Container)(&spec.EphemeralContainers[i].EphemeralContainerCommon)) {
				return
			}
		}
	}
}

// Secrets goes over the names of the secrets that a pod refers to itself, not
// through its claims. A name may come more than once.
func Secrets(pod *corev1.Pod) iter.Seq[string] {
	return named(func(visit func(string)) {
		for _, reference := range pod.Spec.ImagePullSecrets {
			visit(reference.Name)
		}
		for c := range Containers(&pod.Spec) {
			for i := range c.EnvFrom {
				if r := c.EnvFrom[i].SecretRef; r != nil {
					visit(r.Name)
				}
			}
			for i := range c.Env {
				if from := c.Env[i].ValueFrom; from != nil && from.SecretKeyRef != nil {
					visit(from.SecretKeyRef.Name)
				}
			}
		}
		for i := range pod.Spec.Volumes {
			volumeSecrets(&pod.Spec.Volumes[i].VolumeSource, visit)
		}
	})
}

func volumeSecrets(v *corev1.VolumeSource, visit func(string)) {
	local := func(r *corev1.LocalObjectReference) {
		if r != nil {
			visit(r.Name)
		}
	}
	switch {
	case v.AzureFile != nil:
		visit(v.AzureFile.SecretName)
	case v.CephFS != nil:
		local(v.CephFS.SecretRef)
	case v.Cinder != nil:
		local(v.Cinder.SecretRef)
	case v.FlexVolume != nil:
		local(v.FlexVolume.SecretRef)
	case v.Projected != nil:
		for i := range v.Projected.Sources {
			if s := v.Projected.Sources[i].Secret; s != nil {
				visit(s.Name)
			}
		}
	case v.RBD != nil:
		local(v.RBD.SecretRef)
	case v.Secret != nil:
		visit(v.Secret.SecretName)
	case v.ScaleIO != nil:
		local(v.ScaleIO.SecretRef)
	case v.ISCSI != nil:
		local(v.ISCSI.SecretRef)
	case v.StorageOS != nil:
		local(v.StorageOS.SecretRef)
	case v.CSI != nil:
		local(v.CSI.NodePublishSecretRef)
	}
}

// ConfigMaps goes over the names of the config maps that a pod refers to.
func ConfigMaps(pod *corev1.Pod) iter.Seq[string] {
	return named(func(visit func(string)) {
		for c := range Containers(&pod.Spec) {
			for i := range c.EnvFrom {
				if r := c.EnvFrom[i].ConfigMapRef; r != nil {
					visit(r.Name)
				}
			}
			for i := range c.Env {
				if from := c.Env[i].ValueFrom; from != nil && from.ConfigMapKeyRef != nil {
					visit(from.ConfigMapKeyRef.Name)
				}
			}
		}
		for i := range pod.Spec.Volumes {
			v := &pod.Spec.Volumes[i].VolumeSource
			switch {
			case v.Projected != nil:
				for j := range v.Projected.Sources {
					if m := v.Projected.Sources[j].ConfigMap; m != nil {
						visit(m.Name)
					}
				}
			case v.ConfigMap != nil:
				visit(v.ConfigMap.Name)
			}
		}
	})
}

// VolumeClaims goes over the names of the persistent volume claims that a pod
// uses, those of its ephemeral volumes among them.
func VolumeClaims(pod *corev1.Pod) iter.Seq[string] {
	return named(func(visit func(string)) {
		for i := range pod.Spec.Volumes {
			v := &pod.Spec.Volumes[i]
			switch {
			case v.PersistentVolumeClaim != nil:
				visit(v.PersistentVolumeClaim.ClaimName)
			case v.Ephemeral != nil:
				visit(pod.Name + "-" + v.Name)
			}
		}
	})
}

// ResourceClaims goes over the names of the resource claims that exist for a
// pod; claims that are still to be made from a template are left out.
func ResourceClaims(pod *corev1.Pod) iter.Seq[string] {
	return named(func(visit func(string)) {
		for i := range pod.Spec.ResourceClaims {
			claim := &pod.Spec.ResourceClaims[i]
			switch {
			case claim.ResourceClaimName != nil:
				visit(*claim.ResourceClaimName)
			case claim.ResourceClaimTemplateName != nil:
				for _, s := range pod.Status.ResourceClaimStatuses {
					if s.Name == claim.Name && s.ResourceClaimName != nil {
						visit(*s.ResourceClaimName)
					}
				}
			}
		}
		if s := pod.Status.ExtendedResourceClaimStatus; s != nil {
			visit(s.ResourceClaimName)
		}
	})
}

// named makes a sequence of what walk visits, without empty names and without
// a walk having to know of an early end: pods are small.
func named(walk func(visit func(string))) iter.Seq[string] {
	return func(yield func(string) bool) {
		done := false
		walk(func(name string) {
			if !done && name != "" {
				done = !yield(name)
			}
		})
	}
}

// Any tells whether a sequence has an element.
func Any(seq iter.Seq[string]) bool {
	for range seq {
		return true
	}
	return false
}

// Foreign names the first kind of API object a pod refers to, empty if it
// stands alone as a mirror pod must. An unknown volume is an error: it could
// refer to anything.
func Foreign(pod *corev1.Pod) (string, error) {
	switch {
	case pod.Spec.ServiceAccountName != "":
		return "serviceaccounts", nil
	case Any(Secrets(pod)):
		return "secrets", nil
	case Any(ConfigMaps(pod)):
		return "configmaps", nil
	case len(pod.Spec.ResourceClaims) > 0:
		return "resourceclaims", nil
	}
	for i := range pod.Spec.Volumes {
		if what, err := foreignVolume(&pod.Spec.Volumes[i]); what != "" || err != nil {
			return what, err
		}
	}
	return "", nil
}

func foreignVolume(v *corev1.Volume) (string, error) {
	switch {
	case v.AWSElasticBlockStore != nil, v.AzureDisk != nil, v.CephFS != nil, v.Cinder != nil,
		v.DownwardAPI != nil, v.EmptyDir != nil, v.FC != nil, v.FlexVolume != nil, v.Flocker != nil,
		v.GCEPersistentDisk != nil, v.GitRepo != nil, v.HostPath != nil, v.Image != nil, v.ISCSI != nil,
		v.NFS != nil, v.PhotonPersistentDisk != nil, v.PortworxVolume != nil, v.Quobyte != nil,
		v.RBD != nil, v.ScaleIO != nil, v.StorageOS != nil, v.VsphereVolume != nil:
		return "", nil
	case v.ConfigMap != nil:
		return "configmaps (via configmap volumes)", nil
	case v.Secret != nil:
		return "secrets (via secret volumes)", nil
	case v.CSI != nil:
		return "csidrivers (via CSI volumes)", nil
	case v.Glusterfs != nil:
		return "endpoints (via glusterFS volumes)", nil
	case v.PersistentVolumeClaim != nil:
		return "persistentvolumeclaims", nil
	case v.Ephemeral != nil:
		return "persistentvolumeclaims (via ephemeral volumes)", nil
	case v.AzureFile != nil:
		return "secrets (via azureFile volumes)", nil
	case v.Projected != nil:
		return foreignProjection(v)
	}
	return "", fmt.Errorf("unknown volume type for volume  %q", v.Name)
}

func foreignProjection(v *corev1.Volume) (string, error) {
	for i := range v.Projected.Sources {
		switch s := &v.Projected.Sources[i]; {
		case s.ConfigMap != nil:
			return "configmaps (via projected volumes)", nil
		case s.Secret != nil:
			return "secrets (via projected volumes)", nil
		case s.ServiceAccountToken != nil:
			return "serviceaccounts (via projected volumes)", nil
		case s.ClusterTrustBundle != nil:
			return "clustertrustbundles", nil
		case s.PodCertificate != nil:
			return "podcertificates", nil
		case s.DownwardAPI != nil:
		default:
			return "", fmt.Errorf("unknown source for projected volume %q", v.Name)
		}
	}
	return "", nil
}
