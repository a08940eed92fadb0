package node

import (
	"cmp"
	"maps"
	"runtime"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilerrors "k8s.io/apimachinery/pkg/util/errors"

	"coracle.local/services/kubelet/internal/engine"
)

// KubeletVersion is reported by nodes: upstream's line, and that it is ours.
const KubeletVersion = "v1.37.2-coracle"

// Facts are what a node's status is computed from.
type Facts struct {
	Hostname string
	// IPs are the node's addresses, the primary first.
	IPs  []string
	Port int32
	// Engine and EngineError are the engine's answer, or why there is none.
	Engine      engine.Info
	EngineError error
	Images      []engine.Image
	Machine     Machine
	MaxPods     int64
	// Reserved is taken off what pods may use.
	Reserved corev1.ResourceList
	Eviction Eviction
	Now      time.Time
}

// Limits of the list of images in a node's status, upstream's.
const (
	maxImages     = 50
	maxImageNames = 5
)

// Status computes a node's status from the facts and from what it was; what
// others wrote in it stays.
func Status(f Facts, old corev1.NodeStatus) corev1.NodeStatus {
	s := *old.DeepCopy()
	s.Addresses = nil
	for _, ip := range f.IPs {
		s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeInternalIP, Address: ip})
	}
	s.Addresses = append(s.Addresses, corev1.NodeAddress{Type: corev1.NodeHostName, Address: f.Hostname})
	s.DaemonEndpoints.KubeletEndpoint.Port = f.Port
	capacity(f, &s)
	s.NodeInfo.MachineID, s.NodeInfo.SystemUUID, s.NodeInfo.BootID = f.Machine.MachineID, f.Machine.SystemUUID, f.Machine.BootID
	s.NodeInfo.KubeletVersion = KubeletVersion
	s.NodeInfo.OperatingSystem, s.NodeInfo.Architecture = runtime.GOOS, runtime.GOARCH
	if f.EngineError == nil {
		s.NodeInfo.KernelVersion, s.NodeInfo.OSImage = f.Engine.KernelVersion, f.Engine.OSImage
		s.NodeInfo.ContainerRuntimeVersion = f.Engine.Name + "://" + f.Engine.Version
		s.Images = images(f.Images)
	}
	no := false
	s.Features = &corev1.NodeFeatures{SupplementalGroupsPolicy: &no}
	s.Conditions = conditions(f, s, old.Conditions)
	return s
}

// capacity fills in what the machine has and what of it pods may use. Extended
// resources, which others report, are left as they are.
func capacity(f Facts, s *corev1.NodeStatus) {
	if s.Capacity == nil {
		s.Capacity = corev1.ResourceList{}
	}
	s.Capacity[corev1.ResourcePods] = *resource.NewQuantity(f.MaxPods, resource.DecimalSI)
	if f.EngineError == nil {
		s.Capacity[corev1.ResourceCPU] = *resource.NewQuantity(int64(f.Engine.CPUs), resource.DecimalSI)
		s.Capacity[corev1.ResourceMemory] = *resource.NewQuantity(f.Engine.MemoryBytes, resource.BinarySI)
	}
	if f.Machine.Storage.Capacity > 0 {
		s.Capacity[corev1.ResourceEphemeralStorage] = *resource.NewQuantity(int64(f.Machine.Storage.Capacity), resource.BinarySI)
	}
	maps.Copy(s.Capacity, f.Machine.HugePages)

	s.Allocatable = corev1.ResourceList{}
	for name, q := range s.Capacity {
		left := q.DeepCopy()
		if reserved, ok := f.Reserved[name]; ok {
			left.Sub(reserved)
		}
		switch name {
		case corev1.ResourceMemory:
			left.Sub(*resource.NewQuantity(int64(f.Eviction.MemoryAvailable.of(uint64(q.Value()))), resource.BinarySI))
			for _, pages := range f.Machine.HugePages {
				left.Sub(pages)
			}
		case corev1.ResourceEphemeralStorage:
			left.Sub(*resource.NewQuantity(int64(f.Eviction.NodefsAvailable.of(uint64(q.Value()))), resource.BinarySI))
		}
		if left.Sign() < 0 {
			left.Set(0)
		}
		s.Allocatable[name] = left
	}
}

