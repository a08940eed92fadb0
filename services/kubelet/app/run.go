package app

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync/atomic"
	"time"

	"go.uber.org/zap"
	"google.golang.org/grpc"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"

	"coracle.local/libs/client"
	"coracle.local/libs/serve"
	"coracle.local/libs/trace"
	"coracle.local/services/kubelet/internal/agent"
	"coracle.local/services/kubelet/internal/downward"
	"coracle.local/services/kubelet/internal/engine"
	"coracle.local/services/kubelet/internal/events"
	"coracle.local/services/kubelet/internal/httpapi"
	"coracle.local/services/kubelet/internal/lifecycle"
	"coracle.local/services/kubelet/internal/node"
	"coracle.local/services/kubelet/internal/poddir"
	"coracle.local/services/kubelet/internal/report"
	"coracle.local/services/kubelet/internal/service"
	"coracle.local/services/kubelet/internal/stats"
)

// apiserverUser is the identity of upstream's API servers as kubelets' callers.
const apiserverUser = "kube-apiserver-kubelet-client"

// Run is a node's agent until ctx ends. Containers run on afterwards.
func Run(ctx context.Context, cfg Config) error {
	if err := cfg.Validate(); err != nil {
		return err
	}
	if err := cfg.complete(); err != nil {
		return err
	}
	cfg.Log = cfg.Log.With(zap.String("node", cfg.NodeName))
	if cfg.Conn == nil {
		conn, err := client.Connect(client.Config{Kubeconfig: cfg.Kubeconfig, UserAgent: "kubelet"})
		if err != nil {
			return err
		}
		defer func() { _ = conn.Close() }()
		cfg.Conn = conn
		if cfg.Tracer == nil {
			tracer, err := trace.Open(ctx, "kubelet", trace.Reporter(conn.GRPC()))
			if err != nil {
				return err
			}
			defer func() { _ = tracer.Shutdown(context.WithoutCancel(ctx)) }()
			cfg.Tracer = tracer
		}
	}
	// Events end with Run, whatever ends it.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	k := newKubelet(ctx, cfg)
	wire := k.wireDocker
	if cfg.Runtime == Hollow {
		wire = k.wireHollow
	}
	if err := wire(); err != nil {
		return err
	}
	return k.run(ctx)
}

// kubelet are the parts, put together by newKubelet and then by wireDocker or
// wireHollow.
type kubelet struct {
	cfg       Config
	root      poddir.Root
	events    events.Recorder
	metrics   *metrics
	informers *client.Informers
	pods      podFeed
	writer    *report.Writer
	keeper    *node.Keeper
	nodes     client.Client[*corev1.Node]

	// hollowCIDR is where a hollow node's pods get addresses, once known.
	hollowCIDR atomic.Pointer[netip.Prefix]

	engine engine.Runtime
	agent  *agent.Agent
	stats  *stats.Collector
	// parts run beside agent, keeper, informers and writer.
	parts []func(context.Context) error
	// prepare is done before any pod is worked on.
	prepare func(context.Context) error
	closers []func() error
}

func newKubelet(ctx context.Context, cfg Config) *kubelet {
	k := &kubelet{cfg: cfg, root: poddir.Root(cfg.RootDir), metrics: newMetrics(cfg.NodeName)}
	k.events = events.Recorder{Sink: cfg.Events, Quiet: cfg.Runtime == Hollow}
	if cfg.Events == nil {
		k.events.Sink = client.NewRecorderOn(ctx, cfg.Conn, corev1.EventSource{Component: "kubelet", Host: cfg.NodeName})
	}
	k.informers = client.NewInformers(cfg.Conn).LogTo(cfg.Log)
	k.writer = report.New(client.For[*corev1.Pod](cfg.Conn).As("kubelet"), cfg.Clock, cfg.Log.Named("report"))
	k.nodes = client.For[*corev1.Node](cfg.Conn).As("kubelet")
	return k
}

