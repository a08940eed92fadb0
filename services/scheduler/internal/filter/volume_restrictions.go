package filter

import (
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/scheduler/internal/cluster"
)

// VolumeRestrictions is the filter of volumes that only so many pods may use.
const VolumeRestrictions = "VolumeRestrictions"

const (
	reasonDisk = "node(s) had no available disk"
	reasonRWOP = "node(s) unavailable due to PersistentVolumeClaim with ReadWriteOncePod access mode already in-use by another pod"
)

type volumeRestrictions struct{}

func (volumeRestrictions) Name() string { return VolumeRestrictions }

func (volumeRestrictions) Prepare(p *cluster.Pod, v *cluster.View) Prepared {
	var once []string
	disks := false
	for i := range p.Object.Spec.Volumes {
		vol := &p.Object.Spec.Volumes[i]
		disks = disks || exclusive(vol)
		if vol.PersistentVolumeClaim == nil {
			continue
		}
		name := vol.PersistentVolumeClaim.ClaimName
		claim := v.Volumes.Claim(p.Object.Namespace, name)
		if claim == nil {
			return Prepared{All: rejectForGood(VolumeRestrictions, fmt.Sprintf("persistentvolumeclaim %q not found", name))}
		}
		if slices.Contains(claim.Spec.AccessModes, corev1.ReadWriteOncePod) {
			once = append(once, p.Object.Namespace+"/"+name)
		}
	}
	inUse := slices.ContainsFunc(once, func(key string) bool { return v.Claims[key] > 0 })
	if !disks && !inUse {
		return Prepared{}
	}
	return Prepared{Node: &restrictions{pod: p, once: once, view: v}}
}

func (volumeRestrictions) Helps(e cluster.Event, p *cluster.Pod) bool {
	switch e.Kind {
	case cluster.PodGone:
		return sharesVolume(p.Object, e.OldPod.Object)
	case cluster.ClaimChanged:
		return e.Namespace == p.Object.Namespace && slices.Contains(cluster.ClaimsOf(p.Object), e.Name)
	case cluster.NodeAdded:
		return true
	default:
		return false
	}
}

// restrictions checks disks of old in-tree drivers, and claims that a single
// pod may use.
type restrictions struct {
	pod  *cluster.Pod
	once []string
	view *cluster.View
}

func (r *restrictions) Node(n *cluster.Node) *Verdict {
	for _, other := range n.Pods {
		if disksConflict(r.pod.Object, other.Object) {
			return reject(VolumeRestrictions, reasonDisk)
		}
	}
	for _, key := range r.once {
		// The node may be one from which preemption has taken pods away in
		// thought; users elsewhere stay.
		if users(key, n) > 0 || r.view.Claims[key] > users(key, r.view.Node(n.Name())) {
			return reject(VolumeRestrictions, reasonRWOP)
		}
	}
	return nil
}

func users(key string, n *cluster.Node) int {
	count := 0
	if n != nil {
		for _, p := range n.Pods {
			if usesClaim(p.Object, key) {
				count++
			}
		}
	}
	return count
}

func usesClaim(pod *corev1.Pod, key string) bool {
	for _, name := range cluster.ClaimsOf(pod) {
		if pod.Namespace+"/"+name == key {
			return true
		}
	}
	return false
}

func sharesVolume(a, b *corev1.Pod) bool {
	if disksConflict(a, b) {
		return true
	}
	for _, name := range cluster.ClaimsOf(a) {
		if usesClaim(b, a.Namespace+"/"+name) {
			return true
		}
	}
	return false
}

func exclusive(v *corev1.Volume) bool {
	return v.GCEPersistentDisk != nil || v.AWSElasticBlockStore != nil || v.RBD != nil || v.ISCSI != nil
}

func disksConflict(a, b *corev1.Pod) bool {
	for i := range a.Spec.Volumes {
		if !exclusive(&a.Spec.Volumes[i]) {
			continue
		}
		for j := range b.Spec.Volumes {
			if diskConflicts(&a.Spec.Volumes[i], &b.Spec.Volumes[j]) {
				return true
			}
		}
	}
	return false
}

// diskConflicts tells whether two volumes are one disk that cannot be mounted
// twice. Most may be, if both only read.
func diskConflicts(a, b *corev1.Volume) bool {
	switch {
	case a.GCEPersistentDisk != nil && b.GCEPersistentDisk != nil:
		x, y := a.GCEPersistentDisk, b.GCEPersistentDisk
		return x.PDName == y.PDName && !(x.ReadOnly && y.ReadOnly)
	case a.AWSElasticBlockStore != nil && b.AWSElasticBlockStore != nil:
		return a.AWSElasticBlockStore.VolumeID == b.AWSElasticBlockStore.VolumeID
	case a.ISCSI != nil && b.ISCSI != nil:
		x, y := a.ISCSI, b.ISCSI
		return x.IQN == y.IQN && !(x.ReadOnly && y.ReadOnly)
	case a.RBD != nil && b.RBD != nil:
		x, y := a.RBD, b.RBD
		shared := slices.ContainsFunc(x.CephMonitors, func(m string) bool { return slices.Contains(y.CephMonitors, m) })
		return shared && x.RBDPool == y.RBDPool && x.RBDImage == y.RBDImage && !(x.ReadOnly && y.ReadOnly)
	default:
		return false
	}
}
