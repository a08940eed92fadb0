package volumes

import (
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	apiequality "k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	helpers "k8s.io/component-helpers/storage/volume"

	"coracle.local/services/controller-manager/internal/plan"
)

// preResize is the capacity that a volume had before it was grown for a claim.
const preResize = "volume.alpha.kubernetes.io/pre-resize-capacity"

// binding is a volume and a claim that become one's. Its methods are the stages
// in upstream's order, so that whatever ends in between can be gone on with:
// the volume first, and the claim's status last.
type binding struct {
	volume *corev1.PersistentVolume
	claim  *corev1.PersistentVolumeClaim
}

func bind(v *corev1.PersistentVolume, c *corev1.PersistentVolumeClaim) plan.Plan {
	return binding{v, c}.refer()
}

// write does an update if there is one, and goes on with what came of it.
func (b binding) write(u *plan.Update, took func(b *binding, out plan.Outcome), next func(binding) plan.Plan) plan.Plan {
	if u == nil {
		return next(b)
	}
	return plan.Plan{Do: []plan.Action{*u}, Then: func(out plan.Outcome) plan.Plan {
		if out.Err != nil {
			return plan.Plan{}
		}
		took(&b, out)
		return next(b)
	}}
}

func tookVolume(b *binding, out plan.Outcome) {
	b.volume = out.Results[0].Object.(*corev1.PersistentVolume)
}

func tookClaim(b *binding, out plan.Outcome) {
	b.claim = out.Results[0].Object.(*corev1.PersistentVolumeClaim)
}

// refer has the volume name the claim.
func (b binding) refer() plan.Plan {
	v, dirty, err := helpers.GetBindVolumeToClaim(b.volume, b.claim)
	if err != nil {
		return plan.Plan{Err: err}
	}
	var u *plan.Update
	if dirty {
		u = &plan.Update{Object: v}
	}
	return b.write(u, tookVolume, binding.volumeBound)
}

func (b binding) volumeBound() plan.Plan {
	var u *plan.Update
	if b.volume.Status.Phase != corev1.VolumeBound {
		s := phaseOf(b.volume, corev1.VolumeBound, "")
		u = &s
	}
	return b.write(u, tookVolume, binding.name)
}

// name has the claim name the volume.
func (b binding) name() plan.Plan {
	c, dirty := b.claim.DeepCopy(), false
	if c.Spec.VolumeName != b.volume.Name {
		c.Spec.VolumeName, dirty = b.volume.Name, true
		if !metav1.HasAnnotation(c.ObjectMeta, helpers.AnnBoundByController) {
			metav1.SetMetaDataAnnotation(&c.ObjectMeta, helpers.AnnBoundByController, "yes")
		}
	}
	if !metav1.HasAnnotation(c.ObjectMeta, helpers.AnnBindCompleted) {
		metav1.SetMetaDataAnnotation(&c.ObjectMeta, helpers.AnnBindCompleted, "yes")
		dirty = true
	}
	var u *plan.Update
	if dirty {
		u = &plan.Update{Object: c}
	}
	return b.write(u, tookClaim, binding.claimBound)
}

// claimBound has the claim's status say what the volume is.
func (b binding) claimBound() plan.Plan {
	c := b.claim.DeepCopy()
	c.Status.AccessModes = slices.Clone(b.volume.Spec.AccessModes)
	if c.Status.Phase != corev1.ClaimBound {
		size, ok := b.volume.Spec.Capacity[corev1.ResourceStorage]
		if !ok {
			return plan.Plan{Err: fmt.Errorf("PersistentVolume %q is without a storage capacity", b.volume.Name)}
		}
		have, had := c.Status.Capacity[corev1.ResourceStorage]
		if before, grown := b.volume.Annotations[preResize]; grown {
			if q, err := resource.ParseQuantity(before); err == nil {
				size = q
			}
			if c.Status.Capacity == nil {
				c.Status.Capacity = corev1.ResourceList{}
			}
			c.Status.Capacity[corev1.ResourceStorage] = size
		} else if !had || size.Cmp(have) != 0 {
			c.Status.Capacity = maps.Clone(b.volume.Spec.Capacity)
		}
		if c.Status.Phase == corev1.ClaimPending {
			c.Status.CurrentVolumeAttributesClassName = b.volume.Spec.VolumeAttributesClassName
		}
		c.Status.Phase = corev1.ClaimBound
	}
	if apiequality.Semantic.DeepEqual(c.Status, b.claim.Status) {
		return plan.Plan{}
	}
	return plan.Plan{Do: []plan.Action{plan.UpdateStatus(c)}}
}

// phaseOf is the update of a volume's phase.
func phaseOf(v *corev1.PersistentVolume, phase corev1.PersistentVolumePhase, message string) plan.Update {
	v = v.DeepCopy()
	v.Status.Phase, v.Status.Message = phase, message
	return plan.UpdateStatus(v)
}
