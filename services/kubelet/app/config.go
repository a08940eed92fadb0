// Package app is the kubelet as others start it: a Config and Run. Several may
// run in one process.
package app

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"path/filepath"
	"strings"

	"go.uber.org/zap"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/client-go/tools/record"
	"k8s.io/utils/clock"

	"coracle.local/libs/client"
	"coracle.local/libs/trace"
	"coracle.local/services/kubelet/internal/node"
)

// The container runtimes.
const (
	Docker = "docker"
	Hollow = "hollow"
)

// Config is everything a kubelet needs. What has no default must be set.
type Config struct {
	Log *zap.Logger
	// Conn is a connection to the API server as system:node:NAME; nil makes one
	// from Kubeconfig.
	Conn       *client.Conn
	Kubeconfig string
	// Listener is the port for gRPC, HTTP, health and metrics; Run owns it. Its
	// number is what the Node says. Nil serves nothing.
	Listener net.Listener
	// TLS of the port.
	TLS *tls.Config
	// Allow decides who may call; nil allows the group system:masters and the
	// API server's client.
	Allow func(user.Info) bool
	// Tracer records the steps of a pod. Nil makes one that reports to the API
	// server if Conn is nil too, and else none.
	Tracer *trace.Tracer
	// Events is where events go; nil writes them to the API server.
	Events record.EventRecorder
	// Clock is the real one by default.
	Clock clock.WithTickerAndDelayedExecution

	// Runtime is Docker (the default) or Hollow.
	Runtime string

	// NodeName is the Node's name, by default the host's, in lower case.
	NodeName string
	// NodeIPs are the node's addresses, at most one of each IP family, the
	// primary first. By default: the address of the listener where it has a
	// specific one, else that of the interface with the default route.
	NodeIPs    []netip.Addr
	NodeLabels map[string]string
	// Taints a new Node gets.
	Taints     []corev1.Taint
	ProviderID string
	// NoRegister: wait for the Node instead of making it.
	NoRegister bool
	// MaxPods is by default 110.
	MaxPods int
	// Reserved is taken off what pods may use.
	Reserved corev1.ResourceList
	// EvictionHard has upstream's form and, when empty, upstream's default.
	EvictionHard string

	// RootDir is where pods' files are, by default /var/lib/kubelet. Kubelet
	// and engine must see it at the same path. Hollow nodes have no files.
	RootDir string
	// ClusterDNS are the addresses pods ask for names; ClusterDomain, by default
	// cluster.local, is the end of all names of the cluster.
	ClusterDNS    []netip.Addr
	ClusterDomain string
	// ResolvConf is the node's resolver configuration, by default
	// /etc/resolv.conf; "-" is none.
	ResolvConf string
	// PodCIDR is used while the Node has none of its own.
	PodCIDR netip.Prefix
	// PodLogsDir is where links to containers' logs are made for collectors;
	// empty makes none.
	PodLogsDir string
	// PodCgroups puts pods below /kubepods, as upstream does. Otherwise the
	// engine decides.
	PodCgroups bool

	// DockerEndpoint is the engine's address, by default the environment's.
	DockerEndpoint string
	// CNIBinDirs hold the network plugins, by default /opt/cni/bin. CNIConfDir
	// may hold a network configuration of somebody else's, which then is used.
	CNIBinDirs []string
	CNIConfDir string
	// MountNamespace is where the engine looks paths up when that is not where
	// the kubelet does: /proc/1/ns/mnt in a container that shares the machine's
	// process namespace.
	MountNamespace string

	// HollowCPUs and HollowMemory, in bytes, are what a hollow node claims to
	// have; by default 4 and 16 GiB.
	HollowCPUs   int
	HollowMemory int64
}

// Validate says what is missing or cannot be.
func (c *Config) Validate() error {
	switch {
	case c.Log == nil:
		return errors.New("the kubelet needs a logger")
	case c.Conn == nil && c.Kubeconfig == "":
		return errors.New("the kubelet needs a way to the API server: set --kubeconfig")
	case c.Runtime != "" && c.Runtime != Docker && c.Runtime != Hollow:
		return fmt.Errorf("container runtime %q: choose %s or %s", c.Runtime, Docker, Hollow)
	case c.MaxPods < 0:
		return fmt.Errorf("at most %d pods: give a number that is not negative", c.MaxPods)
	case c.RootDir != "" && !filepath.IsAbs(c.RootDir):
		return fmt.Errorf("root directory %q is not absolute", c.RootDir)
	}
	if c.NodeName != "" {
		if errs := validation.IsDNS1123Subdomain(c.NodeName); len(errs) > 0 {
			return fmt.Errorf("node name %q: %s", c.NodeName, strings.Join(errs, "; "))
		}
	}
	if len(c.NodeIPs) > 2 || len(c.NodeIPs) == 2 && c.NodeIPs[0].Is4() == c.NodeIPs[1].Is4() {
		return fmt.Errorf("node addresses %v: give at most one of each IP family", c.NodeIPs)
	}
	if c.EvictionHard != "" {
		if _, err := node.ParseEviction(c.EvictionHard); err != nil {
			return err
		}
	}
	return nil
}

// Defaults.
const (
	defaultRoot    = "/var/lib/kubelet"
	defaultDomain  = "cluster.local"
	defaultMaxPods = 110
	defaultCNIBin  = "/opt/cni/bin"
	defaultResolv  = "/etc/resolv.conf"
)

// complete fills in what has a default.
func (c *Config) complete() error {
	if c.Runtime == "" {
		c.Runtime = Docker
	}
	if c.Clock == nil {
		c.Clock = clock.RealClock{}
	}
	set := func(s *string, v string) {
		if *s == "" {
			*s = v
		}
	}
	set(&c.RootDir, defaultRoot)
	set(&c.ClusterDomain, defaultDomain)
	set(&c.ResolvConf, defaultResolv)
	if c.MaxPods == 0 {
		c.MaxPods = defaultMaxPods
	}
	if len(c.CNIBinDirs) == 0 {
		c.CNIBinDirs = []string{defaultCNIBin}
	}
	if c.NodeName == "" {
		name, err := hostname()
		if err != nil {
			return err
		}
		c.NodeName = name
	}
	if len(c.NodeIPs) == 0 {
		ip, err := c.address()
		if err != nil {
			return err
		}
		c.NodeIPs = []netip.Addr{ip}
	}
	return nil
}
