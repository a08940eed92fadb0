package network

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"slices"

	"github.com/containernetworking/cni/libcni"
	"github.com/containernetworking/cni/pkg/invoke"
)

// networkName is the name of the generated network. Plugins keep addresses
// and results under it: changed, it would orphan those of running pods.
const networkName = "coracle"

// cniVersion is of the specification. 1.0.0 is understood by plugins older
// and newer than those we ship.
const cniVersion = "1.0.0"

type conflist struct {
	CNIVersion string `json:"cniVersion"`
	Name       string `json:"name"`
	Plugins    []any  `json:"plugins"`
}

type bridgeConf struct {
	Type         string   `json:"type"`
	Bridge       string   `json:"bridge"`
	IsDefault    bool     `json:"isDefaultGateway"`
	ForceAddress bool     `json:"forceAddress"`
	Hairpin      bool     `json:"hairpinMode"`
	MTU          int      `json:"mtu,omitempty"`
	IPAM         ipamConf `json:"ipam"`
}

type ipamConf struct {
	Type    string        `json:"type"`
	DataDir string        `json:"dataDir"`
	Ranges  [][]ipamRange `json:"ranges"`
}

type ipamRange struct {
	Subnet string `json:"subnet"`
}

type portmapConf struct {
	Type         string          `json:"type"`
	Capabilities map[string]bool `json:"capabilities"`
	SNAT         bool            `json:"snat"`
}

// render writes the CNI configuration of a node. The bridge plugin's own
// masquerading stays off: it would hide pods from pods of other nodes, and it
// leaves its rules behind when a sandbox died before it was detached.
func render(bridge, dataDir string, mtu int, cidrs []netip.Prefix) ([]byte, error) {
	var ranges [][]ipamRange
	seen := map[bool]bool{}
	for _, cidr := range cidrs {
		if !cidr.IsValid() {
			return nil, errors.New("a pod CIDR is not valid")
		}
		if seen[cidr.Addr().Is4()] {
			return nil, fmt.Errorf("pod CIDR %s is the second of its IP family", cidr)
		}
		seen[cidr.Addr().Is4()] = true
		ranges = append(ranges, []ipamRange{{Subnet: cidr.Masked().String()}})
	}
	return json.MarshalIndent(conflist{CNIVersion: cniVersion, Name: networkName, Plugins: []any{
		bridgeConf{
			Type: "bridge", Bridge: bridge, IsDefault: true, ForceAddress: true, Hairpin: true, MTU: mtu,
			IPAM: ipamConf{Type: "host-local", DataDir: dataDir, Ranges: ranges},
		},
		portmapConf{Type: "portmap", Capabilities: map[string]bool{"portMappings": true}, SNAT: true},
	}}, "", "  ")
}

func (n *Network) ownPath() string { return filepath.Join(n.cfg.Root, "coracle.conflist") }

func (n *Network) readOwn() (*libcni.NetworkConfigList, error) {
	data, err := os.ReadFile(n.ownPath())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return libcni.NetworkConfFromBytes(data)
}

// configure makes and stores the configuration for the given CIDRs.
func (n *Network) configure(cidrs []netip.Prefix) error {
	mtu := n.cfg.MTU
	if mtu == 0 {
		mtu = uplinkMTU()
	}
	data, err := render(n.cfg.Bridge, filepath.Join(n.cfg.Root, "addresses"), mtu, cidrs)
	if err != nil {
		return err
	}
	n.mu.Lock()
	defer n.mu.Unlock()
	if n.own != nil && slices.Equal(n.own.Bytes, data) {
		return nil
	}
	list, err := libcni.NetworkConfFromBytes(data)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(n.cfg.Root, 0o755); err != nil {
		return err
	}
	// Renamed into place, so that a crash leaves the old one or the new one.
	next := n.ownPath() + ".next"
	if err := os.WriteFile(next, data, 0o644); err != nil {
		return err
	}
	if err := os.Rename(next, n.ownPath()); err != nil {
		return err
	}
	n.own = list
	return nil
}

// readForeign returns the first configuration of a folder, nil when it has
// none. It reads lists, the one form that the specification still has.
func readForeign(dir string) (*libcni.NetworkConfigList, error) {
	files, err := libcni.ConfFiles(dir, []string{".conflist"})
	if err != nil {
		return nil, fmt.Errorf("read %s: %w", dir, err)
	}
	if len(files) == 0 {
		return nil, nil
	}
	slices.Sort(files)
	list, err := libcni.NetworkConfFromFile(files[0])
	if err != nil {
		return nil, fmt.Errorf("%s: %w", files[0], err)
	}
	return list, nil
}

func findPlugin(name string, dirs []string) (string, error) { return invoke.FindInPath(name, dirs) }
