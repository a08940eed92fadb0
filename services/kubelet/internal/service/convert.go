package service

import (
	kubeletv1 "coracle.local/proto/coracle/kubelet/v1"
	"coracle.local/services/kubelet/internal/stats"
)

func toProto(m stats.Summary, withNode bool) *kubeletv1.StatsResponse {
	out := &kubeletv1.StatsResponse{}
	if withNode {
		n := m.Node
		out.Node = &kubeletv1.NodeStats{
			Name: n.Name, StartTime: stamp(n.Started), Usage: usage(n.Usage),
			Filesystem: &kubeletv1.Filesystem{
				CapacityBytes: n.Storage.Capacity, AvailableBytes: n.Storage.Available, UsedBytes: n.Storage.Capacity - n.Storage.Available,
				Inodes: n.Storage.Inodes, InodesFree: n.Storage.InodesFree,
			},
		}
	}
	for _, p := range m.Pods {
		x := &kubeletv1.PodStats{
			Pod:       &kubeletv1.PodRef{Namespace: p.Namespace, Name: p.Name, Uid: string(p.UID)},
			StartTime: stamp(p.Started), Usage: usage(p.Usage),
		}
		for _, c := range p.Containers {
			x.Containers = append(x.Containers, &kubeletv1.ContainerStats{Name: c.Name, StartTime: stamp(c.Started), Usage: usage(c.Usage)})
		}
		for _, i := range p.Network {
			x.Network = append(x.Network, &kubeletv1.Network{
				Interface: i.Name, RxBytes: i.RxBytes, RxErrors: i.RxErrors, RxDrops: i.RxDrops,
				TxBytes: i.TxBytes, TxErrors: i.TxErrors, TxDrops: i.TxDrops,
			})
		}
		out.Pods = append(out.Pods, x)
	}
	return out
}

func usage(u stats.Usage) *kubeletv1.Usage {
	return &kubeletv1.Usage{
		Time: stamp(u.Time), CpuNanoseconds: u.CPUNanoseconds, CpuNanocores: u.CPUNanocores,
		MemoryUsageBytes: u.MemoryUsageBytes, MemoryWorkingSetBytes: u.MemoryWorkingSetBytes, MemoryRssBytes: u.MemoryRSSBytes,
		MemoryLimitBytes: u.MemoryLimitBytes, PageFaults: u.PageFaults, MajorPageFaults: u.MajorPageFaults, Pids: u.Pids,
	}
}
