// Package cluster is a whole cluster in one process over an embedded etcd: what
// `coracle up` runs and what tests start, several at once if they like.
package cluster

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"

	"go.uber.org/zap"

	apiserver "coracle.local/services/apiserver/app"
)

// Config says what the cluster is made of. The zero value with a logger is a
// control plane with one hollow node over a temporary store.
type Config struct {
	Log *zap.Logger
	// DataDir keeps the cluster's data and keys; empty is a temporary folder,
	// which is removed at the end.
	DataDir string
	// Kubeconfig is where the administrator's kubeconfig is written before
	// anything listens; empty is a file in the data folder.
	Kubeconfig string
	// SecurePort and GRPCPort of the API server on Address; 0 picks one.
	SecurePort, GRPCPort int
	// Address is where the API server listens; the zero value is 127.0.0.1.
	Address netip.Addr
	// Nodes is how many hollow nodes there are.
	Nodes int
	// Docker makes this machine's Docker Engine a node.
	Docker *DockerNode
	// FixedPorts lets the components listen at upstream's port numbers where
	// those are free.
	FixedPorts bool
	// Controllers as the controller manager's --controllers; empty is all.
	Controllers []string
	// APIServer, if set, changes how the API server is configured.
	APIServer func(*apiserver.Config)
	// OnReady is called once the API server is ready and all components run.
	OnReady func(*Cluster)
}

// Validate fills in defaults and says what is wrong.
func (c *Config) Validate() error {
	if c.Log == nil {
		return errors.New("the cluster needs a logger")
	}
	if !c.Address.IsValid() {
		c.Address = netip.MustParseAddr("127.0.0.1")
	}
	if c.Nodes < 0 {
		return fmt.Errorf("%d nodes: give a number that is not negative", c.Nodes)
	}
	return nil
}

// listen opens a port; 0 picks one.
func (c *Config) listen(port int) (net.Listener, error) {
	l, err := net.Listen("tcp", net.JoinHostPort(c.Address.String(), strconv.Itoa(port)))
	if err != nil {
		return nil, fmt.Errorf("%w: choose another port, or 0 for a free one", err)
	}
	return l, nil
}

// component opens a component's port: upstream's number if it is wanted and
// free, else any.
func (c *Config) component(port int) (net.Listener, error) {
	if c.FixedPorts {
		if l, err := c.listen(port); err == nil {
			return l, nil
		}
		c.Log.Warn("port is taken, another is used", zap.Int("port", port))
	}
	return c.listen(0)
}
