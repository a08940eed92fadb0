package lab

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"
)

// grpcurl asks components over gRPC, with nothing of ours but a certificate.
type grpcurl struct {
	*lab
	tool, cert, key string
}

func (l *lab) grpcurl() *grpcurl {
	l.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", l.kubeconfig)
	if err != nil {
		l.t.Fatal(err)
	}
	folder := l.t.TempDir()
	g := &grpcurl{lab: l, cert: filepath.Join(folder, "admin.crt"), key: filepath.Join(folder, "admin.key")}
	for path, data := range map[string][]byte{g.cert: config.CertData, g.key: config.KeyData} {
		if err := os.WriteFile(path, data, 0o600); err != nil {
			l.t.Fatal(err)
		}
	}
	g.tool = strings.TrimSpace(l.run(filepath.Join(l.root, "tools/tool.sh"), "grpcurl"))
	return g
}

// with is the same for another test.
func (g *grpcurl) with(t *testing.T) *grpcurl {
	other, l := *g, *g.lab
	l.t, other.lab = t, &l
	return &other
}

// args end with the address and what is asked there. Components make their own
// certificates, as upstream's do; the API server's is verified.
func (g *grpcurl) args(address string, rest ...string) []string {
	args := []string{"-max-time", "60", "-cert", g.cert, "-key", g.key}
	if strings.HasSuffix(address, ":"+g.settings["CORACLE_GRPC_PORT"]) {
		args = append(args, "-cacert", filepath.Join(g.root, "lab/.state/ca.crt"))
	} else {
		args = append(args, "-insecure")
	}
	flags, verbs := rest[:len(rest)-1], rest[len(rest)-1:]
	if len(rest) > 1 && rest[0] == "describe" {
		flags, verbs = nil, rest
	}
	return append(append(append(args, flags...), address), verbs...)
}

func (g *grpcurl) ask(address string, rest ...string) string {
	g.t.Helper()
	return g.run(g.tool, g.args(address, rest...)...)
}

// call makes one request and decodes its answer.
func (g *grpcurl) call(answer any, address, method, request string) error {
	out, err := g.try(g.tool, g.args(address, "-d", request, method)...)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(out), answer); err != nil {
		return fmt.Errorf("%s answers %s: %w", method, out, err)
	}
	return nil
}

func (l *lab) grpcAddress() string { return "localhost:" + l.settings["CORACLE_GRPC_PORT"] }

// TestGRPC asks all five components: reflection, health, and one question of each.
func TestGRPC(t *testing.T) {
	l := open(t)
	g := l.grpcurl()
	for _, c := range []struct{ name, address, service, method string }{
		{"apiserver", l.grpcAddress(), "coracle.api.v1.PodService", "Watch"},
		{"scheduler", "localhost:10259", "coracle.scheduler.v1.SchedulerService", "Explain"},
		{"controller-manager", "localhost:10257", "coracle.controllers.v1.ControllerService", "ListControllers"},
		{"kubelet", "localhost:10250", "coracle.kubelet.v1.KubeletService", "ListPods"},
		{"kube-proxy", "localhost:10249", "coracle.proxy.v1.ProxyService", "GetBackends"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := g.with(t)
			services := strings.Fields(g.ask(c.address, "list"))
			for _, want := range []string{c.service, "grpc.health.v1.Health"} {
				if !slices.Contains(services, want) {
					t.Errorf("list has no %s: %v", want, services)
				}
			}
			if out := g.ask(c.address, "describe", c.service); !strings.Contains(out, "rpc "+c.method+" ") {
				t.Errorf("describe shows no method %s:\n%s", c.method, out)
			}
			var health struct{ Status string }
			if err := g.call(&health, c.address, "grpc.health.v1.Health/Check", "{}"); err != nil || health.Status != "SERVING" {
				t.Errorf("health is %q, %v", health.Status, err)
			}
		})
	}
	ns := l.namespace("grpc")
	l.createService(ns, "web")
	t.Run("watch", func(t *testing.T) { g.with(t).watched(ns) })
	t.Run("explain", func(t *testing.T) { g.with(t).explained(ns) })
	t.Run("backends", func(t *testing.T) { g.with(t).backends(ns) })
	t.Run("kubelet's pods", func(t *testing.T) { g.with(t).listed(ns) })
	t.Run("controllers", func(t *testing.T) { g.with(t).controllers() })
}

// podEvent is how grpcurl prints an event of the typed watch.
type podEvent struct {
	Type   string
	Object struct {
		Metadata struct {
			Name, ResourceVersion string
			Labels, Annotations   map[string]string
		}
		Spec struct{ NodeName string }
	}
}

// watched sees a pod come, run and be changed in a typed watch. The pod stays for the
// other questions.
func (g *grpcurl) watched(ns string) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	args := g.args(g.grpcAddress(), "-d", `{"namespace": "`+ns+`", "send_initial_events": true}`, "coracle.api.v1.PodService/Watch")
	args[1] = "300"
	command := exec.CommandContext(ctx, g.tool, args...)
	out, err := command.StdoutPipe()
	if err != nil {
		g.t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		g.t.Fatal(err)
	}
	defer func() { cancel(); _ = command.Wait() }()
	stream := json.NewDecoder(out)
	await := func(what string, match func(podEvent) bool) {
		g.t.Helper()
		for {
			var e podEvent
			if err := stream.Decode(&e); err != nil {
				g.t.Fatalf("the watch ended before it showed %s: %v", what, err)
			}
			g.t.Logf("%s %s revision %s on %q", e.Type, e.Object.Metadata.Name, e.Object.Metadata.ResourceVersion, e.Object.Spec.NodeName)
			if match(e) {
				return
			}
		}
	}
	web := func(e podEvent, kind string) bool {
		return e.Type == "EVENT_TYPE_"+kind && e.Object.Metadata.Name == "web"
	}
	await("the end of the initial events", func(e podEvent) bool {
		return e.Type == "EVENT_TYPE_BOOKMARK" && e.Object.Metadata.Annotations[metav1.InitialEventsAnnotationKey] == "true"
	})
	g.createPod(ns, "web", pinned(g.quickPod(), g.nodes[0]))
	await("the new pod", func(e podEvent) bool { return web(e, "ADDED") })
	await("its node", func(e podEvent) bool { return web(e, "MODIFIED") && e.Object.Spec.NodeName == g.nodes[0] })
	g.kubectl("label", "pod", "web", "-n", ns, "seen=yes")
	await("the label", func(e podEvent) bool { return web(e, "MODIFIED") && e.Object.Metadata.Labels["seen"] == "yes" })
	g.readyPod(ns, "web")
}

