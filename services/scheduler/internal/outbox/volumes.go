package outbox

import (
	"context"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/services/scheduler/internal/storage"
)

// Updater updates objects of one kind, as client.Client does.
type Updater[T any] interface {
	Update(ctx context.Context, o T) (T, error)
}

// VolumeBinder gives volumes to claims, and asks provisioners for those that
// are missing. The volume controller does the rest.
type VolumeBinder struct {
	Volumes    Updater[*corev1.PersistentVolume]
	Claims     Updater[*corev1.PersistentVolumeClaim]
	Background *Background
}

// BindVolumes is engine.VolumeBinder.
func (b *VolumeBinder) BindVolumes(_ *corev1.Pod, node string, plan storage.Plan, done func(error)) {
	b.Background.run(func(ctx context.Context) error {
		for _, binding := range plan.Bindings {
			if _, err := b.Volumes.Update(ctx, given(binding)); err != nil {
				return fmt.Errorf("bind volume %s to claim %s/%s: %w", binding.Volume.Name, binding.Claim.Namespace, binding.Claim.Name, err)
			}
		}
		for _, claim := range plan.Provision {
			if claim.Annotations[storage.AnnotationSelectedNode] == node {
				continue
			}
			next := claim.DeepCopy()
			metav1.SetMetaDataAnnotation(&next.ObjectMeta, storage.AnnotationSelectedNode, node)
			if _, err := b.Claims.Update(ctx, next); err != nil {
				return fmt.Errorf("select node %s for claim %s/%s: %w", node, claim.Namespace, claim.Name, err)
			}
		}
		return nil
	}, done)
}

// given is the volume with a reference to its claim.
func given(b storage.Binding) *corev1.PersistentVolume {
	v := b.Volume.DeepCopy()
	if v.Spec.ClaimRef == nil {
		metav1.SetMetaDataAnnotation(&v.ObjectMeta, storage.AnnotationBoundByController, "yes")
	}
	v.Spec.ClaimRef = &corev1.ObjectReference{
		APIVersion: "v1", Kind: "PersistentVolumeClaim", Namespace: b.Claim.Namespace, Name: b.Claim.Name,
		UID: b.Claim.UID, ResourceVersion: b.Claim.ResourceVersion,
	}
	return v
}
