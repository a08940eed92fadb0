package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	statsapi "k8s.io/kubelet/pkg/apis/stats/v1alpha1"

	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/service"
	"coracle.local/services/kubelet/internal/stats"
)

// summary answers in upstream's form of /stats/summary.
func (s *server) summary(w http.ResponseWriter, r *http.Request) {
	m, err := s.Stats.Measure(r.Context(), "")
	if err != nil {
		fail(w, err)
		return
	}
	at := metav1.NewTime(m.Node.Usage.Time)
	used := m.Node.Storage.Capacity - m.Node.Storage.Available
	inodesUsed := m.Node.Storage.Inodes - m.Node.Storage.InodesFree
	out := statsapi.Summary{
		Node: statsapi.NodeStats{
			NodeName: m.Node.Name, StartTime: metav1.NewTime(m.Node.Started), CPU: cpu(m.Node.Usage), Memory: memory(m.Node.Usage),
			Fs: &statsapi.FsStats{
				Time: at, AvailableBytes: &m.Node.Storage.Available, CapacityBytes: &m.Node.Storage.Capacity, UsedBytes: &used,
				InodesFree: &m.Node.Storage.InodesFree, Inodes: &m.Node.Storage.Inodes, InodesUsed: &inodesUsed,
			},
		},
		Pods: []statsapi.PodStats{},
	}
	for _, p := range m.Pods {
		out.Pods = append(out.Pods, podStats(p))
	}
	s.json(w, out)
}

func podStats(p stats.Pod) statsapi.PodStats {
	out := statsapi.PodStats{
		PodRef:    statsapi.PodReference{Namespace: p.Namespace, Name: p.Name, UID: string(p.UID)},
		StartTime: metav1.NewTime(p.Started), CPU: cpu(p.Usage), Memory: memory(p.Usage),
		ProcessStats: &statsapi.ProcessStats{ProcessCount: &p.Usage.Pids}, Containers: []statsapi.ContainerStats{},
	}
	for _, c := range p.Containers {
		out.Containers = append(out.Containers, statsapi.ContainerStats{
			Name: c.Name, StartTime: metav1.NewTime(c.Started), CPU: cpu(c.Usage), Memory: memory(c.Usage),
		})
	}
	if len(p.Network) > 0 {
		out.Network = &statsapi.NetworkStats{Time: metav1.NewTime(p.Usage.Time), InterfaceStats: network(p.Network[0])}
		for _, i := range p.Network {
			out.Network.Interfaces = append(out.Network.Interfaces, network(i))
		}
	}
	return out
}

func cpu(u stats.Usage) *statsapi.CPUStats {
	return &statsapi.CPUStats{Time: metav1.NewTime(u.Time), UsageNanoCores: &u.CPUNanocores, UsageCoreNanoSeconds: &u.CPUNanoseconds}
}

func memory(u stats.Usage) *statsapi.MemoryStats {
	m := &statsapi.MemoryStats{
		Time: metav1.NewTime(u.Time), UsageBytes: &u.MemoryUsageBytes, WorkingSetBytes: &u.MemoryWorkingSetBytes, RSSBytes: &u.MemoryRSSBytes,
		PageFaults: &u.PageFaults, MajorPageFaults: &u.MajorPageFaults,
	}
	if u.MemoryLimitBytes > u.MemoryWorkingSetBytes {
		free := u.MemoryLimitBytes - u.MemoryWorkingSetBytes
		m.AvailableBytes = &free
	}
	return m
}

func network(n engine.NetworkStats) statsapi.InterfaceStats {
	return statsapi.InterfaceStats{Name: n.Name, RxBytes: &n.RxBytes, RxErrors: &n.RxErrors, TxBytes: &n.TxBytes, TxErrors: &n.TxErrors}
}

// resources are the metrics of /metrics/resource, upstream's names.
type resources struct {
	stats service.Stats
	ctx   context.Context // of the scrape
}

func desc(name, help string, labels []string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// Describe says nothing: what there is depends on what runs.
func (*resources) Describe(chan<- *prometheus.Desc) {}

// Collect measures.
func (r *resources) Collect(out chan<- prometheus.Metric) {
	m, err := r.stats.Measure(r.ctx, "")
	failed := 0.0
	if err != nil {
		failed = 1
	}
	for _, name := range []string{"scrape_error", "resource_scrape_error"} {
		out <- prometheus.MustNewConstMetric(desc(name, "1 if there was an error while getting container metrics, 0 otherwise", nil), prometheus.GaugeValue, failed)
	}
	if err != nil {
		return
	}
	byContainer, byPod := []string{"container", "pod", "namespace"}, []string{"pod", "namespace"}
	usage := func(prefix, of string, u stats.Usage, labels []string, values ...string) {
		if u.Time.IsZero() {
			return
		}
		out <- at(u.Time, desc(prefix+"_cpu_usage_seconds_total", "Cumulative cpu time consumed by the "+of+" in core-seconds", labels),
			prometheus.CounterValue, float64(u.CPUNanoseconds)/float64(time.Second), values)
		out <- at(u.Time, desc(prefix+"_memory_working_set_bytes", "Current working set of the "+of+" in bytes", labels),
			prometheus.GaugeValue, float64(u.MemoryWorkingSetBytes), values)
	}
	usage("node", "node", m.Node.Usage, nil)
	for _, p := range m.Pods {
		usage("pod", "pod", p.Usage, byPod, p.Name, p.Namespace)
		for _, c := range p.Containers {
			usage("container", "container", c.Usage, byContainer, c.Name, p.Name, p.Namespace)
			out <- prometheus.MustNewConstMetric(desc("container_start_time_seconds", "Start time of the container since unix epoch in seconds", byContainer),
				prometheus.GaugeValue, float64(c.Started.UnixNano())/float64(time.Second), c.Name, p.Name, p.Namespace)
		}
	}
}

func at(t time.Time, d *prometheus.Desc, kind prometheus.ValueType, v float64, labels []string) prometheus.Metric {
	return prometheus.NewMetricWithTimestamp(t, prometheus.MustNewConstMetric(d, kind, v, labels...))
}