func (g *grpcurl) explained(ns string) {
	g.t.Helper()
	var answer struct {
		Chosen, Current string
		Nodes           []struct {
			Node       string
			Feasible   bool
			Rejections []struct {
				Filter  string
				Reasons []string
			}
		}
	}
	request := `{"pod": {"pod": {"namespace": "` + ns + `", "name": "web"}}}`
	if err := g.call(&answer, "localhost:10259", "coracle.scheduler.v1.SchedulerService/Explain", request); err != nil {
		g.t.Fatal(err)
	}
	if answer.Chosen != g.nodes[0] || answer.Current != g.nodes[0] || len(answer.Nodes) != len(g.nodes) {
		g.t.Fatalf("of a pod that only fits %s it says %+v", g.nodes[0], answer)
	}
	for _, n := range answer.Nodes {
		if n.Feasible != (n.Node == g.nodes[0]) {
			g.t.Errorf("feasible is %t for %s", n.Feasible, n.Node)
		}
		if !n.Feasible && (len(n.Rejections) != 1 || n.Rejections[0].Filter != "NodeAffinity") {
			g.t.Errorf("%s is rejected by %+v, not by NodeAffinity", n.Node, n.Rejections)
		}
	}
}

func (g *grpcurl) backends(ns string) {
	g.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), long)
	defer cancel()
	service, err := g.kube.CoreV1().Services(ns).Get(ctx, "web", metav1.GetOptions{})
	if err != nil {
		g.t.Fatal(err)
	}
	pod := g.readyPod(ns, "web")
	for _, target := range []string{ns + "/web", service.Spec.ClusterIP + ":80"} {
		g.eventually(long, "kube-proxy tells the backend of "+target, func(context.Context) error {
			return g.backend(target, service, pod)
		})
	}
}

func (g *grpcurl) backend(target string, service *corev1.Service, pod *corev1.Pod) error {
	var answer struct {
		Ports []struct {
			Name, ClusterIP string
			Port            int
			Backends        []struct {
				IP, Node string
				Port     int
				Local    bool
			}
		}
		Rules []string
	}
	if err := g.call(&answer, "localhost:10249", "coracle.proxy.v1.ProxyService/GetBackends", `{"target": "`+target+`"}`); err != nil {
		return err
	}
	if len(answer.Ports) != 1 || answer.Ports[0].ClusterIP != service.Spec.ClusterIP || len(answer.Ports[0].Backends) != 1 {
		return fmt.Errorf("it says %+v", answer.Ports)
	}
	b := answer.Ports[0].Backends[0]
	if b.IP != pod.Status.PodIP || b.Port != port || b.Node != pod.Spec.NodeName || !b.Local {
		return fmt.Errorf("the backend is %+v, the pod %s on %s", b, pod.Status.PodIP, pod.Spec.NodeName)
	}
	if rules := strings.Join(answer.Rules, "\n"); !strings.Contains(rules, pod.Status.PodIP) || !strings.Contains(rules, service.Spec.ClusterIP) {
		return fmt.Errorf("the rules are\n%s", rules)
	}
	return nil
}

func (g *grpcurl) listed(ns string) {
	g.t.Helper()
	var answer struct {
		Node string
		Pods []struct {
			Pod   struct{ Name string }
			Phase string
			Ready bool
			Ips   []string
		}
	}
	if err := g.call(&answer, "localhost:10250", "coracle.kubelet.v1.KubeletService/ListPods", `{"namespace": "`+ns+`"}`); err != nil {
		g.t.Fatal(err)
	}
	if answer.Node != g.nodes[0] || len(answer.Pods) != 1 || answer.Pods[0].Pod.Name != "web" || !answer.Pods[0].Ready ||
		answer.Pods[0].Phase != "Running" || len(answer.Pods[0].Ips) != 1 {
		g.t.Fatalf("the kubelet lists %+v", answer)
	}
}

func (g *grpcurl) controllers() {
	g.t.Helper()
	var answer struct {
		Leading     bool
		Controllers []struct {
			Name    string
			Enabled bool
			Loops   []struct{ Running bool }
		}
	}
	g.eventually(time.Minute, "the controllers run", func(context.Context) error {
		if err := g.call(&answer, "localhost:10257", "coracle.controllers.v1.ControllerService/ListControllers", "{}"); err != nil {
			return err
		}
		up := map[string]bool{}
		for _, c := range answer.Controllers {
			up[c.Name] = c.Enabled && len(c.Loops) > 0
			for _, loop := range c.Loops {
				up[c.Name] = up[c.Name] && loop.Running
			}
		}
		for _, name := range []string{"deployment-controller", "replicaset-controller", "endpointslice-controller", "node-lifecycle-controller", "namespace-controller"} {
			if !up[name] || !answer.Leading {
				return fmt.Errorf("%s does not, in %+v", name, answer)
			}
		}
		return nil
	})
}
