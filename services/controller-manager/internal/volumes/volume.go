package volumes

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	helpers "k8s.io/component-helpers/storage/volume"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/plan"
)

// volumeState is a volume and the claim of the name it is for.
type volumeState struct {
	Volume *corev1.PersistentVolume
	// Claim is nil if no cache shows it.
	Claim *corev1.PersistentVolumeClaim
}

func (b *binder) observeVolume(k loop.Key, _ time.Time) (volumeState, bool) {
	v, ok := cluster.Get[*corev1.PersistentVolume](b.volumes, "", k.Name)
	s := volumeState{Volume: v}
	if ok && v.Spec.ClaimRef != nil {
		s.Claim, _ = cluster.Get[*corev1.PersistentVolumeClaim](b.claims, v.Spec.ClaimRef.Namespace, v.Spec.ClaimRef.Name)
	}
	return s, ok
}

func computeVolume(s volumeState, _ time.Time) plan.Plan {
	v, r := s.Volume, s.Volume.Spec.ClaimRef
	if r == nil || r.UID == "" {
		if v.Status.Phase == corev1.VolumeAvailable {
			return plan.Plan{}
		}
		return plan.Plan{Do: []plan.Action{phaseOf(v, corev1.VolumeAvailable, "")}}
	}
	released := v.Status.Phase == corev1.VolumeReleased || v.Status.Phase == corev1.VolumeFailed
	if s.Claim != nil && s.Claim.UID == r.UID || s.Claim == nil && released {
		return s.settle()
	}
	// A volume is released on the API server's word alone: data may go with it.
	get := plan.Get{Kind: kinds.For[*corev1.PersistentVolumeClaim](), Namespace: r.Namespace, Name: r.Name}
	return plan.Plan{Do: []plan.Action{get}, Then: func(out plan.Outcome) plan.Plan {
		if out.Err != nil {
			return plan.Plan{}
		}
		c, ok := out.Results[0].Object.(*corev1.PersistentVolumeClaim)
		if !ok || c.UID != r.UID {
			c = nil
		}
		return volumeState{v, c}.settle()
	}}
}

// settle decides by the claim that is the volume's, nil if that is gone.
func (s volumeState) settle() plan.Plan {
	v, c := s.Volume, s.Claim
	switch {
	case c == nil:
		return release(v)
	case c.Spec.VolumeName == "":
		if helpers.CheckVolumeModeMismatches(&c.Spec, &v.Spec) {
			return plan.Plan{Do: []plan.Action{
				event(v, corev1.EventTypeWarning, volumeMismatch, fmt.Sprintf("Cannot bind PersistentVolume to requested PersistentVolumeClaim %q due to incompatible volumeMode.", c.Name)),
				event(c, corev1.EventTypeWarning, volumeMismatch, fmt.Sprintf("Cannot bind PersistentVolume %q to requested PersistentVolumeClaim due to incompatible volumeMode.", v.Name)),
			}}
		}
		return plan.Plan{} // the claim's loop binds it
	case c.Spec.VolumeName == v.Name:
		if v.Status.Phase == corev1.VolumeBound {
			return plan.Plan{}
		}
		return plan.Plan{Do: []plan.Action{phaseOf(v, corev1.VolumeBound, "")}}
	case metav1.HasAnnotation(v.ObjectMeta, helpers.AnnDynamicallyProvisioned) && v.Spec.PersistentVolumeReclaimPolicy == corev1.PersistentVolumeReclaimDelete:
		return release(v) // it was made for a claim that took another
	}
	return unbind(v)
}

// unbind takes the claim off a volume, or only its UID if somebody wrote the
// reference.
func unbind(v *corev1.PersistentVolume) plan.Plan {
	v = v.DeepCopy()
	if metav1.HasAnnotation(v.ObjectMeta, helpers.AnnBoundByController) {
		v.Spec.ClaimRef = nil
		delete(v.Annotations, helpers.AnnBoundByController)
	} else {
		v.Spec.ClaimRef.UID = ""
	}
	return plan.Plan{Do: []plan.Action{plan.Update{Object: v}}, Then: func(out plan.Outcome) plan.Plan {
		if out.Err != nil {
			return plan.Plan{}
		}
		return plan.Plan{Do: []plan.Action{phaseOf(out.Results[0].Object.(*corev1.PersistentVolume), corev1.VolumeAvailable, "")}}
	}}
}

// release marks a volume and does what its policy says.
func release(v *corev1.PersistentVolume) plan.Plan {
	if v.Status.Phase == corev1.VolumeReleased || v.Status.Phase == corev1.VolumeFailed {
		return reclaim(v)
	}
	return plan.Plan{Do: []plan.Action{phaseOf(v, corev1.VolumeReleased, "")}, Then: func(out plan.Outcome) plan.Plan {
		if out.Err != nil {
			return plan.Plan{}
		}
		return reclaim(out.Results[0].Object.(*corev1.PersistentVolume))
	}}
}
