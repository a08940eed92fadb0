package engine_test

import (
	"fmt"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/clock"

	"coracle.local/services/scheduler/internal/engine"
	"coracle.local/services/scheduler/internal/harness"
)

const (
	benchNodes  = 5000
	benchGroups = 50
	// benchPods is the number of pods after which the cluster is emptied.
	benchPods = 20_000
)

// instant is an API server that binds at once and has informers that are never
// late.
type instant struct {
	*harness.Harness
	engine *engine.Engine
}

func (i *instant) Bind(p *corev1.Pod, node string, done func(error)) {
	bound := *p
	bound.Spec.NodeName = node
	i.engine.PodSeen(&bound)
	done(nil)
}

func (*instant) Event(runtime.Object, string, string, string) {}

// BenchmarkDecide places pods of 50 Deployments in turn on 5,000 nodes: the
// queue, the decision, the assumption and its confirmation, without an API
// server.
func BenchmarkDecide(b *testing.B) {
	variants := map[string]func(p *corev1.Pod, group string){
		"plain": func(*corev1.Pod, string) {},
		"spread": func(p *corev1.Pod, group string) {
			harness.Spread(1, corev1.LabelTopologyZone, corev1.DoNotSchedule, "app", group)(p)
			harness.Spread(1, corev1.LabelHostname, corev1.ScheduleAnyway, "app", group)(p)
		},
		"antiaffinity": func(p *corev1.Pod, group string) { harness.Away(corev1.LabelHostname, "app", group)(p) },
		"deployment":   func(p *corev1.Pod, group string) { p.Labels["owned"] = group },
		"statefulset":  func(p *corev1.Pod, _ string) { p.Labels["statefulset.kubernetes.io/pod-name"] = p.Name },
	}
	for _, name := range []string{"plain", "spread", "antiaffinity", "deployment", "statefulset"} {
		b.Run(name, func(b *testing.B) { benchmark(b, variants[name]) })
	}
}

func benchmark(b *testing.B, shape func(p *corev1.Pod, group string)) {
	h := harness.New(b)
	world := &instant{Harness: h}
	world.engine = engine.New(engine.Config{
		Log: zap.NewNop(), Clock: clock.RealClock{}, SchedulerName: corev1.DefaultSchedulerName,
		Binder: world, Status: h, Evictor: h, VolumeBinder: h, Recorder: world,
		Workloads: h, Volumes: h, Budgets: h, Metrics: engine.NewMetrics(prometheus.NewRegistry(), "bench"),
	})
	h.SetSiblings("owned")
	world.engine.Lead(true)
	for i := range benchNodes {
		world.engine.NodeSeen(harness.NewNode(fmt.Sprintf("node-%05d", i),
			harness.Capacity("cpu", "32", "memory", "256Gi"),
			harness.Label(corev1.LabelTopologyZone, fmt.Sprintf("zone-%d", i%3))))
	}
	world.engine.Turn()
	pods := make([]*corev1.Pod, 0, benchPods)
	b.ReportAllocs()
	placed := 0
	for b.Loop() {
		if len(pods) == benchPods {
			b.StopTimer()
			for _, p := range pods {
				world.engine.PodGone(p)
			}
			world.engine.Turn()
			pods = pods[:0]
			b.StartTimer()
		}
		p := benchPod(placed, shape)
		pods = append(pods, p)
		world.engine.PodSeen(p)
		world.engine.Turn()
		if !world.engine.Step() {
			b.Fatal("nothing to decide")
		}
		placed++
	}
	b.ReportMetric(float64(placed)/b.Elapsed().Seconds(), "pods/s")
}

func benchPod(i int, shape func(p *corev1.Pod, group string)) *corev1.Pod {
	group := fmt.Sprintf("group-%02d", i%benchGroups)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{
			Namespace: "default", Name: fmt.Sprintf("pod-%07d", i),
			UID:    types.UID(fmt.Sprintf("%032x", i)),
			Labels: map[string]string{"app": group, "app.kubernetes.io/name": "web", "pod-template-hash": "6d4cf56db6"},
		},
		Spec: corev1.PodSpec{SchedulerName: corev1.DefaultSchedulerName, Containers: []corev1.Container{{
			Name: "web", Image: "shop/web:1.4.2",
			Resources: corev1.ResourceRequirements{Requests: harness.List("cpu", "100m", "memory", "200Mi")},
		}}},
	}
	shape(p, group)
	return p
}