// images lists the largest ones.
func images(list []engine.Image) []corev1.ContainerImage {
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b engine.Image) int { return cmp.Or(cmp.Compare(b.Size, a.Size), cmp.Compare(a.ID, b.ID)) })
	var out []corev1.ContainerImage
	for _, i := range list[:min(len(list), maxImages)] {
		names := append(slices.Clone(i.RepoDigests), i.RepoTags...)
		out = append(out, corev1.ContainerImage{Names: names[:min(len(names), maxImageNames)], SizeBytes: i.Size})
	}
	return out
}

// conditions computes ours and keeps the others'. Ready comes last, as
// upstream has it.
func conditions(f Facts, s corev1.NodeStatus, old []corev1.NodeCondition) []corev1.NodeCondition {
	m := f.Machine
	memory := m.MemoryAvailable >= 0 && f.Eviction.MemoryAvailable.below(uint64(max(m.MemoryAvailable, 0)), uint64(f.Engine.MemoryBytes))
	disk := m.Storage.Capacity > 0 && f.Eviction.NodefsAvailable.below(m.Storage.Available, m.Storage.Capacity) ||
		m.Storage.Inodes > 0 && f.Eviction.NodefsInodesFree.below(m.Storage.InodesFree, m.Storage.Inodes)
	ours := []corev1.NodeCondition{
		pressure(corev1.NodeMemoryPressure, memory, "Memory", "memory available"),
		pressure(corev1.NodeDiskPressure, disk, "Disk", "disk pressure"),
		pressure(corev1.NodePIDPressure, false, "PID", "PID available"),
		ready(f, s),
	}
	var out []corev1.NodeCondition
	for _, c := range old {
		if !slices.ContainsFunc(ours, func(o corev1.NodeCondition) bool { return o.Type == c.Type }) {
			out = append(out, c)
		}
	}
	now := metav1.NewTime(f.Now).Rfc3339Copy()
	for _, c := range ours {
		c.LastHeartbeatTime, c.LastTransitionTime = now, now
		for _, o := range old {
			if o.Type == c.Type && o.Status == c.Status {
				c.LastTransitionTime = o.LastTransitionTime
			}
		}
		out = append(out, c)
	}
	return out
}

func pressure(t corev1.NodeConditionType, short bool, what, sentence string) corev1.NodeCondition {
	c := corev1.NodeCondition{Type: t, Status: corev1.ConditionFalse, Reason: "KubeletHasSufficient" + what, Message: "kubelet has sufficient " + sentence}
	if short {
		c.Status, c.Reason, c.Message = corev1.ConditionTrue, "KubeletHasInsufficient"+what, "kubelet has insufficient "+sentence
	}
	if t == corev1.NodeDiskPressure {
		c.Reason, c.Message = "KubeletHasNoDiskPressure", "kubelet has no "+sentence
		if short {
			c.Reason, c.Message = "KubeletHasDiskPressure", "kubelet has "+sentence
		}
	}
	return c
}

func ready(f Facts, s corev1.NodeStatus) corev1.NodeCondition {
	var errs []error
	if f.EngineError != nil {
		errs = append(errs, engineDown{f.EngineError})
	} else if f.Engine.NetworkReady != nil {
		errs = append(errs, networkDown{f.Engine.NetworkReady})
	}
	for _, name := range []corev1.ResourceName{corev1.ResourceCPU, corev1.ResourceMemory, corev1.ResourcePods} {
		if _, ok := s.Capacity[name]; !ok {
			errs = append(errs, missing(name))
		}
	}
	if err := utilerrors.NewAggregate(errs); err != nil {
		return corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionFalse, Reason: "KubeletNotReady", Message: err.Error()}
	}
	return corev1.NodeCondition{Type: corev1.NodeReady, Status: corev1.ConditionTrue, Reason: "KubeletReady", Message: "kubelet is posting ready status"}
}

type engineDown struct{ error }

func (e engineDown) Error() string { return "container runtime is down: " + e.error.Error() }

type networkDown struct{ error }

func (e networkDown) Error() string {
	return "container runtime network not ready: NetworkReady=false reason:NetworkPluginNotReady message:Network plugin returns error: " + e.error.Error()
}

type missing corev1.ResourceName

func (m missing) Error() string { return "missing node capacity for resources: " + string(m) }
