package app

import (
	"context"
	"errors"
	"net/netip"
	"os"
	"path/filepath"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/cache"

	"coracle.local/libs/client"
	"coracle.local/services/kubelet/internal/action"
	"coracle.local/services/kubelet/internal/engine/docker"
	"coracle.local/services/kubelet/internal/environ"
	"coracle.local/services/kubelet/internal/hook"
	"coracle.local/services/kubelet/internal/images"
	"coracle.local/services/kubelet/internal/mountns"
	"coracle.local/services/kubelet/internal/network"
	"coracle.local/services/kubelet/internal/node"
	"coracle.local/services/kubelet/internal/objects"
	"coracle.local/services/kubelet/internal/podfiles"
	"coracle.local/services/kubelet/internal/podspec"
	"coracle.local/services/kubelet/internal/probe"
	"coracle.local/services/kubelet/internal/stats"
	"coracle.local/services/kubelet/internal/token"
	"coracle.local/services/kubelet/internal/volume"
)

// nodeHosts is the node's own hosts file.
const nodeHosts = "/etc/hosts"

// wireDocker puts a node on a Docker Engine together.
func (k *kubelet) wireDocker() error {
	cfg := k.cfg
	net, err := network.New(network.Config{
		Log: cfg.Log.Named("network"), Root: filepath.Join(cfg.RootDir, "network"), BinDirs: cfg.CNIBinDirs, ConfDir: cfg.CNIConfDir, Clock: cfg.Clock,
	})
	if err != nil {
		return err
	}
	runtime, err := docker.New(docker.Config{
		Log: cfg.Log.Named("docker"), Endpoint: cfg.DockerEndpoint, Instance: cfg.NodeName, Root: filepath.Join(cfg.RootDir, "engine"),
		Network: net, Clock: cfg.Clock,
	})
	if err != nil {
		return err
	}
	k.engine = runtime
	k.closers = append(k.closers, runtime.Close)
	k.prepare = func(ctx context.Context) error { return k.retry(ctx, "the container engine", runtime.Prepare) }

	store := objects.New(feed[*corev1.ConfigMap](cfg.Conn), feed[*corev1.Secret](cfg.Conn), cfg.Clock, cfg.Log.Named("objects"),
		func(uid types.UID) { k.agent.ObjectChanged(uid) })
	probes := probe.NewManager(probe.Config{
		Engine: runtime, Events: k.events, Clock: cfg.Clock, Log: cfg.Log.Named("probe"), Observe: k.metrics.probe,
		Changed: func(uid types.UID) { k.agent.Wake(uid) },
	})
	k.newKeeper(false, func() node.Machine { return node.Local(cfg.RootDir) })
	if err := k.feedNodes(net); err != nil {
		return err
	}
	volumes := &volume.Manager{
		Log: cfg.Log.Named("volume"), Root: k.root, Host: mountns.Namespace(cfg.MountNamespace), Objects: store,
		Tokens: &token.Tokens{Request: cfg.Conn.CreateToken, Clock: cfg.Clock}, Node: k.node, Clock: cfg.Clock,
	}
	files := &podfiles.Disk{Volumes: volumes, ClusterDomain: cfg.ClusterDomain, NodeHosts: nodeHosts}

	a := k.agentConfig()
	a.Files, a.References, a.Probes = files, store, probes
	a.Images = &images.Puller{
		Engine: runtime, Secrets: store.Secret, Events: k.events, Clock: cfg.Clock, Log: cfg.Log.Named("images"), Observe: k.metrics.pull,
		Node: func() []byte { return registryConfig(cfg.RootDir) },
	}
	a.Environment = &environ.Maker{Objects: store, Services: k.feedServices(), Node: k.node, File: files.File}
	a.Hooks = &hook.Runner{Engine: runtime, Client: action.Client(), Clock: cfg.Clock, Plain: func(pod *corev1.Pod, host string) {
		k.events.Pod(pod, corev1.EventTypeWarning, "LifecycleHTTPFallback", "request to HTTPS lifecycle hook %s got HTTP response, retry with HTTP succeeded", host)
	}}
	a.DNS = k.dns
	k.start(a)
	k.stats = &stats.Collector{
		Node: cfg.NodeName, Engine: runtime, Pods: k.agent.Snapshots, Clock: cfg.Clock,
		Machine: func() (stats.Machine, error) { return stats.Local(cfg.RootDir) },
	}
	k.parts = append(k.parts, net.Run, store.Run, probes.Run)
	return k.feedPods(nil)
}