// newKeeper makes the part that keeps the Node.
func (k *kubelet) newKeeper(refresh bool, machine func() node.Machine) {
	eviction := node.DefaultEviction()
	if k.cfg.EvictionHard != "" {
		eviction, _ = node.ParseEviction(k.cfg.EvictionHard) // validated
	}
	k.keeper = node.NewKeeper(node.Config{
		Name: k.cfg.NodeName, Hostname: k.cfg.NodeName, Labels: k.cfg.NodeLabels, Taints: k.cfg.Taints, ProviderID: k.cfg.ProviderID,
		Register: !k.cfg.NoRegister, Nodes: k.nodes, Leases: client.For[*coordinationv1.Lease](k.cfg.Conn).As("kubelet"),
		Events: k.events, Clock: k.cfg.Clock, Log: k.cfg.Log.Named("node"), Refresh: refresh,
		Facts: func(ctx context.Context) node.Facts {
			f := node.Facts{
				Hostname: k.cfg.NodeName, IPs: k.cfg.hostIPs(), Port: k.cfg.port(), MaxPods: int64(k.cfg.MaxPods),
				Reserved: k.cfg.Reserved, Eviction: eviction, Machine: machine(), Now: k.cfg.Clock.Now(),
			}
			if f.Engine, f.EngineError = k.engine.Info(ctx); f.EngineError == nil {
				f.Images, f.EngineError = k.engine.Images(ctx)
			}
			return f
		},
	})
}

// node is what pods may ask about their node.
func (k *kubelet) node() downward.Node {
	n := downward.Node{HostIPs: k.cfg.hostIPs()}
	if known := k.keeper.Node(); known != nil {
		n.Allocatable = known.Status.Allocatable
	}
	return n
}

func (k *kubelet) memory() int64 {
	if n := k.keeper.Node(); n != nil {
		return n.Status.Capacity.Memory().Value()
	}
	return 0
}

// agentConfig is what agents of both kinds of nodes have in common.
func (k *kubelet) agentConfig() agent.Config {
	return agent.Config{
		Log: k.cfg.Log.Named("agent"), Tracer: k.cfg.Tracer, Clock: k.cfg.Clock, Events: k.events,
		Engine: k.engine, EngineName: k.cfg.Runtime, Reporter: k.writer, Admit: k.admit, HostIPs: k.cfg.hostIPs,
		SeccompDir: k.root.Seccomp(), PodCgroups: k.cfg.PodCgroups, LogDir: k.cfg.PodLogsDir,
		Memory: k.memory, Backoff: lifecycle.DefaultBackoff(), Relist: 10 * time.Second, Observe: k.metrics.step,
	}
}

func (k *kubelet) run(ctx context.Context) error {
	defer func() {
		for _, c := range k.closers {
			if err := c(); err != nil {
				k.cfg.Log.Warn("part was not closed", zap.Error(err))
			}
		}
	}()
	k.metrics.watch(k.agent.Snapshots)
	parts := append([]func(context.Context) error{k.informers.Run, k.writer.Run, k.keeper.Run, k.runAgent}, k.parts...)
	if k.cfg.Listener != nil {
		parts = append(parts, k.serve)
	}
	return serve.All(ctx, parts...)
}

func (k *kubelet) runAgent(ctx context.Context) error {
	return k.agent.Run(ctx, func(ctx context.Context) error {
		select {
		case <-k.keeper.Registered():
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := k.prepare(ctx); err != nil {
			return err
		}
		return k.pods.listed(ctx)
	})
}

func (k *kubelet) serve(ctx context.Context) error {
	api := service.New(service.Config{Node: k.cfg.NodeName, Pods: k.agent, Engine: k.engine, Stats: k.stats, Clock: k.cfg.Clock})
	allow := k.cfg.Allow
	if allow == nil {
		allow = serve.Masters(apiserverUser)
	}
	return serve.Run(ctx, serve.Config{
		Log: k.cfg.Log.Named("serve"), Listener: k.cfg.Listener, TLS: k.cfg.TLS, Allow: allow, Registry: k.metrics.registry,
		Services: func(s *grpc.Server) { api.Register(s) }, Ready: k.ready,
		HTTP: httpapi.Handler(httpapi.Config{Log: k.cfg.Log, Pods: k.agent, Engine: k.engine, Stats: k.stats, Clock: k.cfg.Clock}),
	})
}

func (k *kubelet) ready() error {
	select {
	case <-k.keeper.Registered():
		return nil
	default:
		return errors.New("the node is not registered yet")
	}
}

// retry does something that may have to wait for others, until it succeeds or
// ctx ends.
func (k *kubelet) retry(ctx context.Context, what string, f func(context.Context) error) error {
	for wait := 500 * time.Millisecond; ; wait = min(2*wait, 10*time.Second) {
		err := f(ctx)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		k.cfg.Log.Warn("still waiting", zap.String("for", what), zap.Error(err))
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s: %w", what, ctx.Err())
		case <-k.cfg.Clock.After(wait):
		}
	}
}
