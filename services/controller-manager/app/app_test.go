package app_test

import (
	"context"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/pflag"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"coracle.local/libs/apitest"
	"coracle.local/libs/client"
	"coracle.local/libs/election"
	"coracle.local/libs/flags"
	"coracle.local/libs/kinds"
	controllersv1 "coracle.local/proto/coracle/controllers/v1"
	"coracle.local/services/controller-manager/app"
	"coracle.local/services/controller-manager/internal/workbench"
)

// start runs a manager until the test ends, and returns its service.
func start(t *testing.T, cfg app.Config) controllersv1.ControllerServiceClient {
	t.Helper()
	var err error
	if cfg.Listener, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	address := cfg.Listener.Addr().String()
	ctx, cancel := context.WithCancel(context.Background())
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := app.Run(ctx, cfg); err != nil {
			t.Errorf("run: %v", err)
		}
	})
	t.Cleanup(func() {
		cancel()
		wg.Wait()
	})
	cc, err := grpc.NewClient(address, append(client.DialOptions(), grpc.WithTransportCredentials(insecure.NewCredentials()))...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cc.Close() })
	return controllersv1.NewControllerServiceClient(cc)
}

func config(t *testing.T, api *apitest.API) app.Config {
	return app.Config{
		Log: zaptest.NewLogger(t), Conn: api.Connect(t), RootCA: []byte("PEM"),
		AllocateNodeCIDRs: true, ClusterCIDRs: []netip.Prefix{netip.MustParsePrefix("10.244.0.0/16")},
	}
}

func deploy() *appsv1.Deployment {
	return &appsv1.Deployment{ObjectMeta: workbench.Meta("web"), Spec: appsv1.DeploymentSpec{
		Replicas: ptr.To[int32](3),
		Selector: workbench.Select("web"), Template: workbench.Template("web"),
		Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
	}}
}

// Everything together, over gRPC, with real clocks and informers.
func TestAllControllersOverGRPC(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) }) // after all other clean-up
	api := apitest.New()
	api.Seed(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}, Spec: corev1.NamespaceSpec{Finalizers: []corev1.FinalizerName{"kubernetes"}}},
		&corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}})
	service := start(t, config(t, api))
	ctx := t.Context()
	count := func(k *kinds.Kind) int {
		all, err := api.List(ctx, k, "")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	api.Until(t, "the default account", func() bool { return count(kinds.For[*corev1.ServiceAccount]()) == 1 })
	api.Until(t, "the root certificate", func() bool { return count(kinds.For[*corev1.ConfigMap]()) == 1 })
	api.Until(t, "the pod CIDR", func() bool {
		n, err := api.Get(ctx, kinds.For[*corev1.Node](), "", "n")
		return err == nil && n.(*corev1.Node).Spec.PodCIDR == "10.244.0.0/24"
	})
	if _, err := api.Create(ctx, deploy()); err != nil {
		t.Fatal(err)
	}
	api.Until(t, "three pods", func() bool { return count(kinds.For[*corev1.Pod]()) == 3 })

	list, err := service.ListControllers(ctx, &controllersv1.ListControllersRequest{})
	if err != nil || !list.GetLeading() || len(list.GetControllers()) < 15 {
		t.Fatalf("controllers %v, %v", list, err)
	}
	one, err := service.GetController(ctx, &controllersv1.GetControllerRequest{Name: "replicaset-controller"})
	if err != nil || !one.GetController().GetEnabled() {
		t.Fatalf("%v, %v", one, err)
	}
	if _, err := service.GetController(ctx, &controllersv1.GetControllerRequest{Name: "nonsense"}); err == nil {
		t.Fatal("a controller that is not there was found")
	}
	watch, err := service.WatchReconciles(ctx, &controllersv1.WatchReconcilesRequest{Controller: "garbage-collector-controller"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := watch.Header(); err != nil {
		t.Fatal(err)
	}
	if _, err := service.Requeue(ctx, &controllersv1.RequeueRequest{Controller: "deployment-controller", Key: "default/web"}); err != nil {
		t.Fatal(err)
	}
	if err := api.Delete(ctx, kinds.For[*appsv1.Deployment](), "default", "web", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	api.Until(t, "the end of all pods", func() bool { return count(kinds.For[*corev1.Pod]()) == 0 })
	r, err := watch.Recv()
	if err != nil || !strings.HasPrefix(strings.Join(r.GetReconcile().GetActions(), " "), "delete ReplicaSet default/web-") {
		t.Fatalf("reconcile %v, %v", r, err)
	}
}

func TestOnlyTheLeaderWorks(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) }) // after all other clean-up
	api := apitest.New()
	api.Seed(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "default"}})
	first, second := config(t, api), config(t, api)
	first.Election = &election.Config{Identity: "first", RetryPeriod: 20 * time.Millisecond}
	second.Election = &election.Config{Identity: "second", RetryPeriod: 20 * time.Millisecond}

	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- app.Run(ctx, first) }()
	accounts := func() int {
		all, err := api.List(t.Context(), kinds.For[*corev1.ServiceAccount](), "")
		if err != nil {
			t.Fatal(err)
		}
		return len(all)
	}
	api.Until(t, "the first one's account", func() bool { return accounts() == 1 })
	service := start(t, second)
	list, err := service.ListControllers(t.Context(), &controllersv1.ListControllersRequest{}, grpc.WaitForReady(true))
	if err != nil || list.GetLeading() {
		t.Fatalf("two lead: %v, %v", list.GetLeading(), err)
	}
	cancel() // it gives the lease back
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	api.Seed(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "more"}})
	api.Until(t, "the second one's account", func() bool { return accounts() == 2 })
}

func TestFlags(t *testing.T) {
	parse := func(args ...string) (app.Config, error) {
		var f app.Flags
		fs := pflag.NewFlagSet("test", pflag.ContinueOnError)
		f.Add(fs)
		log := zaptest.NewLogger(t)
		if err := flags.Parse(fs, append(args, "--secure-port=0"), log); err != nil {
			return app.Config{}, err
		}
		return f.Config(log)
	}
	for name, args := range map[string][]string{
		"no way to the API server":      {},
		"no cluster CIDR":               {"--allocate-node-cidrs"},
		"a cluster CIDR too small":      {"--allocate-node-cidrs", "--cluster-cidr=10.0.0.0/25"},
		"two CIDRs of a family":         {"--allocate-node-cidrs", "--cluster-cidr=10.0.0.0/16,10.1.0.0/16"},
		"a controller nobody knows":     {"--controllers=*,nonsense"},
		"a cluster CIDR that is none":   {"--cluster-cidr=x"},
		"a root file that is not there": {"--root-ca-file=/nonexistent"},
	} {
		if _, err := parse(args...); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestValidate(t *testing.T) {
	api := apitest.New()
	cfg := config(t, api)
	cfg.Controllers = []string{"*", "-deployment", "disruption-controller", "endpoints-controller"}
	if err := cfg.Validate(); err != nil {
		t.Fatal(err)
	}
	cfg.Election = &election.Config{}
	if err := cfg.Validate(); err == nil {
		t.Fatal("an election without an identity")
	}
}
