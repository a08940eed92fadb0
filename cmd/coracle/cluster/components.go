package cluster

import "context"

// DockerNode is this machine's Docker Engine as a node.
type DockerNode struct {
	// Endpoint of the engine; empty is the environment's or the local socket.
	Endpoint string
}

func (c *Cluster) runComponents(ctx context.Context) error {
	if c.cfg.OnReady != nil {
		c.cfg.OnReady(c)
	}
	<-ctx.Done()
	return nil
}
