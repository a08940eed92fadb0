package app

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"coracle.local/services/kubelet/internal/agent"
	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/lifecycle"
)

// metrics are one kubelet's; names are upstream's where upstream has the
// thing.
type metrics struct {
	registry *prometheus.Registry
	steps    *prometheus.HistogramVec
	failed   *prometheus.CounterVec
	probes   *prometheus.CounterVec
	pulls    prometheus.Histogram
	started  prometheus.Counter
}

func newMetrics(nodeName string) *metrics {
	m := &metrics{
		registry: prometheus.NewRegistry(),
		steps: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "coracle_kubelet_step_duration_seconds", Help: "Time that a step of a pod took.", Buckets: prometheus.ExponentialBuckets(0.001, 4, 8),
		}, []string{"step"}),
		failed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "coracle_kubelet_step_failures_total", Help: "Steps of pods that failed.",
		}, []string{"step"}),
		probes: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "prober_probe_total", Help: "Cumulative number of a liveness, readiness or startup probe for a container by result.",
		}, []string{"probe_type", "result"}),
		pulls: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kubelet_image_pull_duration_seconds", Help: "Duration in seconds to pull an image.", Buckets: prometheus.ExponentialBuckets(0.25, 4, 8),
		}),
		started: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "kubelet_started_containers_total", Help: "Cumulative number of containers started",
		}),
	}
	name := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: "kubelet_node_name", Help: "The node's name. The count is always 1."}, []string{"node"})
	name.WithLabelValues(nodeName).Set(1)
	m.registry.MustRegister(m.steps, m.failed, m.probes, m.pulls, m.started, name)
	return m
}

// watch adds what is counted when somebody asks.
func (m *metrics) watch(pods func() []agent.Snapshot) {
	m.registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "kubelet_running_pods", Help: "Number of pods that have a running pod sandbox"}, func() float64 {
			n := 0
			for _, p := range pods() {
				for _, s := range p.Seen.Sandboxes {
					if s.Ready {
						n++
						break
					}
				}
			}
			return float64(n)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "kubelet_running_containers", Help: "Number of containers currently running",
			ConstLabels: prometheus.Labels{"container_state": string(engine.Running)},
		}, func() float64 {
			n := 0
			for _, p := range pods() {
				for _, c := range p.Seen.Containers {
					if c.State == engine.Running {
						n++
					}
				}
			}
			return float64(n)
		}),
	)
}

func (m *metrics) step(verb lifecycle.Verb, took time.Duration, err error) {
	m.steps.WithLabelValues(string(verb)).Observe(took.Seconds())
	switch {
	case err != nil:
		m.failed.WithLabelValues(string(verb)).Inc()
	case verb == lifecycle.Start:
		m.started.Inc()
	}
}

func (m *metrics) probe(kind, result string) { m.probes.WithLabelValues(kind, result).Inc() }

func (m *metrics) pull(took time.Duration, err error) {
	if err == nil {
		m.pulls.Observe(took.Seconds())
	}
}
