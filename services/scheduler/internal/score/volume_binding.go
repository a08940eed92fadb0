package score

import (
	"math"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/scheduler/internal/cluster"
	"coracle.local/services/scheduler/internal/filter"
	"coracle.local/services/scheduler/internal/storage"
)

// volumeBinding prefers nodes on which the pod's claims take the smaller part
// of the free volumes that they would get.
type volumeBinding struct{}

func (volumeBinding) Name() string  { return filter.VolumeBinding }
func (volumeBinding) Weight() int64 { return 1 }

func (volumeBinding) Prepare(p *cluster.Pod, v *cluster.View) Prepared {
	if len(cluster.ClaimsOf(p.Object)) == 0 {
		return Prepared{}
	}
	claims, err := storage.ClaimsOf(p.Object, v.Volumes)
	if err != nil || len(claims.Waiting) == 0 {
		return Prepared{}
	}
	return Prepared{Absolute: nodeFunc(func(n *cluster.Node) int64 {
		plan, reasons := claims.On(n.Object, v.Volumes, v.Promised)
		if len(reasons) > 0 || len(plan.Bindings) == 0 {
			return 0
		}
		return spare(plan.Bindings)
	})}
}

// spare is what is left of the volumes, in percent: of each storage class, and
// then the mean of the classes.
func spare(bindings []storage.Binding) int64 {
	type sums struct{ requested, capacity int64 }
	classes := map[string]sums{}
	for _, b := range bindings {
		class := storage.ClassOfVolume(b.Volume)
		s := classes[class]
		requested, capacity := b.Claim.Spec.Resources.Requests[corev1.ResourceStorage], b.Volume.Spec.Capacity[corev1.ResourceStorage]
		s.requested += requested.Value()
		s.capacity += capacity.Value()
		classes[class] = s
	}
	var total int64
	for _, s := range classes {
		if s.capacity > 0 && s.requested <= s.capacity {
			total += Max - s.requested*Max/s.capacity
		}
	}
	return int64(math.Round(float64(total) / float64(len(classes))))
}
