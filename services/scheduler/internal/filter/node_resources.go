package filter

import (
	"slices"

	corev1 "k8s.io/api/core/v1"

	"coracle.local/services/scheduler/internal/cluster"
)

// NodeResourcesFit is the filter of what nodes have room for.
const NodeResourcesFit = "NodeResourcesFit"

const reasonPods = "Too many pods"

type nodeResourcesFit struct{}

func (nodeResourcesFit) Name() string { return NodeResourcesFit }

func (nodeResourcesFit) Prepare(p *cluster.Pod, _ *cluster.View) Prepared {
	return Prepared{Node: newFit(p)}
}

func (nodeResourcesFit) Helps(e cluster.Event, p *cluster.Pod) bool {
	switch e.Kind {
	case cluster.PodGone:
		return true
	case cluster.PodChanged:
		return anyFreed(p.Requests, e.OldPod.Requests, e.Pod.Requests)
	case cluster.NodeAdded:
		return newFit(p).Node(cluster.NewNode(e.Node)) == nil
	case cluster.NodeChanged:
		if e.Changed&cluster.NodeAllocatable == 0 || newFit(p).Node(cluster.NewNode(e.Node)) != nil {
			return false
		}
		before, now := cluster.NewNode(e.OldNode), cluster.NewNode(e.Node)
		return now.MaxPods > before.MaxPods || anyFreed(p.Requests, now.Allocatable, before.Allocatable)
	case cluster.TargetChanged:
		return anyFreed(e.OldPod.Requests, e.OldPod.Requests, p.Requests)
	default:
		return false
	}
}

// anyFreed tells whether before is more than now in something that is wanted.
func anyFreed(want, before, now cluster.Resources) bool {
	if (want.MilliCPU > 0 && before.MilliCPU > now.MilliCPU) ||
		(want.Memory > 0 && before.Memory > now.Memory) ||
		(want.EphemeralStorage > 0 && before.EphemeralStorage > now.EphemeralStorage) {
		return true
	}
	for name, n := range want.Scalar {
		if n > 0 && before.Scalar[name] > now.Scalar[name] {
			return true
		}
	}
	return false
}

// fit compares a pod's requests with what nodes have left. Many nodes are full
// in the same way, so verdicts are shared.
type fit struct {
	want cluster.Resources
	// scalars are the wanted names in order, so that reasons have one too.
	scalars []corev1.ResourceName
	known   map[fitKey]*Verdict
}

// fitKey has a bit for each resource that is short: pods, CPU, memory,
// ephemeral storage, then the scalars.
type fitKey struct {
	short        uint64
	unresolvable bool
}

func newFit(p *cluster.Pod) *fit {
	f := &fit{want: p.Requests, known: map[fitKey]*Verdict{}}
	for name, n := range p.Requests.Scalar {
		if n > 0 {
			f.scalars = append(f.scalars, name)
		}
	}
	slices.Sort(f.scalars)
	return f
}

func (f *fit) Node(n *cluster.Node) *Verdict {
	var k fitKey
	if len(n.Pods)+1 > n.MaxPods {
		k.short |= 1
	}
	lack := func(bit int, want, allocatable, requested int64) {
		if want <= 0 || want <= allocatable-requested {
			return
		}
		k.short |= 1 << min(bit, 63)
		k.unresolvable = k.unresolvable || want > allocatable
	}
	lack(1, f.want.MilliCPU, n.Allocatable.MilliCPU, n.Requested.MilliCPU)
	lack(2, f.want.Memory, n.Allocatable.Memory, n.Requested.Memory)
	lack(3, f.want.EphemeralStorage, n.Allocatable.EphemeralStorage, n.Requested.EphemeralStorage)
	for i, name := range f.scalars {
		lack(4+i, f.want.Scalar[name], n.Allocatable.Scalar[name], n.Requested.Scalar[name])
	}
	if k.short == 0 {
		return nil
	}
	v, ok := f.known[k]
	if !ok {
		v = f.verdict(k)
		f.known[k] = v
	}
	return v
}

func (f *fit) verdict(k fitKey) *Verdict {
	v := &Verdict{Filter: NodeResourcesFit, Unresolvable: k.unresolvable}
	names := append([]corev1.ResourceName{
		corev1.ResourcePods, corev1.ResourceCPU, corev1.ResourceMemory,
		corev1.ResourceEphemeralStorage,
	}, f.scalars...)
	for i, name := range names {
		if k.short&(1<<min(i, 63)) == 0 {
			continue
		}
		reason := "Insufficient " + string(name)
		if name == corev1.ResourcePods {
			reason = reasonPods
		}
		v.Reasons = append(v.Reasons, reason)
	}
	return v
}
