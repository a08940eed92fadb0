package engine

import (
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/scheduler/internal/storage"
)

// errVolumesTimeout is what a pod is told whose volumes did not come.
var errVolumesTimeout = errors.New("binding volumes: context deadline exceeded")

// bindVolumes has the pod's volumes bound or made before the pod itself.
func (e *Engine) bindVolumes(b *binding) {
	b.sent, b.volumes = e.cfg.Clock.Now(), true
	for _, v := range b.plan.Bindings {
		e.state.Promise(v.Volume.Name)
	}
	uid := b.entry.Pod.UID()
	e.cfg.VolumeBinder.BindVolumes(b.entry.Pod.Object, b.node, b.plan, func(err error) {
		e.Do(func() {
			if e.binding[uid] != b {
				return
			}
			if err != nil {
				e.unbind(b, fmt.Errorf("running PreBind plugin %q: %w", "VolumeBinding", err))
				return
			}
			e.checkVolumes(b)
		})
	})
}

// volumesMoved looks at every pod that waits for its volumes.
func (e *Engine) volumesMoved() {
	for _, b := range e.binding {
		if b.volumes {
			e.checkVolumes(b)
		}
	}
}

// checkVolumes binds the pod once its claims are bound, and gives up when they
// cannot be any more.
func (e *Engine) checkVolumes(b *binding) {
	p := b.entry.Pod.Object
	claims, err := storage.ClaimsOf(p, e.state.Volumes)
	if err != nil {
		e.unbind(b, fmt.Errorf("running PreBind plugin %q: %w", "VolumeBinding", err))
		return
	}
	if len(claims.Waiting)+len(claims.Immediate) == 0 {
		e.bind(b)
		return
	}
	if claim := givenUp(b, claims.Waiting); claim != nil {
		e.unbind(b, fmt.Errorf("running PreBind plugin %q: provisioning failed for PVC %q", "VolumeBinding", claim.Name))
	}
}

// givenUp finds a claim whose provisioner took the node off it again: there is
// no room for the volume.
func givenUp(b *binding, waiting []*corev1.PersistentVolumeClaim) *corev1.PersistentVolumeClaim {
	for _, planned := range b.plan.Provision {
		for _, claim := range waiting {
			if claim.UID != planned.UID || claim.ResourceVersion == planned.ResourceVersion {
				continue
			}
			if claim.Annotations[storage.AnnotationSelectedNode] != b.node {
				return claim
			}
		}
	}
	return nil
}

// expireVolumes gives up pods whose volumes take too long.
func (e *Engine) expireVolumes(now time.Time) {
	for _, b := range e.binding {
		if b.volumes && now.Sub(b.sent) > volumesTimeout {
			e.unbind(b, fmt.Errorf("running PreBind plugin %q: %w", "VolumeBinding", errVolumesTimeout))
		}
	}
}

// release lets go of the volumes that were kept for a pod. Those that were
// bound are now taken on the record.
func (e *Engine) release(b *binding) {
	for _, v := range b.plan.Bindings {
		e.state.Release(v.Volume.Name)
	}
}
