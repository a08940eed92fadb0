// Package httpapi are the endpoints that Kubernetes expects of a kubelet over
// plain HTTP: pods, logs, and measurements.
package httpapi

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/clock"

	"coracle.local/libs/apistatus"
	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/reach"
	"coracle.local/services/kubelet/internal/service"
)

// Config is what the endpoints are made of.
type Config struct {
	Log    *zap.Logger
	Pods   reach.Pods
	Engine engine.Runtime
	Stats  service.Stats
	Clock  clock.PassiveClock
}

type server struct{ Config }

// Handler serves /pods, /containerLogs/, /stats/summary and
// /metrics/resource.
func Handler(cfg Config) http.Handler {
	s := &server{cfg}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /pods", s.pods)
	mux.HandleFunc("GET /pods/{$}", s.pods)
	mux.HandleFunc("GET /runningpods/{$}", s.pods)
	mux.HandleFunc("GET /containerLogs/{namespace}/{pod}/{container}", s.logs)
	mux.HandleFunc("GET /stats/summary", s.summary)
	mux.Handle("GET /metrics/resource", s.resourceMetrics())
	return mux
}

func (s *server) pods(w http.ResponseWriter, _ *http.Request) {
	list := corev1.PodList{TypeMeta: metav1.TypeMeta{Kind: "PodList", APIVersion: "v1"}, Items: []corev1.Pod{}}
	for _, p := range s.Pods.Snapshots() {
		if !p.Orphan {
			list.Items = append(list.Items, *p.Pod)
		}
	}
	s.json(w, list)
}

func (s *server) json(w http.ResponseWriter, v any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(v); err != nil {
		s.Log.Info("answer was not taken", zap.Error(err))
	}
}

func fail(w http.ResponseWriter, err error) {
	status := apistatus.Of(err)
	http.Error(w, status.Message, int(status.Code))
}

func (s *server) logs(w http.ResponseWriter, r *http.Request) {
	p, err := reach.Pod(s.Pods, r.PathValue("namespace"), r.PathValue("pod"), "")
	if err != nil {
		fail(w, err)
		return
	}
	o, previous, err := s.logOptions(r.URL.Query())
	if err != nil {
		fail(w, err)
		return
	}
	id, err := reach.Logs(p, r.PathValue("container"), previous)
	if err != nil {
		fail(w, err)
		return
	}
	w.Header().Set("Content-Type", "text/plain")
	out := flushing{w, http.NewResponseController(w)}
	if err := s.Engine.Logs(r.Context(), id, o, out, out); err != nil {
		fail(w, reach.Explain(err, r.PathValue("container")))
	}
}

// flushing sends at once what is written, for those who follow.
type flushing struct {
	io.Writer
	c *http.ResponseController
}

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.Writer.Write(p)
	if err == nil {
		err = f.c.Flush()
	}
	return n, err
}

// logOptions reads PodLogOptions of a query.
func (s *server) logOptions(q url.Values) (o engine.LogOptions, previous bool, err error) {
	o.Tail = -1
	number := func(name string, set func(int64)) {
		if v := q.Get(name); v != "" && err == nil {
			n, bad := strconv.ParseInt(v, 10, 64)
			if bad != nil || n < 0 {
				err = apierrors.NewBadRequest(fmt.Sprintf("%s must be a number of at least 0", name))
				return
			}
			set(n)
		}
	}
	flag := func(name string) bool { b, bad := strconv.ParseBool(q.Get(name)); return bad == nil && b }
	o.Follow, o.Timestamps, previous = flag("follow"), flag("timestamps"), flag("previous")
	number("tailLines", func(n int64) { o.Tail = n })
	number("limitBytes", func(n int64) { o.LimitBytes = n })
	number("sinceSeconds", func(n int64) { o.Since = s.Clock.Now().Add(-time.Duration(n) * time.Second) })
	if v := q.Get("sinceTime"); v != "" && err == nil {
		if o.Since, err = time.Parse(time.RFC3339, v); err != nil {
			err = apierrors.NewBadRequest("sinceTime must be an RFC 3339 time")
		}
	}
	return o, previous, err
}

// resourceMetrics measures for each scrape.
func (s *server) resourceMetrics() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		registry := prometheus.NewRegistry()
		if err := registry.Register(&resources{stats: s.Stats, ctx: r.Context()}); err != nil {
			fail(w, err)
			return
		}
		promhttp.HandlerFor(registry, promhttp.HandlerOpts{}).ServeHTTP(w, r)
	})
}
