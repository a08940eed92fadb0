package app_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"coracle.local/libs/apitest"
	"coracle.local/libs/client"
	"coracle.local/libs/flags"
	kubeletv1 "coracle.local/proto/coracle/kubelet/v1"
	"coracle.local/services/kubelet/app"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// start runs a hollow kubelet until the test ends or stop is called.
func start(t *testing.T, f *apitest.API, name string) (address string, stop func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	cfg := app.Config{Log: zap.NewNop(), Conn: f.Connect(t), Listener: l, Runtime: app.Hollow, NodeName: name}
	go func() { done <- app.Run(ctx, cfg) }()
	stopped := false
	stop = func() {
		if !stopped {
			stopped = true
			cancel()
			if err := <-done; err != nil {
				t.Errorf("Run: %v", err)
			}
		}
	}
	t.Cleanup(stop)
	return l.Addr().String(), stop
}

func newPod(name, node string) *corev1.Pod {
	grace := int64(30)
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Generation: 1},
		Spec: corev1.PodSpec{
			NodeName: node, RestartPolicy: corev1.RestartPolicyAlways, TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name: "app", Image: "app:1", ReadinessProbe: &corev1.Probe{}, ImagePullPolicy: corev1.PullIfNotPresent,
				EnvFrom: []corev1.EnvFromSource{{ConfigMapRef: &corev1.ConfigMapEnvSource{LocalObjectReference: corev1.LocalObjectReference{Name: "cfg"}}}},
			}},
			InitContainers: []corev1.Container{{Name: "setup", Image: "setup:1"}},
		},
		Status: corev1.PodStatus{Phase: corev1.PodPending},
	}
}

func phase(f *apitest.API, name string) corev1.PodPhase {
	if p, ok := apitest.Get[*corev1.Pod](f, "default", name); ok {
		return p.Status.Phase
	}
	return ""
}

func dial(t *testing.T, address string) kubeletv1.KubeletServiceClient {
	t.Helper()
	cc, err := grpc.NewClient(address, append(client.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return kubeletv1.NewKubeletServiceClient(cc)
}

func TestAHollowNode(t *testing.T) {
	f := apitest.New()
	f.Seed(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "cfg"}})
	address, stop := start(t, f, "n1")
	f.Until(t, "the node is ready", func() bool {
		n, ok := apitest.Get[*corev1.Node](f, "", "n1")
		return ok && slices.ContainsFunc(n.Status.Conditions, func(c corev1.NodeCondition) bool {
			return c.Type == corev1.NodeReady && c.Status == corev1.ConditionTrue
		})
	})
	f.Until(t, "the lease", func() bool { _, ok := apitest.Get[*coordinationv1.Lease](f, "kube-node-lease", "n1"); return ok })
	f.Seed(newPod("web", "n1"))
	f.Seed(newPod("far", "n2"))
	f.Until(t, "the pod runs", func() bool { return phase(f, "web") == corev1.PodRunning })
	if got := phase(f, "far"); got != corev1.PodPending {
		t.Errorf("another node's pod is %s", got)
	}
	look(t, address)
	asks(t, address)

	p, _ := apitest.Get[*corev1.Pod](f, "default", "web")
	gone := p.DeepCopy()
	now, grace := metav1.Now(), int64(5)
	gone.DeletionTimestamp, gone.DeletionGracePeriodSeconds = &now, &grace
	f.Seed(gone)
	f.Until(t, "the pod is gone", func() bool { return phase(f, "web") == "" })
	stop()
}

// look asks over gRPC.
func look(t *testing.T, address string) {
	t.Helper()
	s := dial(t, address)
	list, err := s.ListPods(t.Context(), &kubeletv1.ListPodsRequest{})
	if err != nil || list.GetNode() != "n1" || len(list.GetPods()) != 1 || list.GetPods()[0].GetPod().GetName() != "web" {
		t.Fatalf("list: %v, %v", list, err)
	}
	pod := &kubeletv1.PodRef{Namespace: "default", Name: "web"}
	got, err := s.GetPod(t.Context(), &kubeletv1.GetPodRequest{Pod: pod})
	if err != nil || got.GetPod().GetNext().GetVerb() != "Wait" || got.GetPod().GetNext().GetWhy() != "everything runs" || len(got.GetContainers()) != 2 {
		t.Errorf("get: %v, %v", got, err)
	}
	if _, err := s.GetPod(t.Context(), &kubeletv1.GetPodRequest{Pod: &kubeletv1.PodRef{Namespace: "default", Name: "none"}}); err == nil {
		t.Error("a pod that is not here was found")
	}
	logs, err := s.Logs(t.Context(), &kubeletv1.LogsRequest{Pod: pod, Container: "app"})
	if err == nil {
		_, err = logs.Recv()
	}
	if !errors.Is(err, io.EOF) {
		t.Errorf("logs: %v", err)
	}
	if m, err := s.Stats(t.Context(), &kubeletv1.StatsRequest{}); err != nil || m.GetNode().GetName() != "n1" || len(m.GetPods()) != 1 {
		t.Errorf("stats: %v, %v", m, err)
	}
}

