package engine

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"coracle.local/services/scheduler/internal/queue"
)

// Metrics are upstream's names for what the engine counts.
type Metrics struct {
	attempts    *prometheus.CounterVec
	durations   *prometheus.HistogramVec
	algorithm   prometheus.Histogram
	waiting     *prometheus.HistogramVec
	tries       prometheus.Histogram
	preemptions prometheus.Counter
	victims     prometheus.Histogram
	evictions   prometheus.Histogram
	pending     *prometheus.GaugeVec
	cacheSize   *prometheus.GaugeVec
	classes     *prometheus.GaugeVec
	profile     string
}

// NewMetrics registers the engine's metrics. profile is the scheduler's name.
func NewMetrics(registry prometheus.Registerer, profile string) *Metrics {
	buckets := prometheus.ExponentialBuckets(0.00001, 2, 20)
	m := &Metrics{
		profile: profile,
		attempts: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "scheduler_schedule_attempts_total",
			Help: "Attempts to schedule pods, by result and profile.",
		}, []string{"result", "profile"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "scheduler_scheduling_attempt_duration_seconds",
			Help: "From the begin of an attempt to its result, the binding included.", Buckets: buckets,
		}, []string{"result", "profile"}),
		algorithm: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "scheduler_scheduling_algorithm_duration_seconds",
			Help: "Time to choose a node.", Buckets: buckets,
		}),
		waiting: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "scheduler_pod_scheduling_sli_duration_seconds",
			Help: "From the first sight of a pod to its binding.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 20),
		}, []string{"attempts"}),
		tries: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "scheduler_pod_scheduling_attempts",
			Help: "Attempts that bound pods have taken.", Buckets: prometheus.ExponentialBuckets(1, 2, 5),
		}),
		preemptions: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "scheduler_preemption_attempts_total",
			Help: "Attempts to make room by preemption.",
		}),
		victims: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "scheduler_preemption_victims",
			Help: "Pods that were chosen to leave, by preemption.", Buckets: prometheus.ExponentialBuckets(1, 2, 7),
		}),
		evictions: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "scheduler_preemption_execution_duration_seconds",
			Help: "Time to ask the victims of a preemption to leave.", Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}),
		pending: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "scheduler_pending_pods",
			Help: "Pods that wait, by part of the queue.",
		}, []string{"queue"}),
		cacheSize: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "scheduler_cache_size",
			Help: "Nodes, pods and assumed pods known.",
		}, []string{"type"}),
		classes: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "scheduler_equivalence_classes",
			Help: "Classes kept, and how often a class was built, repaired or found current.",
		}, []string{"kind"}),
	}
	registry.MustRegister(m.attempts, m.durations, m.algorithm, m.waiting, m.tries, m.preemptions, m.victims,
		m.evictions, m.pending, m.cacheSize, m.classes)
	return m
}

// update sets the gauges. The engine does so when it has nothing else to do.
func (m *Metrics) update(e *Engine) {
	for _, p := range [...]queue.Place{queue.Active, queue.Backoff, queue.Unschedulable, queue.Gated} {
		m.pending.WithLabelValues(p.String()).Set(float64(e.queue.Len(p)))
	}
	m.cacheSize.WithLabelValues("nodes").Set(float64(len(e.state.Nodes)))
	m.cacheSize.WithLabelValues("pods").Set(float64(e.state.Pods()))
	m.cacheSize.WithLabelValues("assumed_pods").Set(float64(len(e.binding)))
	m.classes.WithLabelValues("kept").Set(float64(e.classes.Len()))
	m.classes.WithLabelValues("built").Set(float64(e.classes.Built))
	m.classes.WithLabelValues("repaired").Set(float64(e.classes.Repaired))
	m.classes.WithLabelValues("current").Set(float64(e.classes.Reused))
}

func (m *Metrics) attempted(result string, took time.Duration) {
	m.attempts.WithLabelValues(result, m.profile).Inc()
	m.durations.WithLabelValues(result, m.profile).Observe(took.Seconds())
}

func (m *Metrics) scheduled(took, waited time.Duration, attempts int) {
	m.attempted("scheduled", took)
	m.tries.Observe(float64(attempts))
	label := "15+"
	if attempts < 15 {
		label = strconv.Itoa(attempts)
	}
	m.waiting.WithLabelValues(label).Observe(waited.Seconds())
}
