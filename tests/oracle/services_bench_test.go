package oracle

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilnet "k8s.io/apimachinery/pkg/util/net"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"

	"coracle.local/cmd/coracle/cluster"
	apiserver "coracle.local/services/apiserver/app"
	"coracle.local/tests/fixture"
)

// atOnce is how many clients create Services.
const atOnce = 50

// BenchmarkCreateService creates Services at both servers, over one etcd that
// does not wait for a disk, by many clients at once.
func BenchmarkCreateService(b *testing.B) {
	ports := utilnet.PortRange{Base: 10000, Size: 50000}
	c := fixture.Start(b, cluster.Config{Controllers: []string{"-*"}, APIServer: func(c *apiserver.Config) { c.NodePorts = ports }})
	b.Run("ours", func(b *testing.B) { createServices(b, c.Config) })
	b.Run("upstream", func(b *testing.B) {
		createServices(b, startUpstream(b, c, "--service-node-port-range="+ports.String()))
	})
}

func createServices(b *testing.B, cfg *rest.Config) {
	cfg = rest.CopyConfig(cfg)
	cfg.QPS, cfg.ContentType, cfg.AcceptContentTypes = -1, "application/vnd.kubernetes.protobuf", "application/vnd.kubernetes.protobuf"
	clients, err := kubernetes.NewForConfig(cfg)
	if err != nil {
		b.Fatal(err)
	}
	services := clients.CoreV1().Services("default")
	run := 0
	for _, kind := range []corev1.ServiceType{corev1.ServiceTypeClusterIP, corev1.ServiceTypeNodePort} {
		b.Run(string(kind), func(b *testing.B) {
			run++
			took := timed(b, func(n int64) error {
				_, err := services.Create(context.Background(), &corev1.Service{
					ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("s%d-%d-%d", time.Now().UnixNano(), run, n)},
					Spec:       corev1.ServiceSpec{Type: kind, Ports: []corev1.ServicePort{{Port: 80}}},
				}, metav1.CreateOptions{})
				return err
			})
			b.ReportMetric(float64(took[len(took)/2].Microseconds())/1000, "p50-ms")
			b.ReportMetric(float64(took[len(took)*99/100].Microseconds())/1000, "p99-ms")
			b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "services/s")
		})
	}
}

// timed calls f b.N times, by many at once, and returns how long each call took.
func timed(b *testing.B, f func(n int64) error) []time.Duration {
	took := make([]time.Duration, b.N)
	var next atomic.Int64
	var group sync.WaitGroup
	b.ResetTimer()
	for range atOnce {
		group.Go(func() {
			for n := next.Add(1) - 1; n < int64(b.N); n = next.Add(1) - 1 {
				began := time.Now()
				if err := f(n); err != nil {
					b.Error(err)
				}
				took[n] = time.Since(began)
			}
		})
	}
	group.Wait()
	b.StopTimer()
	slices.Sort(took)
	return took
}
