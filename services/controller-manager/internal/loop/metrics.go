package loop

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Metrics counts what the loops of one manager do. A nil Metrics counts
// nothing.
type Metrics struct {
	reconciles *prometheus.CounterVec
	waits      *prometheus.CounterVec
	seconds    *prometheus.HistogramVec
}

// NewMetrics registers the metrics of one manager.
func NewMetrics(r prometheus.Registerer) (*Metrics, error) {
	m := &Metrics{
		reconciles: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "coracle_controller_reconciles_total",
			Help: "Keys looked at, by controller and result.",
		}, []string{"controller", "result"}),
		waits: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "coracle_controller_waits_total",
			Help: "Keys put off because a cache did not show the last write yet.",
		}, []string{"controller"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "workqueue_work_duration_seconds",
			Help:    "How long in seconds processing an item from workqueue takes.",
			Buckets: prometheus.ExponentialBuckets(1e-5, 10, 8),
		}, []string{"name"}),
	}
	for _, c := range []prometheus.Collector{m.reconciles, m.waits, m.seconds} {
		if err := r.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}

func (m *Metrics) reconciled(controller string, took time.Duration, err error) {
	if m == nil {
		return
	}
	result := "success"
	if err != nil {
		result = "error"
	}
	m.reconciles.WithLabelValues(controller, result).Inc()
	m.seconds.WithLabelValues(controller).Observe(took.Seconds())
}

func (m *Metrics) waited(controller string) {
	if m != nil {
		m.waits.WithLabelValues(controller).Inc()
	}
}

// RegisterDepths makes the depth of the loops' queues readable.
func RegisterDepths(r prometheus.Registerer, loops []Loop) error {
	return r.Register(depths(loops))
}

type depths []Loop

var depthDesc = prometheus.NewDesc("workqueue_depth", "Current depth of workqueue", []string{"name", "part"}, nil)

// Describe implements prometheus.Collector.
func (d depths) Describe(c chan<- *prometheus.Desc) { c <- depthDesc }

// Collect implements prometheus.Collector.
func (d depths) Collect(c chan<- prometheus.Metric) {
	for _, l := range d {
		s := l.Status()
		c <- prometheus.MustNewConstMetric(depthDesc, prometheus.GaugeValue, float64(s.Depth), s.Controller, s.Part)
	}
}
