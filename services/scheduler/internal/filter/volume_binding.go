package filter

import (
	"slices"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/storage"
)

// VolumeBinding is the filter of persistent volumes.
const VolumeBinding = "VolumeBinding"

const reasonUnbound = "pod has unbound immediate PersistentVolumeClaims"

type volumeBinding struct{}

func (volumeBinding) Name() string { return VolumeBinding }

func (volumeBinding) Prepare(p *cluster.Pod, v *cluster.View) Prepared {
	if len(cluster.ClaimsOf(p.Object)) == 0 {
		return Prepared{}
	}
	claims, err := storage.ClaimsOf(p.Object, v.Volumes)
	if err != nil {
		return Prepared{All: rejectForGood(VolumeBinding, err.Error())}
	}
	if len(claims.Immediate) > 0 {
		return Prepared{All: rejectForGood(VolumeBinding, reasonUnbound)}
	}
	return Prepared{Node: nodeFunc(func(n *cluster.Node) *Verdict {
		if _, reasons := claims.On(n.Object, v.Volumes, v.Promised); len(reasons) > 0 {
			return rejectForGood(VolumeBinding, reasons...)
		}
		return nil
	})}
}

func (volumeBinding) Helps(e cluster.Event, p *cluster.Pod) bool {
	switch e.Kind {
	case cluster.ClaimChanged:
		return e.Namespace == p.Object.Namespace && slices.Contains(cluster.ClaimsOf(p.Object), e.Name)
	case cluster.VolumeChanged, cluster.ClassChanged, cluster.NodeAdded:
		return true
	case cluster.NodeChanged:
		return e.Changed&cluster.NodeLabels != 0
	default:
		return false
	}
}
