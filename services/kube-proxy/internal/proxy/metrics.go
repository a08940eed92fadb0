package proxy

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	duration prometheus.Histogram
	chains   prometheus.Counter
	failures prometheus.Counter
}

// newMetrics names the metrics as upstream does where it has them.
func newMetrics(r *prometheus.Registry) metrics {
	m := metrics{
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "kubeproxy_sync_proxy_rules_duration_seconds", Help: "SyncProxyRules latency in seconds",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}),
		chains:   prometheus.NewCounter(prometheus.CounterOpts{Name: "coracle_proxy_chains_written_total", Help: "Chains written to the kernel"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{Name: "kubeproxy_sync_proxy_rules_iptables_restore_failures_total", Help: "Cumulative proxy iptables restore failures"}),
	}
	r.MustRegister(m.duration, m.chains, m.failures)
	return m
}

func (m metrics) observe(took time.Duration, chains int, err error) {
	m.duration.Observe(took.Seconds())
	m.chains.Add(float64(chains))
	if err != nil {
		m.failures.Inc()
	}
}
