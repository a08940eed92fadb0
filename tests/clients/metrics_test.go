package clients

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"coracle.local/cmd/coracle/cluster"
	"coracle.local/tests/fixture"
)

// collectors are all that kube-state-metrics has built in.
var collectors = []string{
	"certificatesigningrequests", "clusterrolebindings", "clusterroles", "configmaps", "cronjobs", "daemonsets", "deployments",
	"endpoints", "endpointslices", "horizontalpodautoscalers", "ingressclasses", "ingresses", "jobs", "leases", "limitranges",
	"mutatingwebhookconfigurations", "namespaces", "networkpolicies", "nodes", "persistentvolumeclaims", "persistentvolumes",
	"poddisruptionbudgets", "pods", "replicasets", "replicationcontrollers", "resourcequotas", "rolebindings", "roles", "secrets",
	"serviceaccounts", "services", "statefulsets", "storageclasses", "validatingwebhookconfigurations", "volumeattachments",
}

func TestKubeStateMetrics(t *testing.T) {
	path := program(t, "kube-state-metrics")
	c := fixture.Start(t, cluster.Config{Nodes: 1})
	runPod(t, c, "measured")
	port, telemetry := fixture.FreePort(t), fixture.FreePort(t)
	start(t, path, "--kubeconfig="+c.Kubeconfig, "--resources="+strings.Join(collectors, ","),
		"--host=127.0.0.1", fmt.Sprintf("--port=%d", port), "--telemetry-host=127.0.0.1", fmt.Sprintf("--telemetry-port=%d", telemetry))
	fixture.Eventually(t, 30*time.Second, "metrics of all that is there", func() bool {
		metrics := scrape(port)
		return !slices.ContainsFunc([]string{
			`kube_pod_info{namespace="default",pod="measured"`, `kube_pod_status_phase{namespace="default",pod="measured",uid=`,
			`kube_node_info{`, `kube_namespace_status_phase{namespace="default",phase="Active"} 1`,
			`kube_configmap_info{namespace="default",configmap="kube-root-ca.crt"} 1`, `kube_lease_owner{`, `kube_service_info{`,
		}, func(want string) bool { return !strings.Contains(metrics, want) })
	})
	// A collector follows its resource by a watch, with or without a list before.
	followed := regexp.MustCompile(`kube_state_metrics_watch_total\{resource="([^"]*)",result="success"[^}]*\} [1-9]`)
	var own string
	fixture.Eventually(t, 30*time.Second, "a watch of each collector", func() bool {
		own = scrape(telemetry)
		return len(followed.FindAllString(own, -1)) >= len(collectors)
	})
	failed := regexp.MustCompile(`kube_state_metrics_(list|watch)_total\{[^}]*result="error"[^}]*\} [1-9]`)
	if bad := failed.FindAllString(own, -1); len(bad) > 0 {
		t.Errorf("collectors failed: %s", strings.Join(bad, "\n"))
	}
}

// scrape reads a page of metrics; it is empty while nobody serves it.
func scrape(port int) string {
	r, err := http.Get(fmt.Sprintf("http://127.0.0.1:%d/metrics", port))
	if err != nil {
		return ""
	}
	defer func() { _ = r.Body.Close() }()
	data, err := io.ReadAll(r.Body)
	if err != nil {
		return ""
	}
	return string(data)
}

func TestPrometheusFindsPods(t *testing.T) {
	path := program(t, "prometheus")
	c := fixture.Start(t, cluster.Config{Nodes: 1})
	for role, want := range map[string]string{
		"pod":           `"__meta_kubernetes_pod_name":"measured"`,
		"node":          `"__meta_kubernetes_node_name":"node-1"`,
		"service":       `"__meta_kubernetes_service_name":"kubernetes"`,
		"endpointslice": `"__meta_kubernetes_endpointslice_name":"kubernetes"`,
	} {
		t.Run(role, func(t *testing.T) {
			if role == "pod" {
				runPod(t, c, "measured")
			}
			out := start(t, path, c.Kubeconfig, role)
			fixture.Eventually(t, 30*time.Second, want, func() bool {
				found, err := os.ReadFile(out)
				return err == nil && strings.Contains(string(found), want)
			})
		})
	}
}
