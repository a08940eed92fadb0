package cluster

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apiserver/pkg/authentication/user"

	proxy "coracle.local/services/kube-proxy/app"
	kubelet "coracle.local/services/kubelet/app"
)

// PodNetwork is the network of pods, of which each node gets a part.
var PodNetwork = netip.MustParsePrefix("10.244.0.0/16")

// clusterDNS is where pods ask for names; whoever deploys a DNS server gives its
// Service this address, as is the custom with this network of Services.
var clusterDNS = netip.MustParseAddr("10.96.0.10")

// DockerNode is this machine's Docker Engine as a node.
type DockerNode struct {
	// Endpoint of the engine; empty is the environment's or the local socket.
	Endpoint string
	// CNIBinDirs hold the network plugins; empty looks beside this executable
	// and in /opt/cni/bin.
	CNIBinDirs []string
}

func (c *Cluster) nodes() ([]part, error) {
	var parts []part
	for n := range c.cfg.Nodes {
		p, err := c.hollow(fmt.Sprintf("node-%d", n+1))
		if err != nil {
			return nil, err
		}
		parts = append(parts, p)
	}
	if c.cfg.Docker != nil {
		more, err := c.docker(*c.cfg.Docker)
		if err != nil {
			return nil, err
		}
		parts = append(parts, more...)
	}
	return parts, nil
}

// kubelet is what all kubelets here have in common.
func (c *Cluster) kubelet(name string) (*member, kubelet.Config, error) {
	m, err := c.join("kubelet", "system:node:"+name, user.NodesGroup)
	if err != nil {
		return nil, kubelet.Config{}, err
	}
	cfg := kubelet.Config{
		Log: c.cfg.Log.Named("kubelet").Named(name), Conn: m.conn, TLS: m.tls, Tracer: m.tracer, NodeName: name,
		ClusterDNS: []netip.Addr{clusterDNS},
	}
	if cfg.Listener, err = c.cfg.listen(0); err != nil {
		return nil, cfg, fmt.Errorf("kubelet of %s: %w", name, err)
	}
	return m, cfg, nil
}

func (c *Cluster) hollow(name string) (part, error) {
	m, cfg, err := c.kubelet(name)
	if err != nil {
		return nil, err
	}
	cfg.Runtime = kubelet.Hollow
	return m.part("kubelet of "+name, func(ctx context.Context) error { return kubelet.Run(ctx, cfg) }), nil
}

// docker makes this machine a node: a kubelet and a kube-proxy.
func (c *Cluster) docker(node DockerNode) ([]part, error) {
	host, err := os.Hostname()
	if err != nil {
		return nil, fmt.Errorf("the name of this machine: %w", err)
	}
	name := strings.ToLower(host)
	m, cfg, err := c.kubelet(name)
	if err != nil {
		return nil, err
	}
	cfg.Runtime, cfg.DockerEndpoint, cfg.CNIBinDirs = kubelet.Docker, node.Endpoint, node.CNIBinDirs
	if cfg.RootDir, err = filepath.Abs(filepath.Join(c.dir, "kubelet")); err != nil {
		return nil, err
	}
	if len(cfg.CNIBinDirs) == 0 {
		cfg.CNIBinDirs = []string{"/opt/cni/bin"}
		if exe, err := os.Executable(); err == nil {
			cfg.CNIBinDirs = append([]string{filepath.Join(filepath.Dir(exe), "cni")}, cfg.CNIBinDirs...)
		}
	}
	run := m.part("kubelet of "+name, func(ctx context.Context) error { return kubelet.Run(ctx, cfg) })
	rules, err := c.kubeProxy(name)
	if err != nil {
		return nil, err
	}
	return []part{run, rules}, nil
}

func (c *Cluster) kubeProxy(node string) (part, error) {
	m, err := c.join("kube-proxy", "system:kube-proxy")
	if err != nil {
		return nil, err
	}
	cfg := proxy.Config{Log: c.cfg.Log.Named("kube-proxy"), Conn: m.conn, TLS: m.tls, Node: node, PodNetwork: PodNetwork}
	if cfg.Listener, err = c.cfg.component(10249); err != nil {
		return nil, fmt.Errorf("kube-proxy: %w", err)
	}
	return m.part("kube-proxy", func(ctx context.Context) error { return proxy.Run(ctx, cfg) }), nil
}