// asks asks over HTTP.
func asks(t *testing.T, address string) {
	t.Helper()
	transport := &http.Transport{}
	defer transport.CloseIdleConnections()
	read := func(path string) (int, string) {
		t.Helper()
		r, err := (&http.Client{Transport: transport}).Get("http://" + address + path)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = r.Body.Close() }()
		b, err := io.ReadAll(r.Body)
		if err != nil {
			t.Fatal(err)
		}
		return r.StatusCode, string(b)
	}
	_, body := read("/pods")
	var list corev1.PodList
	if err := json.Unmarshal([]byte(body), &list); err != nil || list.Kind != "PodList" || len(list.Items) != 1 || list.Items[0].Status.Phase != corev1.PodRunning {
		t.Errorf("/pods: %v, %s", err, body)
	}
	for path, want := range map[string]string{
		"/healthz": "ok", "/readyz": "ok", "/metrics": "kubelet_running_pods 1", "/metrics/resource": `container_cpu_usage_seconds_total{container="app"`,
		"/stats/summary": `"nodeName":"n1"`, "/containerLogs/default/web/app": "",
	} {
		if code, body := read(path); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s: %d, %s", path, code, body)
		}
	}
	for path, want := range map[string]int{
		"/containerLogs/default/none/app": http.StatusNotFound, "/containerLogs/default/web/none": http.StatusBadRequest,
		"/containerLogs/default/web/app?tailLines=x": http.StatusBadRequest,
	} {
		if code, body := read(path); code != want {
			t.Errorf("%s: %d, %s", path, code, body)
		}
	}
}

func TestManyNodesInOneProcess(t *testing.T) {
	f := apitest.New()
	f.Seed(&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "cfg"}})
	for _, name := range []string{"n1", "n2", "n3"} {
		start(t, f, name)
		f.Seed(newPod("on-"+name, name))
	}
	for _, name := range []string{"n1", "n2", "n3"} {
		f.Until(t, "the pod on "+name, func() bool { return phase(f, "on-"+name) == corev1.PodRunning })
	}
}

func TestValidate(t *testing.T) {
	log, conn := zap.NewNop(), &client.Conn{}
	ip := netip.MustParseAddr
	for _, test := range []struct {
		name string
		cfg  app.Config
		want string
	}{
		{"a connection will do", app.Config{Log: log, Conn: conn}, ""},
		{"no logger", app.Config{Conn: conn}, "needs a logger"},
		{"no API server", app.Config{Log: log}, "set --kubeconfig"},
		{"another runtime", app.Config{Log: log, Conn: conn, Runtime: "podman"}, "choose docker or hollow"},
		{"a name that is none", app.Config{Log: log, Conn: conn, NodeName: "A b"}, "node name"},
		{"two of a family", app.Config{Log: log, Conn: conn, NodeIPs: []netip.Addr{ip("10.0.0.1"), ip("10.0.0.2")}}, "at most one of each IP family"},
		{"a relative root", app.Config{Log: log, Conn: conn, RootDir: "var"}, "is not absolute"},
		{"a bad threshold", app.Config{Log: log, Conn: conn, EvictionHard: "x"}, "eviction threshold"},
	} {
		t.Run(test.name, func(t *testing.T) {
			err := test.cfg.Validate()
			if (err == nil) != (test.want == "") || err != nil && !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
		})
	}
}

func TestFlags(t *testing.T) {
	parse := func(args ...string) (app.Config, error) {
		var f app.Flags
		fs := pflag.NewFlagSet("kubelet", pflag.ContinueOnError)
		f.Add(fs)
		if err := flags.Parse(fs, args, zap.NewNop()); err != nil {
			return app.Config{}, err
		}
		return f.Config(fs, zap.NewNop())
	}
	cfg, err := parse("--kubeconfig=k", "--port=0", "--hostname-override=N1", "--node-ip=10.0.0.1,fd00::1", "--cluster-dns=10.96.0.10",
		"--node-labels=a=b,c=d", "--register-with-taints=k=v:NoSchedule,x:NoExecute", "--max-pods=7", "--pod-cidr=10.1.0.0/24",
		"--system-reserved=cpu=100m", "--kube-reserved=cpu=200m", "--container-runtime=hollow", "--cgroup-driver=systemd")
	if err != nil {
		t.Fatal(err)
	}
	cpu := cfg.Reserved[corev1.ResourceCPU]
	if cfg.NodeName != "n1" || len(cfg.NodeIPs) != 2 || cfg.ClusterDNS[0].String() != "10.96.0.10" || cfg.NodeLabels["c"] != "d" ||
		len(cfg.Taints) != 2 || cfg.Taints[1].Effect != corev1.TaintEffectNoExecute || cfg.MaxPods != 7 || cpu.String() != "300m" || cfg.Runtime != app.Hollow {
		t.Errorf("got %+v", cfg)
	}
	for _, bad := range []string{"--node-ip=x", "--register-with-taints=k", "--pod-cidr=x", "--system-reserved=cpu=x", "--max-pods=x"} {
		if _, err := parse("--kubeconfig=k", "--port=0", bad); err == nil {
			t.Errorf("%s was accepted", bad)
		}
	}
}

func TestConfigurationFile(t *testing.T) {
	file := filepath.Join(t.TempDir(), "kubelet.yaml")
	content := `
kind: KubeletConfiguration
apiVersion: kubelet.config.k8s.io/v1beta1
port: 0
clusterDNS: [10.96.0.10]
maxPods: 5
resolvConf: ""
evictionHard: {memory.available: 50Mi, nodefs.available: 1%}
registerWithTaints: [{key: k, value: v, effect: NoSchedule}]
`
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	var f app.Flags
	fs := pflag.NewFlagSet("kubelet", pflag.ContinueOnError)
	f.Add(fs)
	if err := flags.Parse(fs, []string{"--kubeconfig=k", "--config=" + file, "--max-pods=9"}, zap.NewNop()); err != nil {
		t.Fatal(err)
	}
	cfg, err := f.Config(fs, zap.NewNop())
	if err != nil {
		t.Fatal(err)
	}
	if cfg.MaxPods != 9 || cfg.ClusterDNS[0].String() != "10.96.0.10" || cfg.ResolvConf != "-" || len(cfg.Taints) != 1 ||
		cfg.EvictionHard != "memory.available<50Mi,nodefs.available<1%" {
		t.Errorf("got %+v", cfg)
	}
}