// registryConfig is the node's own credentials for registries, where it has
// any.
func registryConfig(root string) []byte {
	for _, path := range []string{filepath.Join(root, "config.json"), "/root/.docker/config.json"} {
		if b, err := os.ReadFile(path); err == nil {
			return b
		}
	}
	return nil
}

// dns reads the node's resolver configuration anew: networks change it.
func (k *kubelet) dns() podspec.DNS {
	d := podspec.DNS{ClusterDomain: k.cfg.ClusterDomain}
	for _, ip := range k.cfg.ClusterDNS {
		d.ClusterDNS = append(d.ClusterDNS, ip.String())
	}
	if k.cfg.ResolvConf == noResolvConf {
		return d
	}
	b, err := os.ReadFile(k.cfg.ResolvConf)
	if err != nil {
		k.cfg.Log.Warn("the node's resolver configuration cannot be read", zap.Error(err))
	}
	d.ResolvConf = string(b)
	return d
}

// noResolvConf says that pods inherit no resolver configuration.
const noResolvConf = "-"

var errServicesUnread = errors.New("services have not yet been read at least once, cannot construct envvars")

// feedServices makes the informer of Services, for containers' environments.
func (k *kubelet) feedServices() func(context.Context, string) ([]*corev1.Service, error) {
	informer := client.Informer[*corev1.Service](k.informers)
	lister := client.ListerFor[*corev1.Service](informer)
	return func(_ context.Context, namespace string) ([]*corev1.Service, error) {
		if !informer.HasSynced() {
			return nil, errServicesUnread
		}
		list := lister.List(namespace, nil)
		if namespace != corev1.NamespaceDefault {
			if master, ok := lister.Get(corev1.NamespaceDefault, "kubernetes"); ok {
				list = append(list, master)
			}
		}
		return list, nil
	}
}

// feedNodes makes the informer of all Nodes: this one's own, and where the
// others' pods are.
func (k *kubelet) feedNodes(net *network.Network) error {
	informer := client.Informer[*corev1.Node](k.informers, client.WithTransform(func(o any) (any, error) {
		if n, ok := o.(*corev1.Node); ok && n.Name != k.cfg.NodeName {
			n.ManagedFields, n.Status.Images = nil, nil
		}
		return o, nil
	}))
	lister := client.ListerFor[*corev1.Node](informer)
	changed := func(any) {
		if !informer.HasSynced() {
			return // half of the nodes would look like all of them
		}
		if own, ok := lister.Get("", k.cfg.NodeName); ok {
			k.keeper.Seen(own)
		}
		before := net.Ready()
		if err := net.Update(k.cluster(lister.List("", nil))); err != nil {
			k.cfg.Log.Warn("the pod network cannot be configured", zap.Error(err))
		}
		if before != nil && net.Ready() == nil {
			k.keeper.Hurry()
		}
	}
	_, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		AddFunc: changed, UpdateFunc: func(_, o any) { changed(o) }, DeleteFunc: changed,
	})
	k.parts = append(k.parts, func(ctx context.Context) error {
		if cache.WaitForCacheSync(ctx.Done(), informer.HasSynced) {
			changed(nil)
		}
		return nil
	})
	return err
}

// cluster is what the network has to know of the nodes.
func (k *kubelet) cluster(nodes []*corev1.Node) network.Cluster {
	var c network.Cluster
	for _, n := range nodes {
		cidrs := podCIDRs(n)
		if n.Name == k.cfg.NodeName {
			c.PodCIDRs = cidrs
			continue
		}
		peer := network.Peer{Node: n.Name, PodCIDRs: cidrs}
		for _, a := range n.Status.Addresses {
			if ip, err := netip.ParseAddr(a.Address); err == nil && a.Type == corev1.NodeInternalIP {
				peer.Addresses = append(peer.Addresses, ip)
			}
		}
		if len(peer.Addresses) > 0 && len(cidrs) > 0 {
			c.Peers = append(c.Peers, peer)
		}
	}
	if len(c.PodCIDRs) == 0 && k.cfg.PodCIDR.IsValid() {
		c.PodCIDRs = []netip.Prefix{k.cfg.PodCIDR}
	}
	return c
}

func podCIDRs(n *corev1.Node) []netip.Prefix {
	list := n.Spec.PodCIDRs
	if len(list) == 0 && n.Spec.PodCIDR != "" {
		list = []string{n.Spec.PodCIDR}
	}
	var out []netip.Prefix
	for _, s := range list {
		if p, err := netip.ParsePrefix(s); err == nil {
			out = append(out, p)
		}
	}
	return out
}
