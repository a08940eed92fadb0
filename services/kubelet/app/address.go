package app

import (
	"fmt"
	"net"
	"net/netip"
	"os"
	"strings"

	utilnet "k8s.io/apimachinery/pkg/util/net"
)

func hostname() (string, error) {
	name, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("find the host's name: %w", err)
	}
	return strings.ToLower(strings.TrimSpace(name)), nil
}

// address finds the node's address: the listener's, if it listens at one, else
// that of the interface with the default route.
func (c *Config) address() (netip.Addr, error) {
	if c.Listener != nil {
		if at, ok := c.Listener.Addr().(*net.TCPAddr); ok {
			if ip, ok := netip.AddrFromSlice(at.IP); ok && !ip.IsUnspecified() {
				return ip.Unmap(), nil
			}
		}
	}
	found, err := utilnet.ChooseHostInterface()
	if err != nil {
		if c.Runtime == Hollow {
			return netip.MustParseAddr("127.0.0.1"), nil // nobody has to reach its pods
		}
		return netip.Addr{}, fmt.Errorf("find the node's address: %w: set --node-ip", err)
	}
	ip, ok := netip.AddrFromSlice(found)
	if !ok {
		return netip.Addr{}, fmt.Errorf("the node's address %s is none: set --node-ip", found)
	}
	return ip.Unmap(), nil
}

func (c *Config) hostIPs() []string {
	out := make([]string, len(c.NodeIPs))
	for i, ip := range c.NodeIPs {
		out[i] = ip.String()
	}
	return out
}

// port is the number callers find the kubelet at; zero when it serves nothing.
func (c *Config) port() int32 {
	if c.Listener == nil {
		return 0
	}
	if at, ok := c.Listener.Addr().(*net.TCPAddr); ok {
		return int32(at.Port)
	}
	return 0
}
