package rest

import (
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"coracle.local/services/apiserver/internal/front/rest/stream"
	"coracle.local/services/apiserver/internal/front/rest/target"
)

// metrics are named as upstream's.
type metrics struct {
	requests *prometheus.CounterVec
	duration *prometheus.HistogramVec
	inflight *prometheus.GaugeVec
	long     *prometheus.GaugeVec
	bodies   *prometheus.HistogramVec
	events   *prometheus.CounterVec
	sizes    *prometheus.HistogramVec
}

func newMetrics(r prometheus.Registerer) *metrics {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_request_total",
			Help: "Counter of apiserver requests broken out for each verb, dry run value, group, version, resource, scope, component, and HTTP response code.",
		}, []string{"verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component", "code"}),
		duration: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "apiserver_request_duration_seconds",
			Help:    "Response latency distribution in seconds for each verb, dry run value, group, version, resource, subresource, scope and component.",
			Buckets: []float64{0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"verb", "dry_run", "group", "version", "resource", "subresource", "scope", "component"}),
		inflight: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "apiserver_current_inflight_requests",
			Help: "Number of requests under way, by kind: readOnly or mutating.",
		}, []string{"request_kind"}),
		long: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "apiserver_longrunning_requests",
			Help: "Gauge of all active long-running apiserver requests broken out by verb, group, version, resource, scope and component.",
		}, []string{"verb", "group", "version", "resource", "subresource", "scope", "component"}),
		bodies: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "apiserver_request_body_size_bytes",
			Help:    "Apiserver request body size in bytes broken out by resource and verb.",
			Buckets: prometheus.ExponentialBuckets(512, 4, 8),
		}, []string{"resource", "verb"}),
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "apiserver_watch_events_total", Help: "Number of events sent in watch clients",
		}, []string{"group", "version", "resource"}),
		sizes: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "apiserver_watch_events_sizes", Help: "Watch event size distribution in bytes",
			Buckets: prometheus.ExponentialBuckets(1024, 2, 8),
		}, []string{"group", "version", "resource"}),
	}
	r.MustRegister(m.requests, m.duration, m.inflight, m.long, m.bodies, m.events, m.sizes)
	return m
}

// begin counts a request in, and returns what counts it out.
func (m *metrics) begin(t *target.Target, long bool) func(code int, dryRun bool, took time.Duration) {
	verb, scope := strings.ToUpper(t.Verb), scopeOf(t)
	resource, subresource := t.Resource, t.Subresource
	if !t.IsResource {
		// Paths are not labels: anybody can make up many.
		resource, subresource = "", ""
	}
	var now prometheus.Gauge
	switch {
	case long:
		now = m.long.WithLabelValues(verb, t.Group, t.Version, resource, subresource, scope, "apiserver")
	case t.Verb == "get" || t.Verb == "list":
		now = m.inflight.WithLabelValues("readOnly")
	default:
		now = m.inflight.WithLabelValues("mutating")
	}
	now.Inc()
	return func(code int, dryRun bool, took time.Duration) {
		now.Dec()
		if code == 0 {
			code = http.StatusOK
		}
		dry := ""
		if dryRun {
			dry = "All"
		}
		if code == http.StatusNotFound {
			// Nor are resources that are not served.
			resource, subresource = "", ""
		}
		m.requests.WithLabelValues(verb, dry, t.Group, t.Version, resource, subresource, scope, "apiserver", strconv.Itoa(code)).Inc()
		if !long {
			m.duration.WithLabelValues(verb, dry, t.Group, t.Version, resource, subresource, scope, "apiserver").Observe(took.Seconds())
		}
	}
}

func scopeOf(t *target.Target) string {
	switch {
	case !t.IsResource:
		return ""
	case t.Name != "" || t.Verb == "create":
		return "resource"
	case t.Namespace != "":
		return "namespace"
	}
	return "cluster"
}

func (m *metrics) event(e *stream.Encoder, bytes int) {
	m.events.WithLabelValues(e.Kind.Group, e.Kind.Version, e.Kind.Plural).Inc()
	m.sizes.WithLabelValues(e.Kind.Group, e.Kind.Version, e.Kind.Plural).Observe(float64(bytes))
}

func (m *metrics) body(c *call, bytes int) {
	m.bodies.WithLabelValues(c.kind.String(), c.t.Verb).Observe(float64(bytes))
}

func scraper(r *prometheus.Registry) http.Handler {
	return promhttp.HandlerFor(r, promhttp.HandlerOpts{})
}
