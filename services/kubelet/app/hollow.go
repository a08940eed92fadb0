package app

import (
	"context"
	"errors"
	"net/netip"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"coracle.local/libs/client"
	"coracle.local/services/kubelet/internal/agent"
	"coracle.local/services/kubelet/internal/engine/hollow"
	"coracle.local/services/kubelet/internal/environ"
	"coracle.local/services/kubelet/internal/images"
	"coracle.local/services/kubelet/internal/lifecycle"
	"coracle.local/services/kubelet/internal/node"
	"coracle.local/services/kubelet/internal/podfiles"
	"coracle.local/services/kubelet/internal/podspec"
	"coracle.local/services/kubelet/internal/stats"
)

// hollowDisk is what a hollow node claims to have, in bytes.
const hollowDisk = 100 << 30

// wireHollow puts a node without containers together. It has as few goroutines
// and watches as will do, because there may be thousands of such nodes.
func (k *kubelet) wireHollow() error {
	cfg := k.cfg
	k.engine = hollow.New(hollow.Config{
		Clock: cfg.Clock, CPUs: cfg.HollowCPUs, MemoryBytes: cfg.HollowMemory, PodCIDR: k.podCIDR,
	})
	k.prepare = func(context.Context) error { return nil }
	k.newKeeper(true, func() node.Machine {
		return node.Machine{
			MachineID: cfg.NodeName, SystemUUID: cfg.NodeName, BootID: cfg.NodeName, MemoryAvailable: -1,
			Storage: node.Storage{Capacity: hollowDisk, Available: hollowDisk},
		}
	})
	store := askStore{client.For[*corev1.ConfigMap](cfg.Conn), client.For[*corev1.Secret](cfg.Conn)}
	a := k.agentConfig()
	a.Files, a.References, a.Probes, a.Hooks = podfiles.Hollow{Objects: store}, nothing{}, nothing{}, nothing{}
	a.Images = &images.Puller{Engine: k.engine, Secrets: store.Secret, Events: k.events, Clock: cfg.Clock, Log: cfg.Log}
	a.Environment = &environ.Maker{Objects: store, Node: k.node}
	a.DNS = func() podspec.DNS {
		return podspec.DNS{ClusterDNS: []string{"127.0.0.1"}, ClusterDomain: cfg.ClusterDomain}
	}
	k.start(a)
	k.stats = &stats.Collector{
		Node: cfg.NodeName, Engine: k.engine, Pods: k.agent.Snapshots, Clock: cfg.Clock,
		Machine: func() (stats.Machine, error) { return stats.Machine{Started: cfg.Clock.Now()}, nil },
	}
	return k.feedPods(hollowOut)
}

func (k *kubelet) start(a agent.Config) { k.agent = agent.New(a) }

// podCIDR is where the hollow engine's addresses come from. A hollow node does
// not watch itself, and its range is given after it registered, so it is asked
// for until it is there.
func (k *kubelet) podCIDR() netip.Prefix {
	if p := k.hollowCIDR.Load(); p != nil {
		return *p
	}
	n := k.keeper.Node()
	if n == nil || len(podCIDRs(n)) == 0 {
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		var err error
		if n, err = client.For[*corev1.Node](k.cfg.Conn).Get(ctx, "", k.cfg.NodeName); err != nil {
			return k.cfg.PodCIDR
		}
	}
	for _, p := range podCIDRs(n) {
		k.hollowCIDR.Store(&p)
		return p
	}
	return k.cfg.PodCIDR
}

// hollowOut takes off a pod what only real processes could answer. What is left
// counts as well and ready as soon as it runs.
func hollowOut(pod *corev1.Pod) {
	strip := func(c *corev1.Container) {
		c.LivenessProbe, c.ReadinessProbe, c.StartupProbe, c.Lifecycle = nil, nil, nil, nil
		if s := c.SecurityContext; s != nil {
			s.RunAsNonRoot = nil // the images have no users to check
		}
	}
	for i := range pod.Spec.InitContainers {
		strip(&pod.Spec.InitContainers[i])
	}
	for i := range pod.Spec.Containers {
		strip(&pod.Spec.Containers[i])
	}
}

// askStore asks the API server each time.
type askStore struct {
	configMaps client.Client[*corev1.ConfigMap]
	secrets    client.Client[*corev1.Secret]
}

func (s askStore) ConfigMap(ctx context.Context, namespace, name string) (*corev1.ConfigMap, error) {
	return s.configMaps.Get(ctx, namespace, name)
}

func (s askStore) Secret(ctx context.Context, namespace, name string) (*corev1.Secret, error) {
	return s.secrets.Get(ctx, namespace, name)
}

// nothing are the parts that a hollow node has no use for.
type nothing struct{}

func (nothing) Use(*corev1.Pod) {}

func (nothing) Forget(types.UID) {}

func (nothing) Sync(*corev1.Pod, corev1.PodStatus, bool) {}

func (nothing) Results(types.UID) map[string]lifecycle.Probes { return nil }

func (nothing) Run(context.Context, *corev1.Pod, *corev1.Container, string, string, *corev1.LifecycleHandler) error {
	return errors.New("a hollow node runs no hooks")
}
