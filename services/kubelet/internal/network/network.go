// Package network connects pods with each other and with the world: addresses
// and interfaces by CNI plugins, routes to other nodes' pods, masquerading.
package network

import (
	"errors"
	"fmt"
	"net/netip"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/containernetworking/cni/libcni"
	"go.uber.org/zap"
	"k8s.io/utils/clock"
)

// DefaultBridge is the bridge that a node's pods are ports of.
const DefaultBridge = "coracle0"

// Config says where a Network keeps things. Root and BinDirs are required.
type Config struct {
	Log *zap.Logger
	// Root is the folder of everything remembered: the generated
	// configuration, addresses handed out, results of plugins. Whoever loses
	// it while pods run hands out their addresses a second time.
	Root string
	// BinDirs are searched for the executables of plugins.
	BinDirs []string
	// ConfDir may hold somebody else's CNI configuration, such as flannel's.
	// While there is one, the first by name is used, and this package leaves
	// addresses, routes and masquerading to it. Empty: never look.
	ConfDir string
	Bridge  string        // default DefaultBridge
	MTU     int           // default: that of the link with the default route
	Resync  time.Duration // default one minute
	Clock   clock.WithTicker
}

// Cluster is what a node's network has to know of the API's nodes.
type Cluster struct {
	// PodCIDRs are this node's, at most one of each IP family.
	PodCIDRs []netip.Prefix
	Peers    []Peer
}

// Peer is another node.
type Peer struct {
	Node      string
	Addresses []netip.Addr // internal addresses, the preferred first
	PodCIDRs  []netip.Prefix
}

// Network is a node's pod network. Its methods may be called concurrently,
// except that calls about one sandbox are the caller's to put in order.
type Network struct {
	cfg Config
	cni *libcni.CNIConfig

	mu      sync.Mutex
	own     *libcni.NetworkConfigList // generated from the node's pod CIDRs
	cluster Cluster
	heard   bool                // Update was called, cluster is meaningful
	ips     map[string][]string // by sandbox; nil: detached; absent: not looked up yet
	warned  map[string]string   // last warning by subject, to say each once

	changed chan struct{}
}

// errNotConfigured is worded as upstream's runtimes word it, since it ends up
// in the node's Ready condition.
var errNotConfigured = errors.New("cni plugin not initialized")

// New makes a Network, with the configuration of an earlier run if there was
// one: pods can be taken off the network before the API has been heard.
func New(cfg Config) (*Network, error) {
	if cfg.Root == "" || len(cfg.BinDirs) == 0 {
		return nil, errors.New("network: Root and BinDirs are required")
	}
	if cfg.Log == nil {
		cfg.Log = zap.NewNop()
	}
	if cfg.Bridge == "" {
		cfg.Bridge = DefaultBridge
	}
	if cfg.Resync == 0 {
		cfg.Resync = time.Minute
	}
	if cfg.Clock == nil {
		cfg.Clock = clock.RealClock{}
	}
	n := &Network{
		cfg:     cfg,
		cni:     libcni.NewCNIConfigWithCacheDir(cfg.BinDirs, filepath.Join(cfg.Root, "cache"), nil),
		ips:     map[string][]string{},
		warned:  map[string]string{},
		changed: make(chan struct{}, 1),
	}
	list, err := n.readOwn()
	if err != nil {
		return nil, fmt.Errorf("network: read the configuration of an earlier run: %w", err)
	}
	n.own = list
	return n, nil
}

// Update tells the Network what the cluster looks like now, wholly: routes to
// nodes it does not name are removed. New pods get addresses of the new CIDRs
// from here on; routes and rules follow in Run. A cluster without CIDRs for
// this node leaves the pods' configuration alone.
func (n *Network) Update(c Cluster) error {
	if len(c.PodCIDRs) > 0 {
		if err := n.configure(c.PodCIDRs); err != nil {
			return fmt.Errorf("configure the pod network: %w", err)
		}
	}
	n.mu.Lock()
	same := n.heard && slices.Equal(n.cluster.PodCIDRs, c.PodCIDRs) && slices.EqualFunc(n.cluster.Peers, c.Peers, equalPeers)
	n.cluster, n.heard = c, true
	n.mu.Unlock()
	if !same {
		select {
		case n.changed <- struct{}{}:
		default: // a wake-up is already waiting
		}
	}
	return nil
}

func equalPeers(a, b Peer) bool {
	return a.Node == b.Node && slices.Equal(a.Addresses, b.Addresses) && slices.Equal(a.PodCIDRs, b.PodCIDRs)
}

// Ready returns nil when pods can be attached, else the reason why not.
func (n *Network) Ready() error {
	list, _, err := n.current()
	if err != nil {
		return err
	}
	for _, plugin := range list.Plugins {
		if _, err := findPlugin(plugin.Network.Type, n.cfg.BinDirs); err != nil {
			return err
		}
	}
	return nil
}

// current is the configuration for new pods, and whether it is foreign.
func (n *Network) current() (*libcni.NetworkConfigList, bool, error) {
	if n.cfg.ConfDir != "" {
		list, err := readForeign(n.cfg.ConfDir)
		if err != nil || list != nil {
			return list, true, err
		}
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.own == nil {
		return nil, false, errNotConfigured
	}
	return n.own, false, nil
}

// warn logs what a failure costs when it begins and when it changes, and not
// each minute it lasts.
func (n *Network) warn(subject, cost string, err error) {
	text := ""
	if err != nil {
		text = err.Error()
	}
	n.mu.Lock()
	before := n.warned[subject]
	n.warned[subject] = text
	n.mu.Unlock()
	if text != "" && text != before {
		n.cfg.Log.Warn("pod network is degraded",
			zap.String("subject", subject), zap.String("effect", cost), zap.Error(err))
	}
}
