// Package volumes makes the claims that pods ask for, binds claims to volumes,
// and reclaims volumes whose claims are gone.
package volumes

import (
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	helpers "k8s.io/component-helpers/storage/volume"

	"coracle.local/libs/kinds"
	"coracle.local/services/controller-manager/internal/cluster"
	"coracle.local/services/controller-manager/internal/loop"
	"coracle.local/services/controller-manager/internal/owner"
	"coracle.local/services/controller-manager/internal/plan"
)

// The reasons of events, upstream's.
const (
	failedBinding        = "FailedBinding"
	volumeMismatch       = "VolumeMismatch"
	provisioningFailed   = "ProvisioningFailed"
	externalProvisioning = "ExternalProvisioning"
	waitForFirstConsumer = "WaitForFirstConsumer"
	waitForPodScheduled  = "WaitForPodScheduled"
	failedDelete         = "VolumeFailedDelete"
	failedRecycle        = "VolumeFailedRecycle"
)

// binder is what both loops read.
type binder struct {
	volumes, claims, classes, pods cluster.Cache
	// resync is how often what is not settled is looked at, and told of, again.
	resync time.Duration
}

// Binder is persistentvolume-binder-controller. resync is
// --pvclaimbinder-sync-period.
func Binder(d loop.Deps, resync time.Duration) []loop.Loop {
	b := &binder{
		volumes: cluster.Of[*corev1.PersistentVolume](d.API), claims: cluster.Of[*corev1.PersistentVolumeClaim](d.API),
		classes: cluster.Of[*storagev1.StorageClass](d.API), pods: cluster.Of[*corev1.Pod](d.API), resync: resync,
	}
	b.pods.Index(byClaim, claimIndex)
	const name, component = "persistentvolume-binder-controller", "persistentvolume-controller"
	return []loop.Loop{
		// One at a time, as upstream: two claims would choose the same volume.
		loop.New(d, loop.Spec[loop.Key, claimState]{
			Name: name, Part: "claims", Component: component, Workers: 1,
			Sources: []loop.Source[loop.Key]{
				{Cache: b.claims, Keys: func(before, after kinds.Object) []loop.Key {
					if after == nil {
						return nil
					}
					return owner.Self(before, after)
				}},
				{Cache: b.volumes, Keys: b.claimsOfVolume},
				{Cache: b.classes, Keys: b.claimsOfClass},
			},
			Reads:   []cluster.Cache{b.pods},
			Observe: b.observeClaim, Compute: computeClaim,
		}),
		loop.New(d, loop.Spec[loop.Key, volumeState]{
			Name: name, Part: "volumes", Component: component, Workers: 1,
			Sources: []loop.Source[loop.Key]{
				{Cache: b.volumes, Keys: func(before, after kinds.Object) []loop.Key {
					if after == nil {
						return nil
					}
					return owner.Self(before, after)
				}},
				{Cache: b.claims, Keys: b.volumesOfClaim},
			},
			Observe: b.observeVolume, Compute: computeVolume,
		}),
	}
}

// claimsOfVolume is the claims that a change of a volume may settle: its own,
// and those without one if it is free now.
func (b *binder) claimsOfVolume(before, after kinds.Object) []loop.Key {
	var out []loop.Key
	for _, o := range []kinds.Object{before, after} {
		if v, ok := o.(*corev1.PersistentVolume); ok && v.Spec.ClaimRef != nil {
			out = append(out, loop.Key{Namespace: v.Spec.ClaimRef.Namespace, Name: v.Spec.ClaimRef.Name})
		}
	}
	free := func(o kinds.Object) bool {
		v, ok := o.(*corev1.PersistentVolume)
		return ok && v.Status.Phase == corev1.VolumeAvailable
	}
	name := ""
	if after != nil {
		name = after.GetName()
	} else {
		name = before.GetName()
	}
	freed := free(after) && !free(before)
	for _, c := range cluster.List[*corev1.PersistentVolumeClaim](b.claims, "") {
		if c.Spec.VolumeName == name || freed && c.Spec.VolumeName == "" {
			out = append(out, owner.Self(nil, c)...)
		}
	}
	return out
}

// claimsOfClass is the claims without a volume, when a class comes or changes.
func (b *binder) claimsOfClass(_, after kinds.Object) []loop.Key {
	if after == nil {
		return nil
	}
	var out []loop.Key
	for _, c := range cluster.List[*corev1.PersistentVolumeClaim](b.claims, "") {
		if class := helpers.GetPersistentVolumeClaimClass(c); c.Spec.VolumeName == "" && (class == "" || class == after.GetName()) {
			out = append(out, owner.Self(nil, c)...)
		}
	}
	return out
}

// volumesOfClaim is the volumes that say they belong to a claim, and the one
// that it names.
func (b *binder) volumesOfClaim(before, after kinds.Object) []loop.Key {
	k := owner.Self(before, after)[0]
	var out []loop.Key
	for _, v := range cluster.List[*corev1.PersistentVolume](b.volumes, "") {
		if r := v.Spec.ClaimRef; r != nil && r.Namespace == k.Namespace && r.Name == k.Name {
			out = append(out, owner.Self(nil, v)...)
		}
	}
	for _, o := range []kinds.Object{before, after} {
		if c, ok := o.(*corev1.PersistentVolumeClaim); ok && c.Spec.VolumeName != "" && !slices.Contains(out, loop.Key{Name: c.Spec.VolumeName}) {
			out = append(out, loop.Key{Name: c.Spec.VolumeName})
		}
	}
	return out
}

// event is an event as one action.
func event(about kinds.Object, kind, reason, message string) plan.Action {
	return plan.Event{About: about, Type: kind, Reason: reason, Message: message}
}
