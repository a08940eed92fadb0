// Package storage decides which persistent volumes a pod can have on a node:
// those it already has, free ones that match, and ones yet to be provisioned.
package storage

import (
	"fmt"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/scheduler/internal/cluster"
)

// Annotations by which the scheduler, the volume controller and provisioners
// agree on who does what.
const (
	// AnnotationBindCompleted is set by the volume controller on a claim whose
	// binding is complete on both sides.
	AnnotationBindCompleted = "pv.kubernetes.io/bind-completed"
	// AnnotationBoundByController is set on a volume that was not bound by hand.
	AnnotationBoundByController = "pv.kubernetes.io/bound-by-controller"
	// AnnotationSelectedNode asks a provisioner to make a claim's volume for a node.
	AnnotationSelectedNode = "volume.kubernetes.io/selected-node"
)

// noProvisioner marks storage classes whose volumes are made by hand.
const noProvisioner = "kubernetes.io/no-provisioner"

// Claims are the claims of a pod, sorted by what they need.
type Claims struct {
	// Bound have their volume.
	Bound []*corev1.PersistentVolumeClaim
	// Waiting are bound when a node for the pod is known.
	Waiting []*corev1.PersistentVolumeClaim
	// Immediate should be bound already, by the volume controller.
	Immediate []*corev1.PersistentVolumeClaim
}

// ClaimsOf finds the claims of a pod. An error says why the pod cannot be
// placed at present, in words for the user.
func ClaimsOf(pod *corev1.Pod, volumes cluster.Volumes) (Claims, error) {
	var c Claims
	for i := range pod.Spec.Volumes {
		v := &pod.Spec.Volumes[i]
		claim, err := claimOf(pod, v, volumes)
		if err != nil {
			return Claims{}, err
		}
		switch {
		case claim == nil:
		case bound(claim):
			c.Bound = append(c.Bound, claim)
		case claim.Spec.VolumeName == "" && waits(claim, volumes):
			c.Waiting = append(c.Waiting, claim)
		default:
			c.Immediate = append(c.Immediate, claim)
		}
	}
	return c, nil
}

func claimOf(pod *corev1.Pod, v *corev1.Volume, volumes cluster.Volumes) (*corev1.PersistentVolumeClaim, error) {
	var name string
	switch {
	case v.PersistentVolumeClaim != nil:
		name = v.PersistentVolumeClaim.ClaimName
	case v.Ephemeral != nil:
		name = pod.Name + "-" + v.Name
	default:
		return nil, nil
	}
	claim := volumes.Claim(pod.Namespace, name)
	switch {
	case claim == nil && v.Ephemeral != nil:
		return nil, fmt.Errorf("waiting for ephemeral volume controller to create the persistentvolumeclaim %q", name)
	case claim == nil:
		return nil, fmt.Errorf("persistentvolumeclaim %q not found", name)
	case claim.Status.Phase == corev1.ClaimLost:
		return nil, fmt.Errorf("persistentvolumeclaim %q bound to non-existent persistentvolume %q", claim.Name, claim.Spec.VolumeName)
	case claim.DeletionTimestamp != nil:
		return nil, fmt.Errorf("persistentvolumeclaim %q is being deleted", claim.Name)
	case v.Ephemeral != nil && !metav1.IsControlledBy(claim, pod):
		return nil, fmt.Errorf("PVC %s/%s was not created for pod %s/%s (pod is not owner)", claim.Namespace, claim.Name, pod.Namespace, pod.Name)
	}
	return claim, nil
}

func bound(claim *corev1.PersistentVolumeClaim) bool {
	return claim.Spec.VolumeName != "" && metav1.HasAnnotation(claim.ObjectMeta, AnnotationBindCompleted)
}

// waits tells whether the claim's class binds only when a consumer has a node.
func waits(claim *corev1.PersistentVolumeClaim, volumes cluster.Volumes) bool {
	class := volumes.Class(classOf(claim))
	return class != nil && class.VolumeBindingMode != nil && *class.VolumeBindingMode == storagev1.VolumeBindingWaitForFirstConsumer
}

// classOf is the claim's storage class; the annotation is older than the field.
func classOf(claim *corev1.PersistentVolumeClaim) string {
	if class, ok := claim.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return class
	}
	if claim.Spec.StorageClassName != nil {
		return *claim.Spec.StorageClassName
	}
	return ""
}

// ClassOfVolume is the volume's storage class.
func ClassOfVolume(v *corev1.PersistentVolume) string {
	if class, ok := v.Annotations[corev1.BetaStorageClassAnnotation]; ok {
		return class
	}
	return v.Spec.StorageClassName
}
